"""The pages that go across services: the index of all calls, errors, permissions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from docs.generating.services import reasons_of, rest_text, rpc_id, services_of, who_text
from docs.generating.text import first_sentence, link, one_line, page, paragraphs, table
from holdfast.common.errors import Reason
from holdfast.common.permissions import ALL, PLATFORM, ROLES
from holdfast.common.status import CODES
from holdfast.gateway.outside import OUTSIDE
from holdfast.gateway.problems import http_status
from tests.contract.contracts import policy

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from google.protobuf.descriptor import MethodDescriptor

    from tests.contract.contracts import Contracts

PACKAGES: Final = ("events", "capacity", "pricing")
ANY_CALL: Final = (
    "VALIDATION_FAILED",
    "MALFORMED_BODY",
    "TOKEN_INVALID",
    "TOKEN_EXPIRED",
    "PEER_UNKNOWN",
    "PERMISSION_MISSING",
    "CALLER_NOT_ALLOWED",
    "ORGANIZATION_SUSPENDED",
    "RATE_LIMITED",
    "OVERLOADED",
    "DEADLINE_EXCEEDED",
    "DEPENDENCY_UNAVAILABLE",
    "NOT_BUILT_YET",
    "INTERNAL",
)
"""What every call may be refused with, whether its comment names it or not."""

_HOW: Final = """\
Find what you want to do in the tables below; the call's name leads to its fields, bounds and errors.

- **REST**: JSON with the fields' names as they stand in the contracts; a path's fields in braces. `Authorization:
  Bearer <token>` on all but public calls. Refusals are `application/problem+json`, whose `code` is a
  [reason](errors.md).
- **gRPC**: mutual TLS, every service on its own address, the same requests and answers.
  [How to connect](../../libs/api/README.md), with the package of stubs.
- **Repeating**: calls with a `request_id` take it over REST as `Idempotency-Key`; the same key answers what the first
  did, with `Idempotency-Replayed: true`.
- **Conditional**: calls with an `etag` take it over REST as `If-Match`, and answer 412 when the resource has changed.
- **Lists**: `page_size` (at most 200, default 20) and `page_token`, from the answer's `pagination.next_page_token`.
- **Time left**: over REST `Request-Timeout` in seconds, over gRPC the deadline.
- Times are RFC 3339, 64-bit integers are strings in JSON, money is a decimal string with its currency
  ([Money](common.md#money)).
- ¹ marks what is published and not built yet: it answers 501 [NOT_BUILT_YET](errors.md#not_built_yet)."""


def index_page(contracts: Contracts, not_built: Collection[str]) -> str:
    """Give the index: what one wants to do → RPC → REST."""
    blocks = ["# Reference", "Generated from the contracts in `protos/`, their rules and their comments.", _HOW]
    pages = [f"[{name}]({name}.md)" for name in (*PACKAGES, "common")]
    others = "[messages](messages.md) · [errors](errors.md) · [permissions](permissions.md)"
    blocks.append(f"Pages: {' · '.join(pages)} · {others}")
    for package in PACKAGES:
        for service in services_of(contracts, package):
            rows = [
                (
                    first_sentence(contracts.comments.get(rpc.full_name, "")),
                    link(rpc.name, f"{package}.md", rpc.name, here="") + (" ¹" if rpc_id(rpc) in not_built else ""),
                    rest_text(rpc),
                )
                for rpc in service.methods
            ]
            blocks += [f"## {package}: {service.name}", table(("what", "call", "REST"), rows)]
    blocks += [
        "## Not of the mesh",
        table(
            ("path of older platforms", "501 OUTSIDE_THE_MESH, because"), [(f"`{k}`", v) for k, v in OUTSIDE.items()]
        ),
    ]
    return page(*blocks)


def errors_page(contracts: Contracts) -> str:
    """Give the reasons: status, HTTP, meaning, example, and which calls fail with them."""
    users = _users(contracts)
    prefix = "holdfast.api.common.v1.Error."
    rows, sections = [], []
    for reason in Reason:
        # An enum's values belong to the message around it, as protobuf names them.
        comment = paragraphs(
            contracts.comments.get(f"{prefix}Reason.{reason}", "") or contracts.comments.get(f"{prefix}{reason}", "")
        )
        text, _, metadata = comment.partition("Metadata:")
        # The comment begins with the status, which has a column of its own.
        meaning = re.sub(r"^[A-Z_]+(?: \(\d+[^)]*\))?\. ", "", one_line(text))
        code, http = CODES[reason].name, http_status(reason)
        rows.append((link(reason.value, "errors.md", reason.value, here="errors.md"), code, str(http), meaning))
        sections += [
            f"### {reason.value}",
            f"{code} · HTTP {http}. {meaning}",
            f"Metadata: {one_line(metadata)}" if metadata else "",
            _named_by(reason.value, users),
        ]
    return page(
        "# Errors",
        "gRPC: the status, and in its details `google.rpc.ErrorInfo` with `domain` = `holdfast`, the reason and the "
        "metadata; `BadRequest` names fields, `RetryInfo` says when to come back. REST: a problem document with `code` "
        "(the reason), `detail`, `errors` (field and message), `metadata`, `trace_id`, and `Retry-After`. Go by the "
        "reason: a name, once published, keeps its meaning, and texts do not.",
        table(("reason", "gRPC", "HTTP", "meaning"), rows),
        "## Each reason",
        *sections,
    )


def _named_by(reason: str, users: dict[str, list[str]]) -> str:
    if reason in ANY_CALL:
        return "Any call may."
    return f"Named by: {', '.join(users[reason])}." if reason in users else ""


def _rpcs(contracts: Contracts) -> Iterator[tuple[str, MethodDescriptor]]:
    for package in PACKAGES:
        for service in services_of(contracts, package):
            for rpc in service.methods:
                yield f"{package}.md", rpc


def _users(contracts: Contracts) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for where, rpc in _rpcs(contracts):
        for reason in reasons_of(contracts, rpc):
            found.setdefault(reason, []).append(link(rpc.name, where, rpc.name, here=""))
    return found


def permissions_page(contracts: Contracts) -> str:
    """Give the table of roles and permissions, and the calls that each permission opens."""
    calls: dict[str, list[str]] = {}
    for where, rpc in _rpcs(contracts):
        calls.setdefault(policy(rpc).permission, []).append(link(rpc.name, where, rpc.name, here=""))
    permissions = sorted(ALL)
    rows = [
        (
            link(permission, "permissions.md", permission, here="permissions.md"),
            *("●" if permission in granted else "" for granted in ROLES.values()),
        )
        for permission in permissions
    ]
    sections = [
        block
        for permission in permissions
        for block in (
            f"### {permission}",
            "Needs no organization." if permission in PLATFORM else "",
            f"Opens {', '.join(calls[permission])}." if permission in calls else "Looked at inside of calls.",
        )
    ]
    apart = [
        (link(rpc.name, where, rpc.name, here=""), who_text(rpc))
        for where, rpc in _rpcs(contracts)
        if not policy(rpc).permission
    ]
    return page(
        "# Permissions",
        "A token's roles give permissions, and each call needs one. `service` is the role of a service that acts for "
        "itself, by its certificate. What a permission opens is still only the caller's organization.",
        table(("permission", *ROLES), rows),
        "## Calls without a permission",
        table(("call", "who"), apart),
        "## What each permission opens",
        *sections,
    )
