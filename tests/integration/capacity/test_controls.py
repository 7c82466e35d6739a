"""What events says of an event: by RPC, by message, or when capacity has to ask."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from nats.js.errors import NotFoundError

from holdfast.api.events.v1 import event_pb2, messages_pb2
from holdfast.common.errors import Reason
from holdfast.common.ids import new_id
from holdfast.common.message import OutgoingMessage, outgoing
from holdfast.common.messaging import Consumer, Messaging
from holdfast.common.tasks import Background
from tests.integration.capacity.conftest import refused, running, schedule, state_of, until

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator
    from pathlib import Path

    from holdfast.common.message import IncomingMessage
    from holdfast.local.nats import EmbeddedNats
    from tests.integration.capacity.conftest import Capacity


async def test_the_newest_version_wins(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    old = event_pb2.EventControls()
    old.CopyFrom(capacity.world.controls[section.event_id])
    paused = await capacity.change_event(section.event_id, state="SALES_PAUSED")
    assert (paused.inventory_version, paused.controls_version) == (3, 2)
    late = await capacity.apply(old)
    assert (late.inventory_version, late.controls_version) == (3, 2)
    refusal = await refused(capacity.place(section.id))
    assert refusal.reason is Reason.EVENT_NOT_ON_SALE
    assert refusal.metadata == {"event_id": section.event_id, "state": "SALES_PAUSED"}


async def test_a_paused_event_still_confirms_what_is_held(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    hold = await capacity.place(section.id)
    await capacity.change_event(section.event_id, state="SALES_PAUSED")
    assert state_of((await capacity.call("ConfirmHold", role="buyer", hold_id=hold.id)).hold) == "CONFIRMED"


async def test_an_event_that_is_not_known_is_asked_of_events(capacity: Capacity) -> None:
    controls = capacity.controls()
    capacity.world.controls[controls.event_id] = controls
    section = await capacity.section(controls.event_id, 10)
    assert ("GetEventControls", "service:capacity") in capacity.world.asked
    assert state_of(await capacity.place(section.id)) == "ACTIVE"
    for rpc in ("ListSections", "GetTotals", "VerifyInventory", "ListInventoryChanges"):
        unknown = await refused(capacity.call(rpc, event_id=new_id()))
        assert unknown.reason is Reason.EVENT_NOT_FOUND
        other = capacity.controls()
        capacity.world.controls[other.event_id] = other
        assert await capacity.call(rpc, event_id=other.event_id)


async def test_an_event_created_with_a_capacity_gets_its_section_once(capacity: Capacity) -> None:
    event_id = await capacity.event(state="DRAFT", initial_capacity=5000)
    await capacity.change_event(event_id, state="ON_SALE")
    sections = (await capacity.call("ListSections", event_id=event_id)).sections
    assert [(each.total, each.available, each.name, each.schedule_id) for each in sections] == [
        (5000, 5000, "General Admission", "")
    ]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"state": "STATE_UNSPECIFIED"}, "controls.state"),
        ({"version": 0}, "controls"),
        ({"schedules": [event_pb2.ScheduleControls(schedule_id="a", state="SOMEDAY")]}, "controls.schedules[0].state"),
        ({"schedules": [event_pb2.ScheduleControls(schedule_id="a", state="SCHEDULED")]}, "controls.schedules[0]"),
    ],
)
async def test_controls_that_cannot_be_read_are_refused(capacity: Capacity, fields: dict[str, Any], named: str) -> None:
    controls = capacity.controls(**fields)
    refusal = await refused(capacity.apply(controls))
    assert refusal.reason is Reason.VALIDATION_FAILED
    assert [each.field for each in refusal.violations] == [named]
    assert not capacity.rows("SELECT 1 FROM capacity.event_inventories WHERE event_id = %s", controls.event_id)


async def test_only_events_may_tell_controls(capacity: Capacity) -> None:
    request: dict[str, Any] = {
        "controls": {"event_id": new_id(), "organization_id": capacity.organization_id, "version": 1}
    }
    for peer in ("gateway", "pricing", "orders"):
        refusal = await refused(capacity.call("ApplyEventControls", role="owner", peer=peer, **request))
        assert refusal.reason is Reason.CALLER_NOT_ALLOWED


async def test_the_windows_of_the_event_and_of_its_date_are_kept(capacity: Capacity) -> None:
    now = datetime.now(UTC)
    early = await capacity.section(await capacity.event(sales_start_time=now + timedelta(hours=1)), 10)
    refusal = await refused(capacity.place(early.id))
    assert refusal.reason is Reason.SALES_WINDOW_CLOSED
    opens = datetime.fromisoformat(refusal.metadata["next_change_time"])
    assert abs((opens - now - timedelta(hours=1)).total_seconds()) < 0.001
    late = await capacity.section(await capacity.event(sales_end_time=now - timedelta(hours=1)), 10)
    assert (await refused(capacity.place(late.id))).reason is Reason.SALES_WINDOW_CLOSED
    by_itself = await capacity.event(state="PUBLISHED", sales_start_time=now - timedelta(seconds=1))
    assert state_of(await capacity.place((await capacity.section(by_itself, 10)).id)) == "ACTIVE"
    started = await capacity.event(schedules=[schedule(days=-0.1)])
    gone = await refused(capacity.place((await capacity.section(started, 10)).id))
    assert gone.reason is Reason.SALES_WINDOW_CLOSED
    door = await capacity.event(
        state="IN_PROGRESS",
        schedules=[schedule(days=-0.1, state="IN_PROGRESS")],
        sales_end_time=now + timedelta(minutes=10),
    )
    assert state_of(await capacity.place((await capacity.section(door, 10)).id)) == "ACTIVE"


async def test_a_date_has_its_own_maximum(capacity: Capacity) -> None:
    friday, saturday = schedule(days=10, capacity_override=100), schedule(days=11)
    event_id = await capacity.event(schedules=[friday, saturday], venue_max_capacity=500)
    await capacity.section(event_id, 60)
    await capacity.section(event_id, 40, schedule_id=friday.schedule_id)
    over = await refused(capacity.section(event_id, 1, schedule_id=friday.schedule_id))
    assert over.metadata == {"maximum": "100", "total": "101", "schedule_id": friday.schedule_id}
    everywhere = await refused(capacity.section(event_id, 1))
    assert everywhere.metadata["schedule_id"] == friday.schedule_id
    section = await capacity.section(event_id, 440, schedule_id=saturday.schedule_id)
    grown = await refused(capacity.call("UpdateSection", section_id=section.id, section={"total": 441}))
    assert grown.reason is Reason.VENUE_CAPACITY_EXCEEDED
    # A venue that became smaller binds what grows there, and nothing elsewhere.
    friday.capacity_override = 50
    await capacity.change_event(event_id, schedules=[friday, saturday])
    smaller = await capacity.call("UpdateSection", section_id=section.id, section={"total": 400})
    assert smaller.section.total == 400
    again = await capacity.call("UpdateSection", section_id=section.id, section={"total": 401})
    assert again.section.total == 401


def message_of(controls: event_pb2.EventControls) -> OutgoingMessage:
    body = messages_pb2.EventStateChanged(controls=controls)
    return outgoing(
        body,
        stream="events",
        organization_id=controls.organization_id,
        event_id=controls.event_id,
        aggregate_id=controls.event_id,
        version=controls.version,
        occur_time=datetime.now(UTC),
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stream(nats_server: EmbeddedNats) -> AsyncIterator[Messaging]:
    messaging = Messaging(url=nats_server.url, service="events", publishes=("EVENTS",))
    await messaging.start()
    await messaging.wait_ready(timeout_seconds=10)
    yield messaging
    await messaging.close()


async def in_dead_stream(stream: Messaging, subject: str) -> bool:
    """Whether a message that came under a subject was given up."""
    try:
        await stream.context().get_last_msg("DEAD", f"dead.capacity-controls.{subject}")
    except NotFoundError:
        return False
    return True


async def test_messages_of_events_are_taken_over_and_poison_goes_to_the_dead(
    capacity: Capacity, stream: Messaging
) -> None:
    good, bad = capacity.controls(), capacity.controls(state="STATE_UNSPECIFIED")
    foreign = message_of(capacity.controls(organization_id=new_id()))
    subject = foreign.subject.replace(foreign.organization_id, capacity.organization_id)
    wrong = OutgoingMessage(
        message_id=foreign.message_id,
        organization_id=capacity.organization_id,
        aggregate_id=foreign.aggregate_id,
        version=foreign.version,
        subject=subject,
        type=foreign.type,
        body=foreign.body,
        occur_time=foreign.occur_time,
        traceparent=None,
    )
    await stream.publish([message_of(bad), wrong, message_of(good)])

    async def known() -> bool:
        return bool(capacity.rows("SELECT 1 FROM capacity.event_inventories WHERE event_id = %s", good.event_id))

    async def buried() -> bool:
        found = [await in_dead_stream(stream, each.subject) for each in (message_of(bad), wrong)]
        return all(found)

    await until(known)
    await until(buried)
    for event_id in (bad.event_id, foreign.aggregate_id):
        assert not capacity.rows("SELECT 1 FROM capacity.event_inventories WHERE event_id = %s", event_id)


async def test_the_journal_is_published_in_order(capacity: Capacity, stream: Messaging) -> None:
    section = await capacity.on_sale(10)
    for _ in range(5):
        await capacity.place(section.id)
    seen: list[int] = []

    async def remember(incoming: IncomingMessage) -> None:
        if incoming.aggregate_id == section.event_id:
            seen.append(incoming.version)

    async def watch(stop: asyncio.Event) -> None:
        subject = f"capacity.{capacity.organization_id}.{section.event_id}.inventory_changed"
        consumer = Consumer(name=f"test-{new_id()}", stream="CAPACITY", subjects=(subject,), handler=remember)
        await stream.consume(consumer, stop)

    background = Background("journal", watch)
    background.start()
    try:

        async def all_there() -> bool:
            return len(seen) >= 7

        await until(all_there)
    finally:
        await background.stop()
    assert seen == [1, 2, 3, 4, 5, 6, 7]


async def test_a_restart_keeps_everything(capacity: Capacity, nats_server: EmbeddedNats, identity_dir: Path) -> None:
    section = await capacity.on_sale(10)
    hold = await capacity.place(section.id, 2, request_id="before")
    async with running(capacity.database, nats_server.url, identity_dir) as other:
        other.organization_id = capacity.organization_id
        assert await other.hold(hold.id) == hold
        again = await other.call_with_metadata(
            "PlaceHold", role="buyer", section_id=section.id, quantity=2, request_id="before"
        )
        assert again[0].hold == hold
        assert again[1]["holdfast-replayed"] == "true"
        await other.check(section.event_id)
