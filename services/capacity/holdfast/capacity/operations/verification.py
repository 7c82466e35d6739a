"""Comparing an event's counters and seats with what they count, and with what its journal tells.

Two kinds of reading, because two kinds of thing are compared:

- *Rows with rows*: counters, bitmaps, lines of holds and sales, blocks and claims all change with every commit, so that
  they only agree at one moment. They are read in one snapshot, many short statements, each of a bounded number of
  rows. No row is locked; commits go on, and are not seen.
- *Rows with the journal*: the rows of the snapshot are those of the version that it saw, and the journal up to a
  version never changes. It is read afterwards, in transactions of their own, so that the snapshot ends early: as long
  as it is there, the database cannot tidy up behind the commits.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from holdfast.capacity.domain.layouts import Layout
from holdfast.capacity.domain.recounts import (
    COUNTERS,
    OF_THE_EVENT,
    Difference,
    Recount,
    SeatCount,
    seat_differences,
)
from holdfast.capacity.domain.seats import SEATS_TOLD_MAX
from holdfast.capacity.operations import history
from holdfast.capacity.operations.access import event_not_found
from holdfast.capacity.store import recounting as store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from holdfast.capacity.journal_replay import Replay
    from holdfast.capacity.operations.history import Limit, Run
    from holdfast.common.database import Transaction


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found at a version."""

    version: int
    at: datetime
    differences: tuple[Difference, ...]
    repaired_version: int
    recount: Recount
    told: dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of an event at one moment, counted, and what is wrong with its seats."""

    event: store.StoredEvent
    recount: Recount
    seats: tuple[Difference, ...]


async def verify(run: Run, event_id: str, *, limit: Limit) -> Verification:
    """Compare everything; EVENT_NOT_FOUND, and DEADLINE_EXCEEDED when it takes too long: then nothing is said.

    Differences of the event's own sums have no section.
    """
    rows = await run(lambda transaction: _rows(transaction, event_id, limit), snapshot=True)
    version = rows.event.version
    journal = await history.replay(run, event_id, version, limit=limit)
    gaps = max(journal.gaps, await history.missing(run, event_id, version, limit=limit))
    told = _told(journal)
    differences = [*rows.recount.differences(told), *rows.seats]
    if gaps:
        differences.append(Difference(OF_THE_EVENT, "version", version, version, version - gaps))
    return Verification(
        version=version,
        at=rows.event.at,
        differences=tuple(sorted(differences, key=attrgetter("place"))),
        repaired_version=rows.event.repaired_version,
        recount=rows.recount,
        told=told,
    )


def _told(journal: Replay) -> dict[str, dict[str, int]]:
    told = {
        section_id: {name: getattr(counters, name) for name in (*COUNTERS, "buffer")}
        for section_id, counters in journal.sections.items()
    }
    told[OF_THE_EVENT] = {name: getattr(journal.last.totals, name) for name in COUNTERS}
    return told


async def _rows(transaction: Transaction, event_id: str, limit: Limit) -> _Rows:
    """Count the rows. The first statement sets the moment that all others see."""
    event = await store.event(transaction, event_id)
    if event is None:
        raise event_not_found(event_id)
    sections = await store.stored(transaction, event_id)
    recount = Recount(
        stored={OF_THE_EVENT: event.sums} | {each.section_id: each.counters for each in sections},
        buffers={each.section_id: each.buffer for each in sections},
        deleted=frozenset(each.section_id for each in sections if each.deleted),
        live_holds=event.live_holds,
    )
    seats = {each.section_id: SeatCount() for each in sections if each.seats}
    for kind in store.KINDS:
        owners = await _count(transaction, event_id, kind, recount=recount, seats=seats, limit=limit)
        if kind is store.HOLDS:
            recount.holds = owners
    recount.add_up()
    differences: list[Difference] = []
    for section_id, count in sorted(seats.items()):
        differences += await _seats(transaction, section_id, count, recount=recount, limit=limit)
    return _Rows(event, recount, tuple(differences))


async def _count(  # noqa: PLR0913 (what is counted into)
    transaction: Transaction,
    event_id: str,
    kind: store.Kind,
    *,
    recount: Recount,
    seats: dict[str, SeatCount],
    limit: Limit,
) -> int:
    """Count the places of all owners of a kind; gives how many owners there are."""
    owners = 0
    after: store.Cursor | None = store.START
    while after is not None:
        limit.check()
        part = await store.part(transaction, event_id, kind, after=after, seats=bool(seats))
        for section_id, counter, quantity in part.sums:
            recount.add(section_id, counter, quantity)
        for section_id, owner, indexes in part.seats:
            if section_id in seats:
                seats[section_id].name(owner, indexes)
        owners += part.owners
        after = part.cursor
    return owners


async def _seats(
    transaction: Transaction, section_id: str, count: SeatCount, *, recount: Recount, limit: Limit
) -> Sequence[Difference]:
    """Compare a section's bitmap with its claims, and these with the lines and blocks that name the seats."""
    first: int | None = 0
    while first is not None:
        limit.check()
        claims = await store.claims(transaction, section_id, first_seat=first)
        count.claim([(row.seat_index, row.owner) for row in claims])
        first = claims[-1].seat_index + 1 if len(claims) == store.CLAIMS_MAX else None
    faults = count.faults(await store.bitmap(transaction, section_id))
    if not faults:
        return ()
    recount.seats[section_id] = faults
    labels = Layout.from_json(await store.layout(transaction, section_id)).labels
    return tuple(seat_differences(section_id, faults, labels, told_max=SEATS_TOLD_MAX))
