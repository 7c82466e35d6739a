"""Rules of dates at their edges."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast.common.errors import DomainError, Reason
from holdfast.events.domain.dates import (
    DateRules,
    Times,
    check_lead,
    check_sales_window,
    check_zone,
    complete_times,
    utc_offset_minutes,
)
from tests.unit.events.examples import NOW, organization

RULES = DateRules.of(organization())
START = NOW + timedelta(days=10)
SECOND = timedelta(seconds=1)


def times(**changes: Any) -> Times:
    given = {
        "start_time": START,
        "end_time": None,
        "doors_time": None,
        "check_in_open_time": None,
        "check_in_close_time": None,
        "rules": RULES,
        "default_doors_minutes": None,
        "now": NOW,
    }
    return complete_times(**given | changes)


def refused_rule(action: Any) -> str:
    with pytest.raises(DomainError) as caught:
        action()
    assert caught.value.reason is Reason.INVALID_DATE_RANGE
    assert caught.value.metadata["now"] == "2026-05-01T12:00:00Z"
    return caught.value.metadata["rule"]


def test_a_missing_end_is_three_hours_later_and_missing_doors_are_the_venues() -> None:
    assert times().end_time == START + timedelta(minutes=180)
    assert times().doors_time is None
    assert times(default_doors_minutes=45).doors_time == START - timedelta(minutes=45)
    assert times(default_doors_minutes=45, doors_time=START).doors_time == START


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"end_time": START}, "end_time > start_time"),
        ({"end_time": START - SECOND}, "end_time > start_time"),
        ({"doors_time": START + SECOND}, "doors_time <= start_time"),
        ({"check_in_open_time": START, "check_in_close_time": START}, "check_in_close_time > check_in_open_time"),
    ],
)
def test_times_in_the_wrong_order(changes: Any, rule: Any) -> None:
    assert refused_rule(lambda: times(**changes)) == rule


def test_times_at_the_edge_are_right() -> None:
    assert times(end_time=START + SECOND, doors_time=START).end_time == START + SECOND


@pytest.mark.parametrize(
    ("start", "rule"),
    [
        (NOW + timedelta(minutes=120), None),
        (NOW + timedelta(minutes=120) - SECOND, "start_time >= now + 120 min"),
        (NOW + timedelta(days=365), None),
        (NOW + timedelta(days=365) + SECOND, "start_time <= now + 365 d"),
        (NOW - timedelta(days=1), "start_time >= now + 120 min"),
    ],
)
def test_the_lead_of_an_organization(start: Any, rule: Any) -> None:
    if rule is None:
        check_lead(start, rules=RULES, now=NOW)
    else:
        assert refused_rule(lambda: check_lead(start, rules=RULES, now=NOW)) == rule


def test_the_lead_is_the_organizations_own() -> None:
    rules = DateRules.of(organization(event_lead_minutes_min=0, event_lead_days_max=2))
    check_lead(NOW, rules=rules, now=NOW)
    assert refused_rule(lambda: check_lead(START, rules=rules, now=NOW)) == "start_time <= now + 2 d"


@pytest.mark.parametrize(
    ("opens", "closes", "last_end", "rule"),
    [
        (None, None, START, None),
        (START, None, START, None),
        (NOW, NOW, None, "sales_end_time > sales_start_time"),
        (NOW, NOW + SECOND, None, None),
        (None, START, START, None),
        (None, START + SECOND, START, "sales_end_time <= end_time of the last date"),
        (None, START + SECOND, None, None),
    ],
)
def test_sales_windows(opens: Any, closes: Any, last_end: Any, rule: Any) -> None:
    def check() -> None:
        check_sales_window(sales_start_time=opens, sales_end_time=closes, last_end=last_end, now=NOW)

    if rule is None:
        check()
    else:
        assert refused_rule(check) == rule


@pytest.mark.parametrize("name", ["Europe/Amsterdam", "America/Los_Angeles", "UTC", "Asia/Kathmandu"])
def test_zones_of_the_database(name: Any) -> None:
    assert check_zone(name) == name


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "europe/amsterdam", "../etc/passwd", "/etc/localtime", "PST8"])
def test_no_zones(name: Any) -> None:
    with pytest.raises(DomainError) as caught:
        check_zone(name)
    assert caught.value.reason is Reason.UNKNOWN_TIME_ZONE
    assert caught.value.metadata == {"time_zone": name}


@pytest.mark.parametrize(
    ("moment", "zone", "minutes"),
    [
        # A weekly show at 19:00 in Los Angeles: 02:00Z the next day in October, 03:00Z in November.
        (datetime(2026, 10, 29, 2, tzinfo=UTC), "America/Los_Angeles", -420),
        (datetime(2026, 11, 5, 3, tzinfo=UTC), "America/Los_Angeles", -480),
        # The hour that is there twice, before and after the change.
        (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "Europe/Amsterdam", 120),
        (datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "Europe/Amsterdam", 60),
        (datetime(2026, 1, 1, tzinfo=UTC), "Asia/Kathmandu", 345),
        (datetime(2026, 1, 1, tzinfo=UTC), "No/Longer", 0),
    ],
)
def test_offsets_follow_daylight_saving(moment: Any, zone: Any, minutes: Any) -> None:
    assert utc_offset_minutes(moment, zone) == minutes


def test_a_weekly_show_keeps_its_wall_time() -> None:
    for moment in (datetime(2026, 10, 29, 2, tzinfo=UTC), datetime(2026, 11, 5, 3, tzinfo=UTC)):
        local = moment + timedelta(minutes=utc_offset_minutes(moment, "America/Los_Angeles"))
        assert (local.hour, local.minute) == (19, 0)
