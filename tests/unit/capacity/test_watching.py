"""Deltas: what a follower knew, with what it is told, is what is so now."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.capacity.domain.availability import Availability, SectionAvailability
from holdfast.capacity.domain.controls import EventState
from holdfast.capacity.domain.layouts import Layout
from holdfast.capacity.domain.seat_map import SeatMap, ShownSeats
from holdfast.capacity.domain.seat_rows import Numbers, Row, SeatRun
from holdfast.capacity.domain.seat_states import SeatStates
from holdfast.capacity.domain.sections import Counters
from holdfast.capacity.domain.watching import Delta, Touched, View, changed, changed_since
from tests.unit.capacity.factories import NOW, later, section

LAYOUT = Layout(rows=(Row(label="A", runs=(SeatRun(place=1, labels=(Numbers(1, 1, 8),)),)),))
NAMES = ("floor", "balcony", "box")
Known = dict[str, tuple[Counters, bool, int]]

# Of each section: how many are held by its row and as it is seen, whether it is open, the seats that are taken by the
# rows and as they are seen. Nobody has a seat that the rows do not show as taken.
SECTION = st.tuples(st.integers(0, 8), st.integers(0, 8), st.booleans(), st.integers(0, 255), st.integers(0, 255))
SECTIONS = st.dictionaries(st.sampled_from(NAMES), SECTION)


def view(version: int, sections: dict[str, tuple[int, int, bool, int, int]]) -> View:
    shown, seats = [], []
    for name, (held, seen, active, claimed, taken) in sections.items():
        of = replace(section(name, held=held), active=active)
        shown.append(SectionAvailability(of, replace(of.counters, held=min(held, seen))))
        seats.append(ShownSeats(of, LAYOUT, SeatStates(taken & claimed, 0, 0, 0)))
    found = Availability(EventState.ON_SALE, True, tuple(shown), 0, 0, version, 0, None)
    claimed_seats = {name: each[3] for name, each in sections.items()}
    return View(found, NOW, NOW, SeatMap(tuple(seats), version, 0, None), claimed_seats)


def known(of: View) -> Known:
    assert of.seats is not None
    return {
        each.section.section_id: (each.counters, each.section.active, seats.states.taken)
        for each, seats in zip(of.availability.sections, of.seats.sections, strict=True)
    }


def taken_in(before: Known, delta: Delta) -> Known:
    """Take in a delta as a follower does."""
    after = {name: each for name, each in before.items() if name not in delta.gone}
    for each in delta.sections:
        name = each.section.section_id
        after[name] = (each.counters, each.section.active, after[name][2] if name in after else 0)
    for name, mask in delta.taken.items():
        after[name] = (*after[name][:2], after[name][2] | mask)
    for name, mask in delta.freed.items():
        after[name] = (*after[name][:2], after[name][2] & ~mask)
    return after


@given(before=SECTIONS, now=SECTIONS)
def test_a_delta_makes_one_view_the_next(
    before: dict[str, tuple[int, int, bool, int, int]], now: dict[str, tuple[int, int, bool, int, int]]
) -> None:
    first, then = view(4, before), view(7, now)
    delta = changed(first, then)
    assert delta.after_version == 4
    assert taken_in(known(first), delta) == known(then)
    nothing = changed(then, then)
    assert (nothing.sections, nothing.gone, nothing.taken, nothing.freed) == ((), (), {}, {})


CHANGES = st.dictionaries(st.integers(0, 1), st.booleans(), min_size=1)


@given(steps=st.lists(st.tuples(st.booleans(), CHANGES), max_size=6), cut=st.integers(0, 6))
@example(steps=[(False, {0: True}), (True, {0: False}), (False, {0: True})], cut=2)  # from who is over to somebody else
@example(steps=[(False, {0: True}), (True, {0: False})], cut=1)  # over, and no commit tells
def test_what_commits_touched_and_the_clock_tell_all(steps: list[tuple[bool, dict[int, bool]]], cut: int) -> None:
    """Seats are held and set free by commits, or end by the clock; whoever knows an earlier moment learns the rest."""
    rows, seen = 0, 0
    then = view(1, {"floor": (0, 0, True, 0, 0)})
    touched = Touched({}, {})
    for number, (by_the_clock, changes) in enumerate(steps):
        if number == cut:
            then, touched = seen_as(rows, seen), Touched({}, {})
        mask = sum(1 << seat for seat, taken in changes.items() if taken)
        freed = sum(1 << seat for seat, taken in changes.items() if not taken)
        if by_the_clock:
            seen &= ~freed
            continue
        got = mask & ~seen
        before, rows, seen = rows, (rows | mask) & ~freed, (seen | mask) & ~freed
        touched = Touched(
            {"floor": None},
            {"floor": touched.seats.get("floor", 0) | (before ^ rows)},
            {"floor": {*touched.labels.get("floor", ()), *(f"A-{seat + 1}" for seat in changes if got >> seat & 1)}},
        )
    if len(steps) <= cut:
        then, touched = seen_as(rows, seen), Touched({}, {})
    now = seen_as(rows, seen)
    delta = changed_since(1, touched, now, schedule_id=None)
    assert delta is not None
    assert taken_in(known(then), delta) == known(now)


def seen_as(rows: int, seen: int) -> View:
    return view(1, {"floor": (rows.bit_count(), seen.bit_count(), True, rows, seen)})


def test_what_is_over_without_a_commit_is_always_told_again() -> None:
    now = view(4, {"floor": (3, 1, True, 0b111, 0b100), "box": (2, 2, True, 0b11, 0b11)})
    delta = changed_since(4, Touched({}, {}), now, schedule_id=None)
    assert delta is not None
    assert [each.section.section_id for each in delta.sections] == ["floor"]
    assert (delta.taken, delta.freed) == ({}, {"floor": 0b011})


def test_a_section_of_another_date_is_nothing_to_tell_and_one_that_is_not_seen_needs_a_snapshot() -> None:
    now = view(4, {"floor": (1, 1, True, 0, 0)})
    for date, schedule_id, told in (("friday", "saturday", True), ("friday", "friday", False), (None, "friday", False)):
        delta = changed_since(3, Touched({"balcony": date}, {}), now, schedule_id=schedule_id)
        assert (delta is not None) == told
    assert changed_since(3, Touched({"balcony": "friday"}, {}), now, schedule_id=None) is None
    assert changed_since(3, Touched({}, {}, opaque=True), now, schedule_id=None) is None


def test_the_next_change_is_that_of_figures_or_of_seats() -> None:
    now = view(4, {})
    assert now.next_change_time is None
    assert now.seats is not None
    seats = replace(now, seats=replace(now.seats, next_change_time=later(3)))
    assert seats.next_change_time == later(3)
    both = replace(seats, availability=replace(now.availability, next_change_time=later(2)))
    assert both.next_change_time == later(2)
    assert now.name == (4, 0, 0)
