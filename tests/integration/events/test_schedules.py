"""The dates of events over RPC."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.api.events.v1 import schedule_pb2
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from tests.integration.events.conftest import refused

if TYPE_CHECKING:
    from tests.integration.events.conftest import Events


def state_of(schedule: schedule_pb2.Schedule) -> str:
    return schedule_pb2.Schedule.State.Name(schedule.state)


async def test_a_date_is_created_read_listed_and_is_a_version_of_its_event(events: Events) -> None:
    event = await events.event(days=None, kind="SERIES")
    for days in (14, 12, 13):
        await events.call("CreateSchedule", event_id=event.id, schedule={"start_time": events.after(days=days)})
    page = await events.call("ListSchedules", event_id=event.id, page_size=2, with_total=True)
    rest = await events.call(
        "ListSchedules", event_id=event.id, page_size=2, page_token=page.pagination.next_page_token
    )
    dates = [*page.schedules, *rest.schedules]
    assert page.pagination.total == 3
    assert rest.pagination.next_page_token == ""
    assert [one.start_time.seconds for one in dates] == sorted(one.start_time.seconds for one in dates)
    read = await events.call("GetSchedule", event_id=event.id, schedule_id=dates[1].id)
    assert read.schedule == dates[1]
    assert (await events.read(event.id)).etag == "4"
    assert (await events.read(event.id)).starts_at == dates[0].start_time
    kinds = [(version, kind) for version, kind, _ in events.messages(event.id)]
    assert kinds == [(1, "event_created"), *((n, "event_updated") for n in (2, 3, 4))]
    assert [one.schedule_id for one in events.world.controls[event.id][-1].schedules] == [one.id for one in dates]
    error = await refused(events.call("GetSchedule", event_id=event.id, schedule_id=new_id()))
    assert error.reason is Reason.SCHEDULE_NOT_FOUND


async def test_a_single_event_has_one_live_date_also_under_a_race(events: Events) -> None:
    event = await events.event(days=None)
    answers = await asyncio.gather(
        *(
            events.call("CreateSchedule", event_id=event.id, schedule={"start_time": events.after(days=n)})
            for n in range(11, 17)
        ),
        return_exceptions=True,
    )
    assert sum(not isinstance(one, BaseException) for one in answers) == 1
    assert {one.reason for one in answers if isinstance(one, DomainError)} == {Reason.VALIDATION_FAILED}


async def test_one_key_makes_one_date(events: Events) -> None:
    event, key = await events.event(days=None, kind="SERIES"), new_id()
    given = {"start_time": events.after(days=9)}
    answers = await asyncio.gather(
        *(events.call("CreateSchedule", event_id=event.id, schedule=given, request_id=key) for _ in range(8))
    )
    assert len({one.schedule.id for one in answers}) == 1
    assert (await events.read(event.id)).etag == "2"


async def test_offsets_follow_the_zone(events: Events) -> None:
    year = events.clock.now().year + (1 if events.clock.now().month > 6 else 0)
    event = await events.event(days=None, kind="SERIES")
    offsets = {}
    for month in (1, 7):
        moment = datetime(year, month, 15, 3, tzinfo=UTC)
        if moment < events.clock.now() + timedelta(days=1):
            continue
        schedule = {"start_time": moment.isoformat(), "time_zone": "America/Los_Angeles"}
        made = await events.call("CreateSchedule", event_id=event.id, schedule=schedule)
        offsets[month] = made.schedule.utc_offset
    assert offsets
    assert offsets.items() <= {1: -480, 7: -420}.items()


@pytest.mark.parametrize(
    ("first", "then", "reason"),
    [
        ({}, {"state": "CONFIRMED"}, None),
        ({}, {"state": "CANCELLED", "state_reason": "rain"}, None),
        ({}, {"state": "CANCELLED"}, Reason.VALIDATION_FAILED),
        ({}, {"state": "POSTPONED"}, Reason.VALIDATION_FAILED),
        ({}, {"state": "COMPLETED"}, Reason.INVALID_TRANSITION),
        ({}, {"state": "RESCHEDULED"}, Reason.INVALID_TRANSITION),
        ({"state": "POSTPONED", "state_reason": "rain"}, {"state": "RESCHEDULED"}, Reason.VALIDATION_FAILED),
        ({"state": "POSTPONED", "state_reason": "rain"}, {"state": "CONFIRMED"}, Reason.INVALID_TRANSITION),
        ({"state": "CANCELLED", "state_reason": "rain"}, {"state": "SCHEDULED"}, Reason.INVALID_TRANSITION),
        ({}, {"time_zone": "Mars/Olympus"}, Reason.UNKNOWN_TIME_ZONE),
        ({}, {"capacity_override": 1001}, Reason.VALIDATION_FAILED),
        ({}, {"capacity_override": 0, "notes": "none"}, None),
    ],
)
async def test_a_date_moves_as_its_table_says(events: Events, first: Any, then: Any, reason: Any) -> None:
    event = await events.event()
    (date,) = await events.dates(event.id)
    where = {"event_id": event.id, "schedule_id": date.id}
    if first:
        await events.call("UpdateSchedule", **where, schedule=first)
    call = events.call("UpdateSchedule", **where, schedule=then)
    if reason is not None:
        assert (await refused(call)).reason is reason
        return
    response = await call
    assert response.effective
    assert state_of(response.schedule) == then.get("state", "SCHEDULED")
    assert response.schedule.etag == "2"


async def test_a_postponed_date_comes_back_as_long_as_before(events: Events) -> None:
    event = await events.event(kind="SERIES", doors_open=events.after(days=9, hours=23))
    (date,) = await events.dates(event.id)
    where = {"event_id": event.id, "schedule_id": date.id}
    await events.call("UpdateSchedule", **where, schedule={"state": "POSTPONED", "state_reason": "rain"})
    new = {"state": "RESCHEDULED", "start_time": events.after(days=50)}
    moved = (await events.call("UpdateSchedule", **where, schedule=new)).schedule
    assert state_of(moved) == "RESCHEDULED"
    assert moved.end_time.seconds - moved.start_time.seconds == date.end_time.seconds - date.start_time.seconds
    assert moved.start_time.seconds - moved.doors_time.seconds == 3600
    assert not moved.HasField("state_reason")


async def test_a_date_that_is_sold_moves_only_with_a_confirmation(events: Events) -> None:
    event = await events.on_sale()
    (date,) = await events.dates(event.id)
    where = {"event_id": event.id, "schedule_id": date.id}
    events.world.sold(event.id, 2)
    error = await refused(
        events.call(
            "UpdateSchedule",
            **where,
            schedule={"start_time": events.after(days=11), "end_time": events.after(days=11, hours=2)},
        )
    )
    assert (error.reason, error.metadata["fields"]) == (Reason.CONFIRMATION_REQUIRED, "end_time,start_time")
    response = await events.call("UpdateSchedule", **where, schedule={"notes": "bring chairs"})
    assert response.schedule.notes == "bring chairs"
    shown = await events.call("GetSchedule", role="buyer", **where)
    assert not shown.schedule.HasField("notes")


async def test_moving_a_date_checks_the_venue_and_the_etag(events: Events) -> None:
    venue = await events.venue()
    first = await events.event(venue_id=venue.id, days=10)
    await events.event(venue_id=venue.id, days=11)
    (date,) = await events.dates(first.id)
    where = {"event_id": first.id, "schedule_id": date.id}
    new = {"start_time": events.after(days=11), "end_time": events.after(days=11, hours=3)}
    assert (await refused(events.call("UpdateSchedule", **where, schedule=new))).reason is Reason.OVERLAPPING_EVENT
    await events.call("UpdateSchedule", **where, schedule=new, allow_overlap=True, etag="1")
    error = await refused(events.call("UpdateSchedule", **where, schedule=new, etag="1"))
    assert error.reason is Reason.ETAG_MISMATCH


async def test_dates_of_an_event_that_is_over_stay(events: Events) -> None:
    event = await events.event()
    (date,) = await events.dates(event.id)
    await events.call("CancelEvent", event_id=event.id, reason="rain")
    error = await refused(
        events.call("UpdateSchedule", event_id=event.id, schedule_id=date.id, schedule={"notes": "x"})
    )
    assert error.reason is Reason.NOT_EDITABLE
    error = await refused(
        events.call("CreateSchedule", event_id=event.id, schedule={"start_time": events.after(days=9)})
    )
    assert error.reason is Reason.NOT_EDITABLE
