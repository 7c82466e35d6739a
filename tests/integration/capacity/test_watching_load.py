"""Many who change an inventory and several who follow it: every version is accounted for, and all end up alike."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any

from holdfast.common.errors import DomainError, Reason
from tests.integration.capacity.conftest import until
from tests.integration.capacity.followers import Figures, Follower, bits, figures_of
from tests.integration.capacity.steps import seated
from tests.integration.capacity.test_availability import look

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from holdfast.api.capacity.v1 import section_pb2
    from tests.integration.capacity.conftest import Capacity

WRITERS = 8
ACTIONS = 25
SEATS = 24
TURNED_DOWN = {
    Reason.INSUFFICIENT_CAPACITY,
    Reason.SEATS_TAKEN,
    Reason.HOLD_EXPIRED,
    Reason.HOLD_NOT_ACTIVE,
    Reason.OVERLOADED,
}


class Writer:
    """Holds, releases, sells, returns and blocks places and seats, drawn from a seed."""

    def __init__(self, capacity: Capacity, seed: int, general: section_pb2.Section, seats: section_pb2.Section) -> None:
        self._capacity = capacity
        self._random = Random(seed)  # noqa: S311 (a repeatable draw)
        self._general = general
        self._seats = seats
        self._holds: list[str] = []
        self._sales: list[str] = []

    async def run(self) -> None:
        for _ in range(ACTIONS):
            try:
                await self._act()
            except DomainError as refusal:
                if refusal.reason not in TURNED_DOWN:
                    raise

    def _act(self) -> Awaitable[None]:
        kinds: list[Any] = [self._hold_places, self._hold_seats, self._hold_seats]
        if self._holds:
            kinds += [self._release, self._confirm]
        if self._sales:
            kinds += [self._give_back]
        chosen: Awaitable[None] = self._random.choice(kinds)()
        return chosen

    async def _hold_places(self) -> None:
        hold = await self._capacity.place(self._general.id, self._random.randint(1, 4))
        self._holds.append(hold.id)

    async def _hold_seats(self) -> None:
        labels = [f"A-{number}" for number in self._random.sample(range(1, SEATS + 1), self._random.randint(1, 3))]
        answer = await self._capacity.call(
            "PlaceHold",
            section_id=self._seats.id,
            seats={"labels": labels},
            # Some end by the clock while the others go on.
            hold_ttl_seconds=self._random.choice([1, 900]),
        )
        self._holds.append(answer.hold.id)

    async def _release(self) -> None:
        await self._capacity.call("ReleaseHold", hold_id=self._drawn(self._holds))

    async def _confirm(self) -> None:
        sale = (await self._capacity.call("ConfirmHold", hold_id=self._drawn(self._holds))).sale
        self._sales.append(sale.id)

    async def _give_back(self) -> None:
        await self._capacity.call(
            "ReturnSale",
            sale_id=self._drawn(self._sales),
            lines=[{"number": 1, "all": True}],
            return_to=self._random.choice(["SALE", "SALE", "BLOCKED"]),
        )

    def _drawn(self, ids: list[str]) -> str:
        return ids.pop(self._random.randrange(len(ids)))


async def going_on(follower: Follower, done: asyncio.Event) -> None:
    """Follow until it is enough."""
    while not done.is_set():
        assert await follower.step() is not None


async def coming_and_going(follower: Follower, done: asyncio.Event) -> None:
    """Follow, leave after every few steps, and go on from the version that is known."""
    while not done.is_set():
        for _ in range(2):
            assert await follower.step() is not None
        follower.leave()
        follower.begin()


async def the_same(capacity: Capacity, follower: Follower) -> bool:
    """Whether a follower knows what is so now, of figures and seats, and nothing else."""
    found = await look(capacity, follower.event_id, role=follower.role)
    seats = (await capacity.call("GetSeatMap", role=follower.role, event_id=follower.event_id)).seat_map
    return (
        follower.version == found.inventory_version == seats.inventory_version
        and follower.sections == {each.section_id: figures_of(each) for each in found.sections}
        and (not follower.fields or follower.taken == {each.section_id: bits(each.taken) for each in seats.sections})
    )


async def test_followers_miss_nothing_while_many_write(capacity: Capacity) -> None:
    event_id = await capacity.event()
    general, seats = await capacity.section(event_id, 200), await seated(capacity, event_id, rows=1, cols=SEATS)
    with_seats = {"with_seats": True}
    followers = [
        Follower(capacity, event_id, fields=with_seats),
        Follower(capacity, event_id, role="owner"),
        Follower(capacity, event_id, fields=with_seats),
        Follower(capacity, event_id, role="owner", fields=with_seats),
    ]
    done = asyncio.Event()
    for each in followers:
        each.begin()
        assert await each.step() is not None
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(going_on(each, done)) for each in followers[:2]]
        tasks += [group.create_task(coming_and_going(each, done)) for each in followers[2:]]
        await asyncio.gather(*(Writer(capacity, seed, general, seats).run() for seed in range(WRITERS)))

        async def all_alike() -> bool:
            return all([await the_same(capacity, each) for each in followers])

        await until(all_alike)
        done.set()
        await capacity.place(general.id)  # something to be told, so that everybody sees that it is enough
    journal = await capacity.journal(event_id)
    for each in followers:
        each.leave()
        told_of_every_version(each, journal[-1].version)
    # What was told of a section without holds that the clock ends is what the journal says at that version.
    counters: dict[int, Figures] = {}
    for row in journal:
        told = next((one for one in row.sections if one.section_id == general.id), None)
        if told is None:
            counters[row.version] = counters.get(row.version - 1, (0, 0, 0, 0, 0))
        else:
            free = told.total - told.held - told.pending - told.sold - told.blocked
            counters[row.version] = (free, told.held, told.pending, told.sold, told.blocked)
    for each in followers:
        assert [sections[general.id] for _, sections in each.seen] == [counters[version] for version, _ in each.seen]
    # Nobody who went on had to begin anew; who came and went mostly went on from where it was.
    assert [each.snapshots for each in followers[:2]] == [1, 1]
    for each in followers[2:]:
        assert each.snapshots < each.deltas
    await capacity.check(event_id)


def told_of_every_version(follower: Follower, newest: int) -> None:
    """Each step joins the one before (the follower checks that), from the first on to the last version."""
    versions = [version for version, _ in follower.seen]
    assert versions == sorted(versions)
    assert newest - 1 <= versions[-1] <= newest
