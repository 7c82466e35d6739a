"""The lifecycle over RPC: every transition, its history, its message, its requirements."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.api.events.v1 import event_pb2, schedule_pb2
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from tests.integration.events.conftest import refused, running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.events.conftest import Events
    from tests.support.postgres import TestDatabase


def state_of(event: event_pb2.Event) -> str:
    return event_pb2.Event.State.Name(event.state)


def date_states(dates: list[schedule_pb2.Schedule]) -> list[str]:
    return [schedule_pb2.Schedule.State.Name(one.state) for one in dates]


PATHS = [
    ("SubmitEvent", "REVIEW", "event_state_changed"),
    ("RejectEvent", "DRAFT", "event_state_changed"),
    ("SubmitEvent", "REVIEW", "event_state_changed"),
    ("ApproveEvent", "APPROVED", "event_state_changed"),
    ("PublishEvent", "PUBLISHED", "event_published"),
    ("StartSales", "ON_SALE", "event_state_changed"),
    ("PauseSales", "SALES_PAUSED", "event_state_changed"),
    ("ResumeSales", "ON_SALE", "event_state_changed"),
    ("PostponeEvent", "POSTPONED", "event_state_changed"),
]


async def test_a_long_life(events: Events) -> None:
    event = await events.event(days=30)
    events.world.ready(event.id)
    for number, (rpc, state, kind) in enumerate(PATHS, start=2):
        response = await events.call(rpc, event_id=event.id, reason=f"because {number}")
        assert (state_of(response.event), response.event.etag, response.effective) == (state, str(number), True)
        assert events.messages(event.id)[-1][:2] == (number, kind)
        controls = events.world.controls[event.id][-1]
        assert (controls.version, event_pb2.Event.State.Name(controls.state)) == (number, state)
    (date,) = await events.dates(event.id)
    assert date_states([date]) == ["POSTPONED"]
    response = await events.call(
        "RescheduleEvent",
        event_id=event.id,
        dates=[{"schedule_id": date.id, "start_time": events.after(days=60)}],
        reason="new hall",
    )
    assert (state_of(response.event), response.effective) == ("RESCHEDULED", True)
    (moved,) = response.schedules
    assert date_states([moved]) == ["RESCHEDULED"]
    assert moved.end_time.seconds - moved.start_time.seconds == 3 * 3600
    cancelled = (await events.call("CancelEvent", event_id=event.id, reason="rain")).event
    assert (state_of(cancelled), cancelled.cancellation_reason) == ("CANCELLED", "rain")
    assert cancelled.HasField("cancel_time")
    assert date_states(await events.dates(event.id)) == ["CANCELLED"]
    page = await events.call("ListEventTransitions", event_id=event.id, page_size=4, with_total=True)
    assert (page.pagination.total, list(page.allowed)) == (11, [])
    history = await events.history(event.id)
    assert [one.name for one in history[:3]] == ["submit", "reject", "submit"]
    assert [one.name for one in history[-3:]] == ["postpone", "reschedule", "cancel"]
    assert {one.actor for one in history} == {"user:owner"}
    assert history[1].reason == "because 3"
    rest = await events.call(
        "ListEventTransitions", event_id=event.id, page_size=50, page_token=page.pagination.next_page_token
    )
    assert [*page.transitions, *rest.transitions] == history
    kinds = [(version, kind) for version, kind, _ in events.messages(event.id)]
    assert [version for version, _ in kinds] == list(range(1, 13))
    assert kinds[-2:] == [(11, "event_rescheduled"), (12, "event_cancelled")]


async def test_a_forbidden_transition_changes_nothing(events: Events) -> None:
    event = await events.event()
    for rpc in ("ApproveEvent", "StartSales", "PauseSales", "ResumeSales", "PostponeEvent", "CompleteEvent"):
        error = await refused(events.call(rpc, event_id=event.id, reason="x"))
        assert error.reason is Reason.INVALID_TRANSITION
        assert error.metadata["allowed"] == "submit,publish,cancel"
    for rpc in ("RejectEvent", "PostponeEvent", "CancelEvent"):
        assert (await refused(events.call(rpc, event_id=event.id))).reason is Reason.VALIDATION_FAILED
    error = await refused(events.call("CancelEvent", event_id=event.id, reason="x", etag="9"))
    assert error.reason is Reason.ETAG_MISMATCH
    assert (await events.read(event.id)).etag == "1"
    assert len(events.messages(event.id)) == 1


async def test_a_refusal_lists_all_that_is_missing(events: Events) -> None:
    event = await events.event(days=None, is_hybrid=True)
    error = await refused(events.call("PublishEvent", event_id=event.id))
    assert error.reason is Reason.REQUIREMENT_MISSING
    assert error.metadata["missing"] == "future_schedule,virtual_event_url"
    bare = await events.event()
    await events.call("PublishEvent", event_id=bare.id)
    error = await refused(events.call("StartSales", event_id=bare.id))
    assert error.metadata["missing"] == "active_section,active_price_tier"
    events.world.ready(bare.id)
    events.world.tiers[bare.id] = 0
    error = await refused(events.call("StartSales", event_id=bare.id))
    assert error.metadata["missing"] == "active_price_tier"


async def test_of_twenty_concurrent_pauses_one_is_made_and_a_key_makes_it_once(events: Events) -> None:
    event = await events.on_sale()
    answers = await asyncio.gather(
        *(events.call("PauseSales", event_id=event.id) for _ in range(20)), return_exceptions=True
    )
    assert sum(not isinstance(one, BaseException) for one in answers) == 1
    assert {one.reason for one in answers if isinstance(one, DomainError)} == {Reason.INVALID_TRANSITION}
    key = new_id()
    replies = await asyncio.gather(
        *(events.call_with_metadata("ResumeSales", event_id=event.id, request_id=key) for _ in range(20))
    )
    assert {state_of(response.event) for response, _ in replies} == {"ON_SALE"}
    assert sum("holdfast-replayed" not in metadata for _, metadata in replies) == 1
    assert [one.name for one in await events.history(event.id)][-2:] == ["pause_sales", "resume_sales"]


async def test_a_replay_gives_the_present_state_and_asks_nobody(events: Events) -> None:
    event = await events.event()
    events.world.ready(event.id)
    await events.call("PublishEvent", event_id=event.id)
    key = new_id()
    await events.call("StartSales", event_id=event.id, request_id=key)
    await events.call("PauseSales", event_id=event.id)
    events.world.tiers[event.id] = 0
    response, metadata = await events.call_with_metadata("StartSales", event_id=event.id, request_id=key)
    assert state_of(response.event) == "SALES_PAUSED"
    assert "holdfast-replayed" in metadata


async def test_rescheduling_names_what_is_wrong(events: Events) -> None:
    event = await events.on_sale(kind="RECURRING")
    await events.call("CreateSchedule", event_id=event.id, schedule={"start_time": events.after(days=12)})
    first, second = await events.dates(event.id)
    await events.call("PostponeEvent", event_id=event.id, reason="rain")

    def reschedule(*dates: dict[str, str], **fields: Any) -> Any:
        return events.call("RescheduleEvent", event_id=event.id, dates=list(dates), **fields)

    good = {"schedule_id": first.id, "start_time": events.after(days=40)}
    error = await refused(reschedule({"schedule_id": new_id(), "start_time": events.after(days=40)}))
    assert error.reason is Reason.SCHEDULE_NOT_FOUND
    assert (await refused(reschedule(good, good))).reason is Reason.VALIDATION_FAILED
    assert (await refused(reschedule(good | {"start_time": events.after(hours=1)}))).reason is Reason.INVALID_DATE_RANGE
    early = good | {"end_time": events.after(days=39)}
    assert (await refused(reschedule(early))).reason is Reason.INVALID_DATE_RANGE
    other = await events.event(venue_id=event.venue_id, days=40)
    error = await refused(reschedule(good))
    assert (error.reason, error.metadata["event_id"]) == (Reason.OVERLAPPING_EVENT, other.id)
    response = await reschedule(good, allow_overlap=True)
    assert date_states(list(response.schedules)) == ["POSTPONED", "RESCHEDULED"]
    assert response.schedules[0].id == second.id


async def test_without_capacity_and_pricing_the_rest_goes_on(database: TestDatabase, identity_dir: Path) -> None:
    async with running(database, "nats://127.0.0.1:1", identity_dir, neighbours=False) as alone:
        response = await alone.call(
            "CreateEvent",
            event={"name": "Alone", "venue_id": (await alone.venue()).id, "starts_at": alone.after(days=9)},
        )
        event_id = response.event.id
        assert not response.effective
        response = await alone.call("PublishEvent", event_id=event_id)
        assert (state_of(response.event), response.effective) == ("PUBLISHED", False)
        error = await refused(alone.call("StartSales", event_id=event_id))
        assert error.reason is Reason.DEPENDENCY_UNAVAILABLE
        assert error.metadata["dependency"] in {"capacity", "pricing"}
        response = await alone.call("CancelEvent", event_id=event_id, reason="rain")
        assert (state_of(response.event), response.effective) == ("CANCELLED", False)
        error = await refused(alone.call("DeleteEvent", event_id=event_id))
        assert error.reason is Reason.DEPENDENCY_UNAVAILABLE
        assert (await alone.read(event_id)).id == event_id
        assert [kind for _, kind, _ in alone.messages(event_id)] == [
            "event_created",
            "event_published",
            "event_cancelled",
        ]


@pytest.mark.parametrize(
    ("role", "rpc", "allowed"),
    [
        ("organizer", "PublishEvent", True),
        ("organizer", "ApproveEvent", False),
        ("box_office", "PublishEvent", False),
        ("analyst", "CancelEvent", False),
        ("service", "CancelEvent", False),
    ],
)
async def test_who_may(events: Events, role: str, rpc: str, allowed: bool) -> None:  # noqa: FBT001 - a table
    event = await events.event()
    call = events.call(rpc, role=role, event_id=event.id, reason="x")
    if allowed:
        assert (await call).event.id == event.id
    else:
        assert (await refused(call)).reason is Reason.PERMISSION_MISSING
