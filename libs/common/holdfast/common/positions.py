"""Up to which version a consumer has applied each aggregate's messages, so that they take effect exactly once."""

from dataclasses import dataclass
from enum import Enum

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from holdfast.common import schema as tables
from holdfast.common.database import Transaction


class ClaimKind(Enum):
    """What a message's version means to a consumer."""

    NEXT = "next"
    """The one that follows; the position has moved to it, apply it in this transaction."""
    DUPLICATE = "duplicate"
    """Applied before; acknowledge it, do nothing."""
    GAP = "gap"
    """Versions are missing before it; fetch them from the aggregate's owner. The position has not moved."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer of `claim`. `position` is the last version applied before this message, 0 for none."""

    kind: ClaimKind
    position: int


async def claim(transaction: Transaction, *, schema: str, consumer: str, aggregate_id: str, version: int) -> Claim:
    """Claim `version` of an aggregate for `consumer`, in the transaction that applies it.

    A concurrent claim of the same aggregate waits for the first to end. Versions count from 1.
    """
    if version < 1:
        message = f"versions count from 1, not {version}"
        raise ValueError(message)
    positions = tables.positions_table(schema)
    organization_id = transaction.require_organization()
    mine = (
        positions.c.organization_id == organization_id,
        positions.c.consumer == consumer,
        positions.c.aggregate_id == aggregate_id,
    )
    if version == 1:
        moved = await transaction.execute(
            insert(positions)
            .values(organization_id=organization_id, consumer=consumer, aggregate_id=aggregate_id, version=1)
            .on_conflict_do_nothing()
            .returning(positions.c.version)
        )
    else:
        moved = await transaction.execute(
            update(positions)
            .where(*mine, positions.c.version == version - 1)
            .values(version=version, update_time=func.clock_timestamp())
            .returning(positions.c.version)
        )
    if moved.one_or_none() is not None:
        return Claim(ClaimKind.NEXT, version - 1)
    found = (await transaction.execute(select(positions.c.version).where(*mine))).scalar_one_or_none()
    position = int(found or 0)
    return Claim(ClaimKind.DUPLICATE if version <= position else ClaimKind.GAP, position)


async def advance_to(transaction: Transaction, *, schema: str, consumer: str, aggregate_id: str, version: int) -> bool:
    """Move the position to `version` if that is newer, and say whether it was.

    For consumers whose messages carry the whole state, and after a gap was filled from the owner's snapshot.
    """
    if version < 1:
        message = f"versions count from 1, not {version}"
        raise ValueError(message)
    positions = tables.positions_table(schema)
    wanted = insert(positions).values(
        organization_id=transaction.require_organization(),
        consumer=consumer,
        aggregate_id=aggregate_id,
        version=version,
    )
    moved = await transaction.execute(
        wanted.on_conflict_do_update(
            index_elements=[positions.c.organization_id, positions.c.consumer, positions.c.aggregate_id],
            set_={"version": wanted.excluded.version, "update_time": func.clock_timestamp()},
            where=positions.c.version < wanted.excluded.version,
        ).returning(positions.c.version)
    )
    return moved.one_or_none() is not None
