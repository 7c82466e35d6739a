"""Controls, maxima and the lines that sold places cross."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.capacity.domain.controls import EventState, ScheduleState
from holdfast.capacity.domain.holds import VoidCause
from holdfast.capacity.domain.inventory import CHANGES_MAX
from holdfast.capacity.domain.planning import apply_controls, check_maxima, close_sections
from holdfast.capacity.domain.sections import Counters, Crossing, crossings
from holdfast.common.errors import DomainError, Reason
from tests.unit.capacity.factories import NOW, committed, controls, date, inventory, section


@pytest.mark.parametrize(
    ("totals", "dates", "accepted"),
    [
        ([(None, 2000), (None, 2500)], [], True),
        ([(None, 2000), (None, 2500), (None, 1000)], [], False),
        ([(None, 2000), ("a", 3000), ("b", 3000)], ["a", "b"], True),
        ([(None, 2000), ("a", 3001)], ["a", "b"], False),
        ([("a", 5000), ("b", 5000), (None, 1)], ["a", "b"], False),
    ],
)
def test_sections_stay_within_the_venue(
    totals: list[tuple[str | None, int]], dates: list[str], *, accepted: bool
) -> None:
    sections = [section(f"s{index}", total, schedule_id=at) for index, (at, total) in enumerate(totals)]
    stock = inventory(*sections, controls=controls(schedules=tuple(date(each) for each in dates)))
    if accepted:
        check_maxima(stock, [sections[-1]])
        return
    with pytest.raises(DomainError) as caught:
        check_maxima(stock, [sections[-1]])
    assert caught.value.reason is Reason.VENUE_CAPACITY_EXCEEDED
    assert caught.value.metadata["maximum"] == "5000"


@pytest.mark.parametrize(
    ("state", "total", "accepted"),
    [(ScheduleState.SCHEDULED, 100, True), (ScheduleState.SCHEDULED, 101, False), (ScheduleState.CANCELLED, 101, True)],
)
def test_a_live_date_has_its_own_maximum(state: ScheduleState, total: int, *, accepted: bool) -> None:
    added = section("new", total - 60, schedule_id="a")
    stock = inventory(
        section("wide", 60), added, controls=controls(schedules=(date("a", state=state, capacity_override=100),))
    )
    if accepted:
        check_maxima(stock, [added])
        return
    with pytest.raises(DomainError) as caught:
        check_maxima(stock, [added])
    assert caught.value.metadata == {"maximum": "100", "total": "101", "schedule_id": "a"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"held": 4, "pending": 3, "sold": 2, "blocked": 1}, None),
        ({"held": 4, "pending": 3, "sold": 2, "blocked": 2}, Reason.CAPACITY_COMMITTED),
        ({"min_per_order": 3, "max_per_order": 3}, None),
        ({"min_per_order": 3, "max_per_order": 2}, Reason.VALIDATION_FAILED),
    ],
)
def test_a_sections_own_numbers(fields: dict[str, Any], reason: Reason | None) -> None:
    wanted = section(total=10, **fields)
    if reason is None:
        assert wanted.checked() is wanted
        return
    with pytest.raises(DomainError) as caught:
        wanted.checked()
    assert caught.value.reason is reason


def test_an_older_version_changes_nothing() -> None:
    stock = inventory(controls=controls(version=3))
    assert not apply_controls(stock, controls(version=3, state=EventState.CANCELLED), section_id="new")
    assert not stock.dirty


def test_the_first_controls_make_the_section_that_was_asked_for() -> None:
    stock = inventory(version=0, controls=controls(version=0))
    stock.sections.clear()
    assert apply_controls(stock, controls(version=4, initial_capacity=5000), section_id="new")
    assert stock.sections["new"].counters == Counters(total=5000)
    stock = committed(stock)
    assert apply_controls(stock, controls(version=5, initial_capacity=5000), section_id="another")
    assert set(stock.sections) == {"new"}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (EventState.ON_SALE, EventState.CANCELLED, [(VoidCause.EVENT_CANCELLED, None)]),
        (EventState.CANCELLED, EventState.CANCELLED, []),
        (EventState.ON_SALE, EventState.POSTPONED, [(VoidCause.EVENT_POSTPONED, None)]),
        (EventState.ON_SALE, EventState.SALES_PAUSED, []),
    ],
)
def test_what_a_change_of_state_ends(before: EventState, after: EventState, expected: list[Any]) -> None:
    stock = inventory(version=7, controls=controls(state=before))
    apply_controls(stock, controls(version=2, state=after), section_id="new")
    assert [(void.cause, void.schedule_id) for void in stock.voids] == expected
    assert all((void.through_version, void.at) == (7, NOW) for void in stock.voids)
    assert stock.sections["floor"].active == (after is not EventState.CANCELLED)


def test_a_cancelled_date_ends_its_holds_once() -> None:
    stock = inventory(controls=controls(schedules=(date("a"), date("b"))))
    gone = (date("a", state=ScheduleState.CANCELLED), date("b"))
    apply_controls(stock, controls(version=2, schedules=gone), section_id="new")
    assert [(void.cause, void.schedule_id) for void in stock.voids] == [(VoidCause.SCHEDULE_CANCELLED, "a")]
    stock = committed(stock)
    apply_controls(stock, controls(version=3, schedules=gone), section_id="new")
    assert stock.new_voids == []


def test_closing_very_many_sections_takes_several_commits() -> None:
    stock = inventory(*(section(f"s{number}") for number in range(CHANGES_MAX + 1)))
    assert not close_sections(stock)
    assert sum(not each.active for each in stock.sections.values()) == CHANGES_MAX
    stock = committed(stock)
    assert close_sections(stock)
    assert not any(each.active for each in stock.sections.values())


@pytest.mark.parametrize(
    ("counters", "before", "told"),
    [
        ({"total": 100, "sold": 79}, set(), []),
        ({"total": 100, "sold": 80}, set(), [Crossing.CAPACITY_WARNING]),
        ({"total": 100, "sold": 81}, {Crossing.CAPACITY_WARNING}, []),
        ({"total": 100, "sold": 95}, {Crossing.CAPACITY_WARNING}, [Crossing.CAPACITY_CRITICAL]),
        (
            {"total": 100, "sold": 100},
            set(),
            [Crossing.CAPACITY_WARNING, Crossing.CAPACITY_CRITICAL, Crossing.SOLD_OUT],
        ),
        ({"total": 100, "sold": 99, "held": 1}, {Crossing.CAPACITY_WARNING, Crossing.CAPACITY_CRITICAL}, []),
        ({"total": 100, "sold": 80, "blocked": 20}, set(), [*Crossing][:3]),
        ({"total": 101, "sold": 100}, {*Crossing} - {Crossing.REOPENED}, [Crossing.REOPENED]),
        ({"total": 10, "blocked": 10}, set(), []),
        ({"total": 0}, set(), []),
        ({"total": 200, "sold": 80}, {Crossing.CAPACITY_WARNING}, []),
    ],
)
def test_each_line_is_told_once_per_crossing(
    counters: dict[str, int], before: set[Crossing], told: list[Crossing]
) -> None:
    crossed, beyond = crossings(Counters(**counters), frozenset(before))
    assert list(crossed) == told
    again, still = crossings(Counters(**counters), beyond)
    assert (again, still) == ((), beyond)
