"""Seated sections: laying them out, holding seats by their labels, and the guard behind the bitmap."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from tests.integration.capacity.conftest import refused, state_of, until

if TYPE_CHECKING:
    from holdfast.api.capacity.v1 import hold_pb2, section_pb2
    from tests.integration.capacity.conftest import Capacity


async def seated(capacity: Capacity, *, rows: int = 3, cols: int = 5, **controls: Any) -> section_pb2.Section:
    """Make an event on sale with one section of rows A, B … and seats 1, 2 …"""
    event_id = await capacity.event(**controls)
    config = {"rows": rows, "cols": cols, "sections": [{"name": "Stalls"}]}
    made = await capacity.call("GenerateSeating", event_id=event_id, config=config)
    section: section_pb2.Section = made.sections[0]
    return section


async def take(capacity: Capacity, section_id: str, *labels: str, buyer: str = "user:buyer", **fields: Any) -> Any:
    answer = await capacity.call(
        "PlaceHold", role="buyer", subject=buyer, section_id=section_id, seats={"labels": labels}, **fields
    )
    hold: hold_pb2.Hold = answer.hold
    return hold


def claims(capacity: Capacity, section_id: str) -> dict[int, str]:
    rows = capacity.rows(
        "SELECT seat_index, coalesce(hold_id, block_id) FROM capacity.seat_claims WHERE section_id = %s", section_id
    )
    return dict(rows)


def taken(capacity: Capacity, section_id: str) -> set[int]:
    (bitmap,) = capacity.rows("SELECT taken FROM capacity.sections WHERE id = %s", section_id)[0]
    mask = int.from_bytes(bitmap, "little")
    return {seat for seat in range(mask.bit_length()) if mask >> seat & 1}


async def test_rows_and_columns_make_seated_sections(capacity: Capacity) -> None:
    event_id = await capacity.event()
    config = {
        "rows": 25,
        "cols": 20,
        "sections": [{"name": "A", "subsections": 2}, {"name": "Box", "rows": 1, "cols": 4}],
    }
    key = new_id()
    made = await capacity.call("GenerateSeating", event_id=event_id, config=config, request_id=key)
    assert [(each.name, each.subsection, each.total) for each in made.sections] == [
        ("A", 1, 500),
        ("A", 2, 500),
        ("Box", 0, 4),
    ]
    assert made.seat_count == 1004
    layout = made.sections[0].layout
    assert (layout.row_count, layout.first_row, layout.last_row, layout.row_seats_max) == (25, "A", "Y", 20)
    again = await capacity.call("GenerateSeating", event_id=event_id, config=config, request_id=key)
    assert [each.id for each in again.sections] == [each.id for each in made.sections]
    shown = await capacity.read(made.sections[1].id)
    assert (shown.layout, shown.available) == (made.sections[1].layout, 500)
    await capacity.check(event_id)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"rows": 0, "cols": 5, "sections": [{"name": "A"}]}, Reason.INVALID_SEATING_CONFIG),
        ({"rows": 2, "cols": 5, "sections": [{"name": "A"}, {"name": "A"}]}, Reason.INVALID_SEATING_CONFIG),
        ({"rows": 1000, "cols": 101, "sections": [{"name": "A"}]}, Reason.INVALID_SEATING_CONFIG),
        ({"rows": 100, "cols": 51, "sections": [{"name": "A"}]}, Reason.VENUE_CAPACITY_EXCEEDED),
    ],
)
async def test_what_cannot_be_laid_out_makes_nothing(capacity: Capacity, config: Any, reason: Reason) -> None:
    event_id = await capacity.event()
    assert (await refused(capacity.call("GenerateSeating", event_id=event_id, config=config))).reason is reason
    assert not capacity.rows("SELECT 1 FROM capacity.sections WHERE event_id = %s", event_id)


async def test_seats_are_held_sold_and_given_back_by_their_labels(capacity: Capacity) -> None:
    section = await seated(capacity)
    hold = await take(capacity, section.id, "B-2", "B-1")
    assert list(hold.lines[0].seats) == ["B-2", "B-1"]
    assert hold.lines[0].quantity == 2
    assert claims(capacity, section.id) == {5: hold.id, 6: hold.id}
    assert taken(capacity, section.id) == {5, 6}
    sold = await capacity.call("ConfirmHold", role="buyer", hold_id=hold.id)
    assert list(sold.sale.lines[0].seats) == ["B-2", "B-1"]
    assert claims(capacity, section.id) == {5: hold.id, 6: hold.id}
    other = await take(capacity, section.id, "A-1")
    await capacity.call("ReleaseHold", role="buyer", hold_id=other.id)
    assert taken(capacity, section.id) == {5, 6}
    change = (await capacity.journal(section.event_id))[-1]
    assert [(each.section_id, list(each.indexes), each.taken) for each in change.seats] == [(section.id, [0], False)]
    shown = await capacity.read(section.id)
    assert (shown.held, shown.sold, shown.available) == (0, 2, 13)
    await capacity.check(section.event_id)


async def test_a_request_for_seats_gets_all_of_them_or_none(capacity: Capacity) -> None:
    section = await seated(capacity)
    await take(capacity, section.id, "A-2", "A-3")
    error = await refused(take(capacity, section.id, "A-1", "A-2", "A-3", "A-4"))
    assert error.reason is Reason.SEATS_TAKEN
    assert error.metadata["seats"] == "A-2,A-3"
    assert taken(capacity, section.id) == {1, 2}
    unknown = await refused(take(capacity, section.id, "A-1", "Z-9"))
    assert (unknown.reason, unknown.metadata["seats"]) == (Reason.SEAT_NOT_FOUND, "Z-9")
    number = await refused(capacity.place(section.id, 2))
    assert number.reason is Reason.VALIDATION_FAILED
    general = await capacity.section(section.event_id, 10)
    assert (await refused(take(capacity, general.id, "A-1"))).reason is Reason.SEAT_NOT_FOUND
    checked = await capacity.call("CheckAvailability", section_id=section.id, seats={"labels": ["A-1", "A-2"]})
    assert not checked.available
    assert (await capacity.call("CheckAvailability", section_id=section.id, seats={"labels": ["A-1"]})).available


async def test_of_many_callers_for_one_seat_exactly_one_wins(capacity: Capacity) -> None:
    section = await seated(capacity)
    answers = await asyncio.gather(
        *(take(capacity, section.id, "C-5", buyer=f"user:{number}") for number in range(100)), return_exceptions=True
    )
    lost = [answer for answer in answers if isinstance(answer, DomainError)]
    assert len(lost) == 99
    assert {error.reason for error in lost} == {Reason.SEATS_TAKEN}
    await capacity.check(section.event_id)


async def test_seats_of_a_hold_whose_time_is_over_are_free_at_once(capacity: Capacity) -> None:
    section = await seated(capacity)
    first = await take(capacity, section.id, "A-1", "A-2", hold_ttl_seconds=1)

    async def over() -> bool:
        return state_of(await capacity.hold(first.id)) == "EXPIRED"

    await until(over)
    assert claims(capacity, section.id) == {0: first.id, 1: first.id}
    assert (await capacity.call("CheckAvailability", section_id=section.id, seats={"labels": ["A-2"]})).available
    second = await take(capacity, section.id, "A-2", "A-3")
    assert claims(capacity, section.id) == {1: second.id, 2: second.id}
    assert taken(capacity, section.id) == {1, 2}
    assert state_of(await capacity.hold(first.id)) == "EXPIRED"
    await capacity.check(section.event_id)


async def test_a_corrupted_bitmap_sells_no_seat_twice(capacity: Capacity) -> None:
    section = await seated(capacity)
    first = await take(capacity, section.id, "A-1")
    capacity.change("UPDATE capacity.sections SET taken = decode('0000', 'hex') WHERE id = %s", section.id)
    error = await refused(take(capacity, section.id, "A-1", "A-3", buyer="user:thief"))
    assert (error.reason, error.metadata["seats"]) == (Reason.SEATS_TAKEN, "A-1")
    second = await take(capacity, section.id, "A-2", buyer="user:honest")
    assert claims(capacity, section.id) == {0: first.id, 1: second.id}
    differences = (await capacity.call("VerifyInventory", event_id=section.event_id)).differences
    assert [(each.counter, each.stored, each.from_lines, *each.seats) for each in differences] == [
        ("seats", 1, 2, "A-1")
    ]
