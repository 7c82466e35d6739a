"""Operations on the one table of the schema `proving`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from google.protobuf.wrappers_pb2 import StringValue
from sqlalchemy import text

from holdfast.common import messaging, outbox

if TYPE_CHECKING:
    from holdfast.common.database import Transaction
    from holdfast.common.messaging import OutgoingMessage

_INSERT = text(
    "INSERT INTO proving.notes (organization_id, note_id, words) VALUES (:organization_id, :note_id, :words)"
)
_BUMP = text(
    "UPDATE proving.notes SET version = version + 1 "
    "WHERE organization_id = :organization_id AND note_id = :note_id RETURNING version"
)
_WORDS = text("SELECT words FROM proving.notes WHERE organization_id = :organization_id AND note_id = :note_id")
_COUNT = text("SELECT count(*) FROM proving.notes WHERE organization_id = :organization_id")


async def write(transaction: Transaction, note_id: str, words: str = "words", organization_id: str = "") -> None:
    """Insert a note; of another organization than the transaction's, if one is named."""
    owner = organization_id or transaction.require_organization()
    await transaction.execute(_INSERT, {"organization_id": owner, "note_id": note_id, "words": words})


async def words_of(transaction: Transaction, note_id: str, organization_id: str = "") -> str | None:
    """Read a note."""
    owner = organization_id or transaction.require_organization()
    found = await transaction.execute(_WORDS, {"organization_id": owner, "note_id": note_id})
    words: str | None = found.scalar_one_or_none()
    return words


async def count(transaction: Transaction) -> int:
    """Count the organization's notes."""
    found = await transaction.execute(_COUNT, {"organization_id": transaction.require_organization()})
    return int(found.scalar_one())


def message(organization_id: str, note_id: str, version: int, words: str = "words") -> OutgoingMessage:
    """A message about a note."""
    return messaging.outgoing(
        StringValue(value=words),
        stream="events",
        organization_id=organization_id,
        event_id=None,
        aggregate_id=note_id,
        version=version,
        occur_time=datetime.now(UTC),
    )


async def change(transaction: Transaction, note_id: str) -> int:
    """Take the note's next version under its lock and append the message of it."""
    organization_id = transaction.require_organization()
    found = await transaction.execute(_BUMP, {"organization_id": organization_id, "note_id": note_id})
    version = int(found.scalar_one())
    await outbox.append(transaction, message(organization_id, note_id, version), schema="proving")
    return version
