"""What a message is on its way: from a transaction to the outbox, over NATS with CloudEvents headers, to a handler."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.message import Message

from holdfast.common import telemetry

SCHEMA_VERSION = "1"
"""The major version of the messages' form; a consumer refuses others."""

MESSAGE_ID_HEADER = "Nats-Msg-Id"
_NO_EVENT = "_"
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
_SUBJECT_TOKENS = 4


class PoisonMessage(Exception):  # noqa: N818 (what it says, not what went wrong)
    """A message that no repetition makes right; it goes to the stream DEAD at once. The text is the reason."""


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message to publish. `version` is gapless per `aggregate_id`; `message_id` is the same at each attempt."""

    message_id: str
    organization_id: str
    aggregate_id: str
    version: int
    subject: str
    type: str
    body: bytes
    occur_time: datetime
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """A message as a consumer gets it. `event_id` is None for messages of no event; `delivered` counts from 1."""

    message_id: str
    type: str
    subject: str
    organization_id: str
    event_id: str | None
    aggregate_id: str
    version: int
    body: bytes
    traceparent: str | None
    delivered: int


def outgoing(  # noqa: PLR0913 (the parts of a message)
    body: Message,
    *,
    stream: str,
    organization_id: str,
    event_id: str | None,
    aggregate_id: str,
    version: int,
    occur_time: datetime,
) -> OutgoingMessage:
    """Make the message that carries `body`.

    `stream` is the subject's first word, in lower case (`events`). The type is the body's name in snake_case, the
    traceparent that of the current span. `occur_time` is aware. Raises ValueError when an id cannot be
    part of a subject.
    """
    message_type = type_name(body.DESCRIPTOR.name)
    subject = ".".join(_token(word) for word in (stream, organization_id, event_id or _NO_EVENT, message_type))
    if version < 1 or occur_time.tzinfo is None:
        reason = f"{message_type} needs a version from 1 on and a time with its zone"
        raise ValueError(reason)
    return OutgoingMessage(
        message_id=f"{stream}-{_token(aggregate_id)}-{version}",
        organization_id=organization_id,
        aggregate_id=aggregate_id,
        version=version,
        subject=subject,
        type=message_type,
        body=body.SerializeToString(deterministic=True),
        occur_time=occur_time,
        traceparent=telemetry.current_traceparent(),
    )


@functools.cache
def type_name(name: str) -> str:
    """Return a message's name in snake_case: `InventoryChanged` is `inventory_changed`."""
    return _CAPITAL.sub("_", name).lower()


def stream_of(subject: str) -> str:
    """Return the name of the stream that a subject belongs to."""
    return subject.partition(".")[0].upper()


def headers(message: OutgoingMessage, *, service: str, traceparent: str | None) -> dict[str, str]:
    """Return the headers under which `message` is published: CloudEvents 1.0, and ours."""
    made = {
        MESSAGE_ID_HEADER: message.message_id,
        "ce-specversion": "1.0",
        "ce-id": message.message_id,
        "ce-type": message.type,
        "ce-source": f"holdfast/{service}",
        "ce-subject": message.aggregate_id,
        "ce-time": message.occur_time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "content-type": "application/protobuf",
        "holdfast-aggregate": message.aggregate_id,
        "holdfast-version": str(message.version),
        "holdfast-organization": message.organization_id,
        "holdfast-schema": SCHEMA_VERSION,
    }
    if traceparent is not None:
        made["traceparent"] = traceparent
    return made


def incoming(subject: str, body: bytes, found: Mapping[str, str] | None, *, delivered: int) -> IncomingMessage:
    """Read a delivered message. Raises PoisonMessage when it is not one of ours: no repetition would change that."""
    given = found or {}
    for name in (
        "ce-id",
        "ce-type",
        "holdfast-aggregate",
        "holdfast-version",
        "holdfast-organization",
        "holdfast-schema",
    ):
        if not given.get(name):
            raise PoisonMessage(f"the header {name} is missing")
    if given["holdfast-schema"] != SCHEMA_VERSION:
        raise PoisonMessage(f"the schema version {given['holdfast-schema'][:20]!r} is unknown")
    words = subject.split(".")
    if len(words) != _SUBJECT_TOKENS:
        raise PoisonMessage("the subject has not four words")
    if words[1] != given["holdfast-organization"]:
        raise PoisonMessage("the subject names another organization than the header")
    if words[3] != given["ce-type"]:
        raise PoisonMessage("the subject names another type than the header")
    version = given["holdfast-version"]
    if not (version.isascii() and version.isdigit() and len(version) < 19 and int(version) > 0):  # noqa: PLR2004 (int64)
        raise PoisonMessage("the header holdfast-version is not a version")
    return IncomingMessage(
        message_id=given["ce-id"],
        type=given["ce-type"],
        subject=subject,
        organization_id=words[1],
        event_id=None if words[2] == _NO_EVENT else words[2],
        aggregate_id=given["holdfast-aggregate"],
        version=int(version),
        body=body,
        traceparent=given.get("traceparent"),
        delivered=delivered,
    )


def _token(word: str) -> str:
    if _TOKEN.fullmatch(word) is None:
        reason = f"{word[:40]!r} cannot be a word of a subject"
        raise ValueError(reason)
    return word
