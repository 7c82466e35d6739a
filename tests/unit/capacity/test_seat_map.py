"""Seats in memory: what commits and the clock do to them, and when only the tables can tell."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from holdfast.capacity.convert import no_controls
from holdfast.capacity.domain.availability import microseconds
from holdfast.capacity.domain.bitmaps import mask_of
from holdfast.capacity.domain.seat_map import (
    BlockStep,
    EventSeats,
    HeldSeats,
    HoldStep,
    SeatMap,
    SeatStep,
    SectionSeats,
)
from holdfast.capacity.domain.seat_states import SeatClaim, states_at
from holdfast.capacity.domain.seating import grid
from holdfast.common.errors import DomainError, Reason
from tests.unit.capacity.factories import section

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SOON = NOW + timedelta(minutes=1)
LATER = NOW + timedelta(minutes=9)


def event() -> EventSeats:
    """One section of ten seats, nobody has any, and one without seats."""
    return EventSeats(
        controls=no_controls("o", "e"),
        version=5,
        changed_at=NOW,
        at=NOW,
        sections=[section("a", total=10), section("floor", total=10)],
        seats={"a": SectionSeats(layout=grid(2, 5), taken=0)},
    )


def step(version: int = 6, **fields: object) -> SeatStep:
    return replace(SeatStep(version=version, at=NOW, controls_version=0, revisions={"a": 1}), **fields)  # type: ignore[arg-type]  # whatever a test says


def held(hold_id: str, *labels: str, until: datetime = LATER, pending: bool = False, block_id: str = "") -> HoldStep:
    seats = (HeldSeats("a", labels, block_id),)
    return HoldStep(hold_id, live=True, pending=pending, expire_us=microseconds(until), seats=seats)


def shown(seats: EventSeats, at: datetime = NOW) -> SeatMap:
    return seats.shown(at, schedule_id=None, hidden=True)


def sets(seats: EventSeats, at: datetime = NOW) -> dict[str, int]:
    states = shown(seats, at).sections[0].states
    found = {name: getattr(states, name) for name in ("held", "pending", "sold", "blocked")}
    return {name: mask for name, mask in found.items() if mask}


def test_a_hold_takes_seats_and_keeps_them_when_it_is_sold() -> None:
    seats = event()
    assert seats.follow(step(holds=(held("h", "A-1", "B-1"),), taken=(("a", (0, 5), True),)))
    assert sets(seats) == {"held": mask_of([0, 5])}
    paying = held("h", "A-1", "B-1", pending=True)
    assert seats.follow(step(7, holds=(paying,)))
    assert sets(seats) == {"pending": mask_of([0, 5])}
    assert seats.follow(step(8, holds=(HoldStep("h", live=False),)))
    assert sets(seats) == {"sold": mask_of([0, 5])}
    assert seats.follow(step(9, taken=(("a", (5,), False),)))
    assert sets(seats) == {"sold": mask_of([0])}


def test_a_hold_is_over_at_its_expiry_and_not_a_microsecond_before() -> None:
    seats = event()
    holds = (held("h", "A-1", until=SOON), held("i", "A-2"))
    assert seats.follow(step(holds=holds, taken=(("a", (0, 1), True),)))
    before, after = shown(seats, SOON - timedelta(microseconds=1)), shown(seats, SOON)
    assert before.sections[0].states.held == 0b11
    assert (before.next_change_time, before.clock_version) == (SOON, 0)
    assert after.sections[0].states.taken == 0b10
    assert (after.next_change_time, after.clock_version) == (LATER, microseconds(SOON))


def test_seats_of_a_block_go_back_to_it_while_it_stands() -> None:
    seats = event()
    block = BlockStep("b", "a", ("A-1", "A-2"), ended=False)
    assert seats.follow(step(blocks=(block,), taken=(("a", (0, 1), True),)))
    assert sets(seats) == {"blocked": 0b11}
    assert seats.follow(
        step(7, blocks=(replace(block, labels=("A-2",)),), holds=(held("h", "A-1", until=SOON, block_id="b"),))
    )
    assert sets(seats) == {"held": 0b01, "blocked": 0b10}
    assert sets(seats, SOON) == {"blocked": 0b11}
    assert seats.follow(step(8, blocks=(BlockStep("b", "a", (), ended=True),), taken=(("a", (1,), False),)))
    assert sets(seats, SOON) == {}, "the block ended, so what its holds had is free"


def test_what_a_change_of_the_event_ended_is_free_before_its_time() -> None:
    claim = SeatClaim(pending=False, expire_us=microseconds(LATER), seats=(3,), voided=True)
    states = states_at(microseconds(NOW), taken=0b11000, claims=[claim], blocks={})
    assert (states.sold, states.held, states.next_us, states.last_us) == (0b10000, 0, None, 0)


@pytest.mark.parametrize(
    "unknown",
    [
        step(revisions={"a": 2}),
        step(revisions={"new": 1}),
        step(controls_version=1),
        step(opaque=True),
    ],
)
def test_what_a_commit_does_not_tell_is_read_anew(unknown: SeatStep) -> None:
    assert not event().follow(unknown)


def test_a_deleted_section_is_gone_and_versions_have_no_gaps() -> None:
    seats = event()
    assert seats.follow(step(revisions={"a": None}))
    assert shown(seats).sections == ()
    with pytest.raises(ValueError, match="does not follow"):
        seats.follow(step(9))


def test_a_date_that_there_is_not_is_refused() -> None:
    with pytest.raises(DomainError) as caught:
        event().shown(NOW, schedule_id="s", hidden=True)
    assert caught.value.reason is Reason.SCHEDULE_NOT_FOUND
