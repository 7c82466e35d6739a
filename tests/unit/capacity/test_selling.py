"""When an event sells, and when the clock alone changes that."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.capacity.domain.controls import EventState, ScheduleState
from holdfast.capacity.domain.selling import Sales
from holdfast.common.errors import DomainError, Reason
from tests.unit.capacity.factories import NOW, controls, date, later

if TYPE_CHECKING:
    from datetime import datetime

TICK = timedelta(microseconds=1)
OPENS_AT_TEN = {"state": EventState.PUBLISHED, "sales_start_time": later(10), "sales_end_time": later(60)}
DATES = (date("friday", hours=1), date("saturday", hours=25))
DOOR = {"state": EventState.ON_SALE, "schedules": DATES, "sales_end_time": DATES[1].start_time + timedelta(hours=2)}


@pytest.mark.parametrize(
    ("fields", "schedule_id", "at", "state", "allowed", "following"),
    [
        ({}, None, NOW, "ON_SALE", True, None),
        ({"state": EventState.SOLD_OUT}, None, NOW, "SOLD_OUT", True, None),
        ({"state": EventState.SALES_PAUSED}, None, NOW, "SALES_PAUSED", False, None),
        ({"deleted": True}, None, NOW, "ON_SALE", False, None),
        (OPENS_AT_TEN, None, later(9), "PUBLISHED", False, later(10)),
        (OPENS_AT_TEN, None, later(10), "ON_SALE", True, later(60) + TICK),
        (OPENS_AT_TEN, None, later(60), "ON_SALE", True, later(60) + TICK),
        (OPENS_AT_TEN, None, later(60) + TICK, "ON_SALE", False, None),
        ({"schedules": DATES}, None, later(59), "ON_SALE", True, later(25 * 60)),
        ({"schedules": DATES}, "friday", later(59), "ON_SALE", True, later(60)),
        ({"schedules": DATES}, "friday", later(60), "ON_SALE", False, None),
        ({"schedules": DATES}, "saturday", later(60), "ON_SALE", True, later(25 * 60)),
        (DOOR, "friday", later(60), "ON_SALE", True, later(4 * 60)),
        (DOOR, None, later(26 * 60), "ON_SALE", True, DOOR["sales_end_time"] + TICK),
        ({"schedules": (date("friday", state=ScheduleState.POSTPONED),)}, None, NOW, "ON_SALE", False, None),
    ],
)
def test_sales_open_and_close(  # noqa: PLR0913, PLR0917 (the columns of the table)
    fields: dict[str, Any],
    schedule_id: str | None,
    at: datetime,
    state: str,
    allowed: bool,  # noqa: FBT001 (a column of the table)
    following: datetime | None,
) -> None:
    sales = Sales(controls(**fields), schedule_id)
    assert sales.at(at) == (state, allowed)
    assert sales.next_change(at) == following
    if following is not None:
        assert sales.last_change(following) == following
        assert sales.at(following) != sales.at(following - TICK)


def test_a_date_that_the_event_does_not_have_is_not_found() -> None:
    with pytest.raises(DomainError) as caught:
        Sales(controls(schedules=DATES), "sunday")
    assert caught.value.reason is Reason.SCHEDULE_NOT_FOUND
