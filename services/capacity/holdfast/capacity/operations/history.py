"""An event's counters as the journal tells them, read in transactions of a bounded size each.

The journal is only ever added to: what is read of it in one transaction agrees with what is read in the next, whatever
is sold meanwhile. So none of this needs a lock or a snapshot.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from holdfast.capacity.journal_replay import Replay
from holdfast.capacity.operations.access import event_not_found
from holdfast.capacity.store import inventories, journal
from holdfast.common.errors import DomainError, Reason, invalid

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from holdfast.common.database import Transaction

T = TypeVar("T")

COUNTED_VERSIONS: Final = 50_000
"""Rows of the journal that are counted in one transaction."""


class Run(Protocol):
    """Runs an operation in a transaction of its own."""

    async def __call__(self, operation: Callable[[Transaction], Awaitable[T]], *, snapshot: bool = False) -> T:
        """Give what the operation does; a `snapshot` sees one moment."""


@dataclass(frozen=True, slots=True)
class Limit:
    """When work of many parts has to end, by `loop.time()`; it is asked before each part."""

    deadline: float

    def check(self) -> None:
        """Raise DEADLINE_EXCEEDED when the time is over: what was not looked at to the end is not told of."""
        if asyncio.get_running_loop().time() >= self.deadline:
            raise DomainError(
                Reason.DEADLINE_EXCEEDED,
                "the inventory could not be read to the end in time, so nothing is told of it",
            )


async def replay(run: Run, event_id: str, version: int, *, limit: Limit) -> Replay:
    """Follow the journal up to a version, from the newest checkpoint before it on. Raises DEADLINE_EXCEEDED.

    Rows that are not there count as gaps.
    """
    found = Replay()
    checkpoint = await run(partial(journal.checkpoint_before, event_id=event_id, version=version))
    if checkpoint is not None:
        found.begin(*checkpoint)
    while found.version < version:
        limit.check()
        changes = await run(
            partial(journal.between, event_id=event_id, after_version=found.version, through_version=version)
        )
        if not changes:
            found.gaps += version - found.version
            break
        for number, body in changes:
            found.follow(number, body)
    return found


async def missing(run: Run, event_id: str, version: int, *, limit: Limit) -> int:
    """Count the versions up to one that have no row in the journal. Raises DEADLINE_EXCEEDED."""
    gaps = 0
    for after in range(0, version, COUNTED_VERSIONS):
        limit.check()
        through = min(version, after + COUNTED_VERSIONS)
        rows = await run(partial(journal.count, event_id=event_id, after_version=after, through_version=through))
        gaps += through - after - rows
    return gaps


async def at_version(run: Run, event_id: str, version: int, *, limit: Limit) -> Replay:
    """Give an event's counters after a commit.

    Raises EVENT_NOT_FOUND, VALIDATION_FAILED of a version that has not come, HISTORY_NOT_RETAINED, DEADLINE_EXCEEDED.
    """
    newest, _ = await run(lambda transaction: _newest(transaction, event_id))
    if version > newest:
        raise invalid("inventory_version", f"has not come; the newest is {newest}")
    return await _retained(run, event_id, version, limit=limit)


async def at_time(run: Run, event_id: str, moment: datetime, *, limit: Limit) -> Replay:
    """Give an event's counters at a moment; before its first commit there were none.

    Raises EVENT_NOT_FOUND, VALIDATION_FAILED of a moment that has not come, HISTORY_NOT_RETAINED, DEADLINE_EXCEEDED.
    """
    version = await run(lambda transaction: _version_at(transaction, event_id, moment))
    return await _retained(run, event_id, version, limit=limit)


async def _retained(run: Run, event_id: str, version: int, *, limit: Limit) -> Replay:
    found = await replay(run, event_id, version, limit=limit)
    if found.gaps:
        raise DomainError(
            Reason.HISTORY_NOT_RETAINED,
            "the journal of that time is not there any more",
            metadata={"event_id": event_id, "inventory_version": str(version)},
        )
    return found


async def _newest(transaction: Transaction, event_id: str) -> tuple[int, datetime]:
    found = await inventories.newest(transaction, event_id)
    if found is None:
        raise event_not_found(event_id)
    return found


async def _version_at(transaction: Transaction, event_id: str, moment: datetime) -> int:
    """Find the newest version of a moment; 0 = there was none yet. Later versions have the same time or a later one."""
    newest, now = await _newest(transaction, event_id)
    if moment > now:
        raise invalid("read_time", "has not come")
    last = await journal.occur_time(transaction, event_id, newest)
    if last is None or last <= moment:
        # A commit under way may have an earlier time than this moment, and is to be seen: the past never changes.
        newest = await inventories.newest_committed(transaction, event_id)
    before, after = 0, newest + 1
    while after - before > 1:
        middle = (before + after) // 2
        time = await journal.occur_time(transaction, event_id, middle)
        if time is None or time <= moment:  # what is not retained any more is old
            before = middle
        else:
            after = middle
    return before
