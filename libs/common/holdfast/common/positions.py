"""Up to which version a consumer has applied each aggregate's messages, so that they take effect exactly once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from holdfast.common import schema as tables
from holdfast.common.database import Transaction

T = TypeVar("T")


class ClaimKind(Enum):
    """What a message's version means to a consumer."""

    NEXT = "next"
    """What follows; the position has moved past it, apply it in this transaction."""
    DUPLICATE = "duplicate"
    """Applied before; acknowledge it, do nothing."""
    GAP = "gap"
    """Versions are missing before it; fetch them from the aggregate's owner. The position has not moved."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer of `claim`. `position` is the last version applied before, 0 for none."""

    kind: ClaimKind
    position: int


def runs(items: Iterable[T], version: Callable[[T], int]) -> list[list[T]]:
    """Split what came in some order into runs: stretches in which each version follows the one before."""
    split: list[list[T]] = []
    for each in items:
        if split and version(each) == version(split[-1][-1]) + 1:
            split[-1].append(each)
        else:
            split.append([each])
    return split


async def claim(  # noqa: PLR0913 (whose position of what, and the versions)
    transaction: Transaction,
    *,
    schema: str,
    consumer: str,
    aggregate_id: str,
    version: int,
    first_version: int | None = None,
) -> Claim:
    """Claim `version` of an aggregate for `consumer`, in the transaction that applies it.

    With `first_version`, all versions from that one to `version` together, in one statement unless the answer is no:
    NEXT when the position follows them or stands among them, those up to `position` having been applied before;
    DUPLICATE when all were; GAP when some before the first one are missing.

    A concurrent claim of the same aggregate waits for the first to end. Versions count from 1.
    """
    first = version if first_version is None else first_version
    if not 1 <= first <= version:
        message = f"versions count from 1 and upwards, not from {first} to {version}"
        raise ValueError(message)
    positions = tables.positions_table(schema)
    organization_id = transaction.require_organization()
    mine = (
        positions.c.organization_id == organization_id,
        positions.c.consumer == consumer,
        positions.c.aggregate_id == aggregate_id,
    )
    if first == 1:
        begun = await transaction.execute(
            insert(positions)
            .values(organization_id=organization_id, consumer=consumer, aggregate_id=aggregate_id, version=version)
            .on_conflict_do_nothing()
            .returning(positions.c.version)
        )
        if begun.one_or_none() is not None:
            return Claim(ClaimKind.NEXT, 0)
    # Locked as it is now, not as it was when the statement began: what a concurrent claim moved is seen.
    before = select(positions.c.aggregate_id, positions.c.version).where(*mine).with_for_update().subquery("before")
    moved = await transaction.execute(
        update(positions)
        .where(
            *mine,
            positions.c.aggregate_id == before.c.aggregate_id,
            before.c.version.between(first - 1, version - 1),
        )
        .values(version=version, update_time=func.clock_timestamp())
        .returning(before.c.version)
    )
    position = moved.scalar_one_or_none()
    if position is not None:
        return Claim(ClaimKind.NEXT, int(position))
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
