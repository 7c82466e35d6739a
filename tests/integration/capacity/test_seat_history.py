"""The list of seats, read from the tables, and the map, followed in memory, say the same after every step."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from holdfast.api.capacity.v1 import seat_pb2
from tests.integration.capacity.conftest import until
from tests.integration.capacity.steps import hold_seats, seated

if TYPE_CHECKING:
    from holdfast.api.capacity.v1 import section_pb2
    from tests.integration.capacity.conftest import Capacity

STEPS = 60
ROWS, COLUMNS = 4, 10


@dataclass
class House:
    """A seated section, and by id the labels of what is held, being paid for, sold and blocked of it."""

    capacity: Capacity
    section: section_pb2.Section
    free: list[str]
    held: dict[str, list[str]] = field(default_factory=dict)
    paying: dict[str, list[str]] = field(default_factory=dict)
    sold: dict[str, list[str]] = field(default_factory=dict)
    blocked: dict[str, list[str]] = field(default_factory=dict)

    def possible(self) -> list[str]:
        """Name the steps that can be taken now."""
        steps = ["hold", "block"] if len(self.free) > 1 else []
        steps += ["pay", "release"] if self.held else []
        steps += ["confirm"] if self.held or self.paying else []
        steps += ["shrink"] if any(len(labels) > 1 for labels in self.held.values()) else []
        steps += ["take", "unblock"] if self.blocked else []
        return steps + (["give_back"] if self.sold else [])

    async def hold(self) -> None:
        labels = [self.free.pop(), self.free.pop()]
        self.held[(await hold_seats(self.capacity, self.section, *labels)).id] = labels

    async def block(self) -> None:
        labels = [self.free.pop(), self.free.pop()]
        made = await self.capacity.call(
            "BlockSeats", section_id=self.section.id, seats={"labels": labels}, note="house"
        )
        self.blocked[made.block.id] = labels

    async def take(self) -> None:
        block_id, labels = self.blocked.popitem()
        self.held[(await hold_seats(self.capacity, self.section, *labels, block_id=block_id)).id] = labels

    async def unblock(self) -> None:
        block_id, labels = self.blocked.popitem()
        await self.capacity.call("Unblock", block_id=block_id)
        self.free.extend(labels)

    async def pay(self) -> None:
        hold_id, labels = self.held.popitem()
        await self.capacity.call("BeginPayment", hold_id=hold_id)
        self.paying[hold_id] = labels

    async def shrink(self) -> None:
        hold_id = next(hold_id for hold_id, labels in self.held.items() if len(labels) > 1)
        first, *rest = self.held[hold_id]
        part = {"number": 1, "seats": {"labels": [first]}}
        await self.capacity.call("ChangeHold", hold_id=hold_id, release_lines=[part])
        self.held[hold_id] = rest

    async def confirm(self) -> None:
        hold_id, labels = (self.paying or self.held).popitem()
        self.sold[(await self.capacity.call("ConfirmHold", hold_id=hold_id)).sale.id] = labels

    async def release(self) -> None:
        hold_id, _ = self.held.popitem()
        await self.capacity.call("ReleaseHold", hold_id=hold_id)

    async def give_back(self) -> None:
        sale_id, labels = self.sold.popitem()
        part = {"number": 1, "seats": {"labels": labels[:1]}}
        where = "BLOCKED" if len(self.free) % 2 else "SALE"
        await self.capacity.call("ReturnSale", sale_id=sale_id, lines=[part], return_to=where, note="back")

    async def agrees(self) -> bool:
        """Whether the map shows what the list does, seat by seat."""
        listed = await self.capacity.call("ListSeats", section_id=self.section.id, page_size=200)
        seat_map = (await self.capacity.call("GetSeatMap", event_id=self.section.event_id)).seat_map
        wanted = dict.fromkeys(("HELD", "PENDING", "SOLD", "BLOCKED"), 0)
        for index, seat in enumerate(listed.seats):
            state = seat_pb2.Seat.State.Name(seat.state)
            if state in wanted:
                wanted[state] |= 1 << index
        shown = {state: int.from_bytes(getattr(seat_map.sections[0], state.lower()), "little") for state in wanted}
        return bool(seat_map.inventory_version >= listed.inventory_version and shown == wanted)


async def test_the_list_and_the_map_agree_after_every_step(capacity: Capacity) -> None:
    random = Random(50)  # noqa: S311 (the same history each time; it keeps no secret)
    section = await seated(capacity, await capacity.event(), rows=ROWS, cols=COLUMNS)
    free = [f"{row}-{seat}" for row in "ABCD"[:ROWS] for seat in range(1, COLUMNS + 1)]
    random.shuffle(free)
    house = House(capacity, section, free)
    taken: set[str] = set()
    for _ in range(STEPS):
        step = random.choice(house.possible())
        await getattr(house, step)()
        taken.add(step)
        await until(house.agrees)
    assert taken == {"hold", "block", "take", "unblock", "pay", "shrink", "confirm", "release", "give_back"}
    await capacity.check(section.event_id)
