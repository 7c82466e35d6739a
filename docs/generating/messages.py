"""The page of messages: what the mesh tells others, where, about what, and who of the mesh listens."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from docs.generating.fields import field_table
from docs.generating.services import services_of, type_blocks, within
from docs.generating.tables import PACKAGES
from docs.generating.text import first_sentence, link, one_line, page, paragraphs, table
from holdfast.api.common.v1 import policy_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

    from tests.contract.contracts import Contracts

_HOW = """\
Every message is on a stream of NATS JetStream: `EVENTS`, `CAPACITY`, `PRICING`, kept for 7 days. The subject is
`<stream>.<organization_id>.<event_id>.<type>`, the type the message's name in snake_case, and `_` stands for the event
where there is none: `events.0190….>` is everything of an organization. The body is the message in protobuf; headers are
those of CloudEvents 1.0 (`ce-id` = `Nats-Msg-Id`, `ce-type`, `ce-source`, `ce-subject`, `ce-time`) and `traceparent`.

Every message carries the id of its aggregate and a version that counts the aggregate's messages without gaps. Delivery
is at least once: keep the last version of each aggregate, skip what you have, and when one is missing read it from the
owner. [How to consume](../../libs/api/README.md#messages), with code."""


def messages_page(contracts: Contracts) -> str:
    """Give the page."""
    blocks = ["# Messages", _HOW]
    rows, sections = [], []
    for package in PACKAGES:
        published = _messages(contracts, package, published=True)
        rows += [
            (
                link(message.name, "messages.md", message.name, here="messages.md"),
                f"`{subject(package, message)}`",
                _aggregate(message),
                _consumers(message),
                first_sentence(contracts.comments.get(message.full_name, "")),
            )
            for message in published
        ]
        sections.append(f"## {package.upper()}")
        for message in published:
            sections += _section(contracts, package, message)
        parts = _messages(contracts, package, published=False)
        for message in parts:
            sections += list(type_blocks(contracts, message, here="messages.md"))
    blocks.append(table(("message", "subject", "aggregate", "consumers in the mesh", "what"), rows))
    return page(*blocks, *sections)


def subject(package: str, message: Descriptor) -> str:
    """Give a message's subject with its variables."""
    kind = re.sub(r"(?<!^)(?=[A-Z])", "_", message.name).lower()
    event = "_" if message.GetOptions().Extensions[policy_pb2.publication].without_event else "{event_id}"
    return f"{package}.{{organization_id}}.{event}.{kind}"


def _messages(contracts: Contracts, package: str, *, published: bool) -> list[Descriptor]:
    name = f"holdfast/api/{package}/v1/messages.proto"
    return [
        message
        for file in contracts.files
        if file.name == name
        for message in file.message_types_by_name.values()
        if message.GetOptions().HasExtension(policy_pb2.publication) == published
    ]


def _section(contracts: Contracts, package: str, message: Descriptor) -> list[str]:
    publication = message.GetOptions().Extensions[policy_pb2.publication]
    rows = [
        ("subject", f"`{subject(package, message)}`"),
        ("aggregate", f"{publication.aggregate}, id in `{publication.id_field}`"),
        ("version", f"`{publication.version_field}`, gapless"),
        ("consumers in the mesh", _consumers(message)),
        ("what was missed", _catch_up(contracts, publication.catch_up)),
    ]
    return [
        f"### {message.name}",
        paragraphs(contracts.comments.get(message.full_name, "")),
        table(("", ""), rows),
        field_table(contracts, message, here="messages.md"),
        *within(contracts, message, here="messages.md"),
    ]


def _catch_up(contracts: Contracts, name: str) -> str:
    service_name, _, rpc = name.partition(".")
    for package in PACKAGES:
        for service in services_of(contracts, package):
            if service.name == service_name and rpc in service.methods_by_name:
                return link(one_line(name), f"{package}.md", rpc, here="messages.md")
    raise LookupError(f"no RPC {name!r} from which a consumer could read what it missed")


def _aggregate(message: Descriptor) -> str:
    return str(message.GetOptions().Extensions[policy_pb2.publication].aggregate)


def _consumers(message: Descriptor) -> str:
    return ", ".join(message.GetOptions().Extensions[policy_pb2.publication].consumers) or "none"
