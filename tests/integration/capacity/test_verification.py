"""Comparing an event's rows with each other and with its journal: what is found, and at which version."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.capacity.engine import writing
from holdfast.capacity.operations import history, verification
from holdfast.capacity.operations.history import Limit
from holdfast.capacity.store import journal, recounting
from holdfast.common.errors import Reason
from tests.integration.capacity.conftest import refused
from tests.integration.capacity.steps import blocked, figures, hold_seats, seated, sold

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.api.capacity.v1 import section_pb2
    from holdfast.common.database import Database, Transaction
    from tests.integration.capacity.conftest import Capacity


async def found(capacity: Capacity, event_id: str) -> list[tuple[Any, ...]]:
    """Verify, and give what differs."""
    answer = await capacity.call("VerifyInventory", event_id=event_id)
    assert answer.consistent is not bool(answer.differences)
    return [
        (each.section_id, each.counter, each.stored, each.from_lines, each.from_journal, *each.seats)
        for each in answer.differences
    ]


class Runs:
    """Runs transactions one by one, and looks at them: how many there were, and what happened after the first."""

    def __init__(self, database: Database, organization_id: str) -> None:
        self._database = database
        self._organization_id = organization_id
        self.snapshots = 0
        self.others = 0
        self.after_the_snapshot: Callable[[], Awaitable[None]] | None = None

    async def __call__(self, operation: Callable[[Transaction], Awaitable[Any]], *, snapshot: bool = False) -> Any:
        answer = await self._database.run(operation, organization_id=self._organization_id, snapshot=snapshot)
        self.snapshots += snapshot
        self.others += not snapshot
        if snapshot and self.after_the_snapshot is not None:
            await self.after_the_snapshot()
        return answer


def in_time(seconds: float = 60.0) -> Limit:
    return Limit(asyncio.get_running_loop().time() + seconds)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a few rows at a time, so that a small event has many parts."""
    for name, size in (("OWNERS_MAX", 2), ("SEATED_OWNERS_MAX", 2), ("CLAIMS_MAX", 3)):
        monkeypatch.setattr(recounting, name, size)
    monkeypatch.setattr(journal, "REPLAY_CHUNK", 3)
    monkeypatch.setattr(history, "COUNTED_VERSIONS", 4)


async def busy(capacity: Capacity) -> tuple[str, section_pb2.Section, section_pb2.Section]:
    """Make an event with every kind of claim, with and without seats."""
    event_id = await capacity.event()
    floor, stalls = await capacity.section(event_id, 50), await seated(capacity, event_id)
    block = await blocked(capacity, floor, 5)
    await capacity.call("SetBuffer", section_id=floor.id, quantity=2)
    await capacity.call("PlaceHold", section_id=floor.id, quantity=3, block_id=block.id)
    for quantity in (1, 2, 3):
        await capacity.place(floor.id, quantity)
    house = await blocked(capacity, stalls, ["B-1", "B-2"])
    await hold_seats(capacity, stalls, "B-1", block_id=house.id)
    sale = await sold(capacity, await hold_seats(capacity, stalls, "A-1", "A-2", "A-3"))
    back = {"number": 1, "seats": {"labels": ["A-2"]}}
    await capacity.call("ReturnSale", sale_id=sale.id, lines=[back])
    await capacity.call("BeginPayment", hold_id=(await hold_seats(capacity, stalls, "A-5")).id)
    return event_id, floor, stalls


@pytest.mark.usefixtures("small_parts")
async def test_all_kinds_of_claims_agree_however_small_the_parts_are(capacity: Capacity) -> None:
    event_id, floor, stalls = await busy(capacity)
    assert await figures(capacity, floor.id) == (37, 9, 0, 4)
    assert await figures(capacity, stalls.id) == (5, 1, 2, 1)
    await capacity.check(event_id)


@pytest.mark.usefixtures("small_parts")
async def test_what_does_not_agree_is_told_by_section_counter_and_seat(capacity: Capacity) -> None:
    event_id, floor, stalls = await busy(capacity)

    async def told_of(statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Change something behind the service's back, verify, and change it back."""
        with capacity.undoing(statement, *values):
            return await found(capacity, event_id)

    section = "UPDATE capacity.sections SET {} WHERE id = %s"
    assert await told_of(section.format("held = held + 1"), floor.id) == [(floor.id, "held", 10, 9, 9)]
    assert await told_of(section.format("pending = 0"), stalls.id) == [(stalls.id, "pending", 0, 1, 1)]
    assert await told_of(section.format("total = 60"), floor.id) == [
        ("", "total", 60, 70, 60),
        (floor.id, "total", 60, 60, 50),
    ]
    assert await told_of(section.format("buffer = 1"), floor.id) == [
        ("", "blocked", 5, 4, 5),
        (floor.id, "blocked", 4, 3, 4),
        (floor.id, "buffer", 1, 1, 2),
    ]
    event = "UPDATE capacity.event_inventories SET {} WHERE event_id = %s"
    assert await told_of(event.format("sold = 7"), event_id) == [("", "sold", 7, 2, 2)]
    assert await told_of(event.format("live_holds = 0"), event_id) == [("", "live_holds", 0, 6, 6)]
    # Taken are, B-1 and B-2: 0, 2, 4, 5 and 6.
    assert await told_of(section.format("taken = decode('7400', 'hex')"), stalls.id) == [
        (stalls.id, "seats", 4, 5, 5, "A-1")
    ]
    assert await told_of(section.format("taken = decode('7f02', 'hex')"), stalls.id) == [
        (stalls.id, "seats", 8, 5, 5, "A-2", "A-4", "B-5")
    ]
    assert await told_of("DELETE FROM capacity.seat_claims WHERE section_id = %s AND seat_index = 6", stalls.id) == [
        (stalls.id, "seats", 5, 4, 4, "B-2"),
        (stalls.id, "claims", 4, 5, 5, "B-2"),
    ]
    assert await told_of(
        "INSERT INTO capacity.seat_claims (organization_id, section_id, seat_index, hold_id)"
        " SELECT organization_id, section_id, 9, hold_id FROM capacity.seat_claims"
        " WHERE section_id = %s AND seat_index = 4",
        stalls.id,
    ) == [(stalls.id, "seats", 5, 6, 6, "B-5"), (stalls.id, "claims", 6, 5, 5, "B-5")]
    assert await told_of(
        "UPDATE capacity.seat_claims SET hold_id = 'nobody' WHERE section_id = %s AND seat_index = 4", stalls.id
    ) == [(stalls.id, "claims", 5, 5, 5, "A-5")]
    (version,) = capacity.rows("SELECT max(version) FROM capacity.inventory_changes WHERE event_id = %s", event_id)[0]
    for lost in (2, version):
        gone = await told_of(
            "DELETE FROM capacity.inventory_changes WHERE event_id = %s AND version = %s", event_id, lost
        )
        assert ("", "version", version, version, version - 1) in gone
    await capacity.check(event_id)


@pytest.mark.usefixtures("small_parts")
async def test_what_is_sold_while_it_is_verified_does_not_differ(capacity: Capacity) -> None:
    event_id, floor, stalls = await busy(capacity)
    before = (await capacity.call("GetTotals", event_id=event_id)).inventory_version

    async def sell() -> None:
        await sold(capacity, await capacity.place(floor.id, 2))
        await hold_seats(capacity, stalls, "B-4")

    async with capacity.database_of_the_service() as database:
        runs = Runs(database, capacity.organization_id)
        runs.after_the_snapshot = sell
        seen = await verification.verify(runs, event_id, limit=in_time())
    assert seen.differences == ()
    assert seen.version == before
    assert (await capacity.call("GetTotals", event_id=event_id)).inventory_version == before + 3
    assert runs.snapshots == 1
    assert runs.others > before // 3


async def test_rows_that_change_between_two_reads_are_seen_as_they_were(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    async with capacity.database_of_the_service() as database:

        async def look(transaction: Transaction) -> tuple[Any, Any]:
            first = await recounting.event(transaction, section.event_id)
            await capacity.place(section.id, 4)
            return first, await recounting.event(transaction, section.event_id)

        first, second = await database.run(look, organization_id=capacity.organization_id, snapshot=True)
    assert (first.version, first.sums) == (second.version, second.sums)
    assert (await capacity.read(section.id)).held == 4


async def test_the_journal_is_followed_from_the_newest_checkpoint_on(
    capacity: Capacity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "CHECKPOINT_VERSIONS", 6)
    event_id = await capacity.event()
    quiet, hot = await capacity.section(event_id, 20), await capacity.section(event_id, 20)
    gone = await capacity.section(event_id, 5)
    await capacity.place(quiet.id, 3)
    await capacity.call("DeleteSection", section_id=gone.id)
    for _ in range(8):
        await capacity.place(hot.id)
    await capacity.check(event_id)
    assert capacity.rows("SELECT version FROM capacity.inventory_checkpoints WHERE event_id = %s", event_id) == [
        (6,),
        (12,),
    ]
    # What is before the newest checkpoint is not looked at: neither its row of the journal, nor an older checkpoint.
    with capacity.undoing("DELETE FROM capacity.inventory_checkpoints WHERE event_id = %s AND version = 6", event_id):
        assert await found(capacity, event_id) == []
    wrong = (
        "UPDATE capacity.inventory_checkpoints"
        " SET body = convert_to(replace(convert_from(body, 'UTF8'), '20, 3,', '20, 2,'), 'UTF8')"
        " WHERE event_id = %s AND version = 12"
    )
    with capacity.undoing(wrong, event_id):
        assert await found(capacity, event_id) == [(quiet.id, "held", 3, 3, 2)]


async def test_what_cannot_be_read_to_the_end_in_time_is_not_said_to_agree(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    await capacity.place(section.id)
    async with capacity.database_of_the_service() as database:
        runs = Runs(database, capacity.organization_id)
        error = await refused(verification.verify(runs, section.event_id, limit=in_time(-1)))
    assert error.reason is Reason.DEADLINE_EXCEEDED
