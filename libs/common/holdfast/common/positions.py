"""Up to which version a consumer has applied each aggregate's messages, so that they take effect exactly once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar

from holdfast.common.database import Sender, Statement
from holdfast.common.roles import checked_name

T = TypeVar("T")

# A consumer's first message needs a row; of two that begin at once, the other moves it.
_BEGIN: Final = """
INSERT INTO {positions} (organization_id, consumer, aggregate_id, version) VALUES ($1, $2, $3, $4::bigint)
ON CONFLICT DO NOTHING RETURNING version"""
# Locked as it is now, not as it was when the statement began: what a concurrent claim moved is seen.
_MOVE: Final = """
UPDATE {positions} p SET version = $5::bigint, update_time = clock_timestamp()
FROM (
  SELECT version FROM {positions}
  WHERE organization_id = $1 AND consumer = $2 AND aggregate_id = $3 FOR UPDATE
) AS before
WHERE p.organization_id = $1 AND p.consumer = $2 AND p.aggregate_id = $3
  AND before.version BETWEEN $4::bigint - 1 AND $5::bigint - 1
RETURNING before.version"""
_READ: Final = """
SELECT version FROM {positions} WHERE organization_id = $1 AND consumer = $2 AND aggregate_id = $3"""
_ADVANCE: Final = """
INSERT INTO {positions} (organization_id, consumer, aggregate_id, version) VALUES ($1, $2, $3, $4::bigint)
ON CONFLICT (organization_id, consumer, aggregate_id)
DO UPDATE SET version = excluded.version, update_time = clock_timestamp() WHERE positions.version < excluded.version
RETURNING version"""


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
    transaction: Sender,
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
    name = f"{checked_name(schema)}.positions"
    mine = (transaction.require_organization(), consumer, aggregate_id)
    if first == 1:
        (begun,) = await transaction.send(Statement(_BEGIN.format(positions=name), (*mine, version)))
        if begun:
            return Claim(ClaimKind.NEXT, 0)
    (moved,) = await transaction.send(Statement(_MOVE.format(positions=name), (*mine, first, version)))
    if moved:
        return Claim(ClaimKind.NEXT, moved[0][0])
    (found,) = await transaction.send(Statement(_READ.format(positions=name), mine))
    position = found[0][0] if found else 0
    return Claim(ClaimKind.DUPLICATE if version <= position else ClaimKind.GAP, position)


async def advance_to(transaction: Sender, *, schema: str, consumer: str, aggregate_id: str, version: int) -> bool:
    """Move the position to `version` if that is newer, and say whether it was.

    For consumers whose messages carry the whole state, and after a gap was filled from the owner's snapshot.
    """
    if version < 1:
        message = f"versions count from 1, not {version}"
        raise ValueError(message)
    name = f"{checked_name(schema)}.positions"
    values = (transaction.require_organization(), consumer, aggregate_id, version)
    (moved,) = await transaction.send(Statement(_ADVANCE.format(positions=name), values))
    return bool(moved)
