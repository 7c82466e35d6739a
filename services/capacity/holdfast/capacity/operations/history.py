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
from holdfast.capacity.store import journal
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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
    event_id: str

    def check(self) -> None:
        """Raise DEADLINE_EXCEEDED when the time is over: what was not looked at to the end is not told of."""
        if asyncio.get_running_loop().time() >= self.deadline:
            raise DomainError(
                Reason.DEADLINE_EXCEEDED,
                "the inventory could not be read to the end in time, so nothing is told of it",
                metadata={"event_id": self.event_id},
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
