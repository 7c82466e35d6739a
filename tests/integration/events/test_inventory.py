"""What capacity reports over NATS: figures, sold out and back; each change once and in order."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from nats.js.errors import NotFoundError

from holdfast.api.capacity.v1 import messages_pb2
from holdfast.api.events.v1 import event_pb2
from holdfast.common.errors import Reason
from holdfast.common.ids import new_id
from holdfast.common.message import outgoing
from holdfast.common.messaging import Messaging
from tests.integration.events.conftest import refused, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from holdfast.local.nats import EmbeddedNats
    from tests.integration.events.conftest import Events

SOLD_OUT = messages_pb2.ThresholdCrossing.Kind.SOLD_OUT
REOPENED = messages_pb2.ThresholdCrossing.Kind.REOPENED


def change(  # noqa: PLR0913 - the parts of a message
    events: Events, event_id: str, version: int, *, sold: int, held: int = 0, crossing: int | None = None
) -> messages_pb2.InventoryChanged:
    message = messages_pb2.InventoryChanged(
        event_id=event_id,
        organization_id=events.organization_id,
        version=version,
        totals=messages_pb2.InventoryTotals(total=100, held=held, sold=sold),
    )
    if crossing is not None:
        message.crossings.add(kind=crossing)
    return message


@asynccontextmanager
async def capacity(own_nats: EmbeddedNats) -> AsyncIterator[Messaging]:
    messaging = Messaging(url=own_nats.url, service="capacity", publishes=("CAPACITY",))
    await messaging.start()
    assert await messaging.wait_ready(timeout_seconds=10)
    try:
        yield messaging
    finally:
        await messaging.close()


async def publish(messaging: Messaging, *messages: messages_pb2.InventoryChanged) -> None:
    for message in messages:
        await messaging.publish(
            [
                outgoing(
                    message,
                    stream="capacity",
                    organization_id=message.organization_id,
                    event_id=message.event_id,
                    aggregate_id=message.event_id,
                    version=message.version,
                    occur_time=datetime.now(UTC),
                )
            ]
        )


async def reached(events: Events, event_id: str, version: int) -> event_pb2.Event:
    async def there() -> bool:
        return (await events.read(event_id)).inventory_version >= version

    await until(there)
    return await events.read(event_id)


def position(events: Events, event_id: str) -> list[tuple[int]]:
    return events.rows(
        "SELECT version FROM events.positions WHERE consumer = 'events-inventory' AND aggregate_id = %s", event_id
    )


async def test_figures_arrive_without_changing_the_event(events: Events, own_nats: EmbeddedNats) -> None:
    event = await events.on_sale()
    async with capacity(own_nats) as messaging:
        await publish(messaging, *(change(events, event.id, n, sold=n, held=5) for n in range(1, 6)))
        shown = await reached(events, event.id, 5)
    assert (shown.capacity, shown.available_capacity, shown.sold_count) == (100, 90, 5)
    assert shown.etag == event.etag
    assert not [one for one in events.world.fetched if one[0] == event.id]


async def test_sold_out_and_back_by_capacitys_word(events: Events, own_nats: EmbeddedNats) -> None:
    event = await events.on_sale()
    async with capacity(own_nats) as messaging:
        await publish(messaging, change(events, event.id, 1, sold=100, crossing=SOLD_OUT))
        sold_out = await events.wait_state(event.id, "SOLD_OUT")
        assert sold_out.sales_allowed
        await publish(messaging, change(events, event.id, 2, sold=99, crossing=REOPENED))
        await events.wait_state(event.id, "ON_SALE")
    steps = [(one.name, one.actor) for one in await events.history(event.id)][-2:]
    assert steps == [("sell_out", "service:capacity"), ("reopen_sales", "service:capacity")]
    versions = [version for version, _, _ in events.messages(event.id)]
    assert versions == list(range(1, len(versions) + 1))
    assert events.world.controls[event.id][-1].version == versions[-1]


async def test_sales_resumed_after_the_last_place_was_sold_end_sold_out(events: Events, own_nats: EmbeddedNats) -> None:
    event = await events.on_sale()
    await events.call("PauseSales", event_id=event.id)
    async with capacity(own_nats) as messaging:
        await publish(messaging, change(events, event.id, 1, sold=100, crossing=SOLD_OUT))
        shown = await reached(events, event.id, 1)
    assert event_pb2.Event.State.Name(shown.state) == "SALES_PAUSED"
    await events.call("ResumeSales", event_id=event.id)
    await events.wait_state(event.id, "SOLD_OUT")


async def test_a_gap_is_fetched_and_duplicates_are_applied_once(events: Events, own_nats: EmbeddedNats) -> None:
    event = await events.on_sale()
    journal = [change(events, event.id, n, sold=n % 100) for n in range(1, 451)]
    journal[199].crossings.add(kind=SOLD_OUT)
    journal[299].crossings.add(kind=REOPENED)
    events.world.journal[event.id] = journal
    async with capacity(own_nats) as messaging:
        await publish(messaging, journal[0], journal[449])
        shown = await reached(events, event.id, 450)
        assert [after for one, after in events.world.fetched if one == event.id] == [1, 201, 401]
        # Out of order and again, from another connection's view: behind the position, nothing happens.
        await publish(messaging, journal[10], journal[200], journal[448])
        await publish(messaging, change(events, event.id, 451, sold=3))
        shown = await reached(events, event.id, 451)
    assert shown.sold_count == 3
    assert [one.name for one in await events.history(event.id)][-2:] == ["sell_out", "reopen_sales"]
    assert position(events, event.id) == [(451,)]


async def test_an_unknown_event_moves_its_position_only(events: Events, own_nats: EmbeddedNats) -> None:
    unknown = new_id()
    async with capacity(own_nats) as messaging:
        await publish(messaging, change(events, unknown, 1, sold=1))

        async def moved() -> bool:
            return position(events, unknown) == [(1,)]

        await until(moved)
    assert (await refused(events.read(unknown))).reason is Reason.EVENT_NOT_FOUND


async def test_a_message_that_lies_about_its_organization_goes_to_the_dead_letters(
    events: Events, own_nats: EmbeddedNats
) -> None:
    event, other = await events.on_sale(), await events.organization()
    lie = change(events, event.id, 1, sold=50)
    async with capacity(own_nats) as messaging:
        good = outgoing(
            lie,
            stream="capacity",
            organization_id=other,
            event_id=event.id,
            aggregate_id=event.id,
            version=1,
            occur_time=datetime.now(UTC),
        )
        await messaging.publish([good])

        async def buried() -> bool:
            try:
                state = await messaging.context().stream_info("DEAD")
            except NotFoundError:
                return False
            return state.state.messages > 0

        await until(buried)
        assert not (await events.read(event.id)).HasField("capacity")
        events.world.journal[event.id] = [change(events, event.id, n, sold=n) for n in (1, 2)]
        await publish(messaging, events.world.journal[event.id][1])
        shown = await reached(events, event.id, 2)
    assert shown.sold_count == 2
