"""Runs of capacity's reports: applied in one commit, each once, every crossing followed in its order."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from holdfast.common import streams
from holdfast.common.database import Database
from holdfast.common.ids import new_id
from holdfast.common.message import outgoing
from holdfast.common.positions import Claim, ClaimKind
from holdfast.events.operations.inventory import InventoryChange, apply_changes
from tests.integration.events.conftest import running, until
from tests.integration.events.test_inventory import REOPENED, SOLD_OUT, capacity, change, position, publish, reached

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.common.messaging import Messaging
    from holdfast.events.operations.inventory import Applied
    from holdfast.local.nats import EmbeddedNats
    from tests.integration.events.conftest import Events
    from tests.support.postgres import TestDatabase


def reports(
    events: Events, event_id: str, first: int, last: int, crossings: dict[int, bool] | None = None
) -> list[InventoryChange]:
    """Changes of consecutive versions; as many sold as the version says, of a hundred thousand."""
    return [
        InventoryChange(
            organization_id=events.organization_id,
            event_id=event_id,
            version=version,
            total=100_000,
            held=3,
            pending=2,
            sold=version,
            blocked=1,
            sold_out=(crossings or {}).get(version),
        )
        for version in range(first, last + 1)
    ]


async def applied(events: Events, changes: list[InventoryChange]) -> Applied:
    database = Database(
        dsn=events.database.dsn("events_service"), pool_size=1, application_name="runs", schema="events"
    )
    await database.start()
    try:
        return await database.run_pipeline(
            lambda pipeline: apply_changes(pipeline, changes, now=datetime.now(UTC)),
            organization_id=events.organization_id,
        )
    finally:
        await database.close()


async def steps(events: Events, event_id: str) -> list[str]:
    return [one.name for one in await events.history(event_id) if one.actor == "service:capacity"]


async def test_of_a_run_the_last_figures_count(events: Events) -> None:
    event = await events.on_sale()
    done = await applied(events, reports(events, event.id, 1, 64))
    assert (done.claim, done.scene) == (Claim(ClaimKind.NEXT, 0), None)
    shown = await events.read(event.id)
    assert (shown.capacity, shown.available_capacity, shown.sold_count) == (100_000, 99_930, 64)
    assert (shown.inventory_version, shown.etag) == (64, event.etag)
    assert position(events, event.id) == [(64,)]


async def test_every_crossing_inside_a_run_is_followed_in_order(events: Events) -> None:
    event = await events.on_sale()
    done = await applied(events, reports(events, event.id, 1, 9, {2: True, 4: False, 5: True, 7: False}))
    assert await steps(events, event.id) == ["sell_out", "reopen_sales", "sell_out", "reopen_sales"]
    assert done.scene is not None
    versions = [version for version, _, _ in events.messages(event.id)]
    assert versions == list(range(1, len(versions) + 1))
    assert done.scene.event.version == versions[-1]
    shown = await events.read(event.id)
    assert (shown.inventory_version, shown.sold_count) == (9, 9)


async def test_a_crossing_is_remembered_by_the_runs_after_it(events: Events) -> None:
    event = await events.on_sale()
    await events.call("PauseSales", event_id=event.id)
    await applied(events, reports(events, event.id, 1, 3, {2: True}))
    await applied(events, reports(events, event.id, 4, 6))
    assert await steps(events, event.id) == []
    await events.call("ResumeSales", event_id=event.id)
    await events.wait_state(event.id, "SOLD_OUT")


async def test_what_a_run_repeats_is_left_out(events: Events) -> None:
    event = await events.on_sale()
    await applied(events, reports(events, event.id, 1, 4, {2: True, 3: False}))
    done = await applied(events, reports(events, event.id, 1, 6, {2: True, 3: False, 6: True}))
    assert done.claim == Claim(ClaimKind.NEXT, 4)
    assert await steps(events, event.id) == ["sell_out", "reopen_sales", "sell_out"]
    done = await applied(events, reports(events, event.id, 2, 5, {2: True, 3: False}))
    assert done.claim == Claim(ClaimKind.DUPLICATE, 6)
    assert (await events.read(event.id)).sold_count == 6
    assert len(await steps(events, event.id)) == 3


async def test_a_run_behind_a_gap_changes_nothing(events: Events) -> None:
    event = await events.on_sale()
    await applied(events, reports(events, event.id, 1, 2))
    done = await applied(events, reports(events, event.id, 4, 6, {5: True}))
    assert done.claim == Claim(ClaimKind.GAP, 2)
    shown = await events.read(event.id)
    assert (shown.inventory_version, shown.sold_count) == (2, 2)
    assert await steps(events, event.id) == []


async def test_a_run_of_an_unknown_event_moves_its_position_only(events: Events) -> None:
    unknown = new_id()
    done = await applied(events, reports(events, unknown, 1, 5, {2: True, 3: False}))
    assert (done.claim, done.scene) == (Claim(ClaimKind.NEXT, 0), None)
    assert position(events, unknown) == [(5,)]
    assert events.rows("SELECT count(*) FROM events.event_figures WHERE event_id = %s", unknown) == [(0,)]


async def lie(messaging: Messaging, events: Events, event_id: str, version: int) -> None:
    """Publish what says another version than its header."""
    body = change(events, event_id, version + 1, sold=77)
    message = outgoing(
        body,
        stream="capacity",
        organization_id=events.organization_id,
        event_id=event_id,
        aggregate_id=event_id,
        version=version,
        occur_time=datetime.now(UTC),
    )
    await messaging.publish([message])


async def test_a_backlog_of_several_events_with_poison_gaps_and_repetitions_takes_effect_once(
    database: TestDatabase, own_nats: EmbeddedNats, identity_dir: Path
) -> None:
    last = 150
    async with running(database, own_nats.url, identity_dir) as before:
        whole, holed, poisoned = [(await before.on_sale()).id for _ in range(3)]
    crossings = {20: SOLD_OUT, 21: REOPENED, 70: SOLD_OUT, 90: REOPENED, last: SOLD_OUT}

    def journal(event_id: str) -> list[object]:
        return [change(before, event_id, n, sold=n, crossing=crossings.get(n)) for n in range(1, last + 1)]

    async with capacity(own_nats) as messaging:
        await streams.declare(messaging.context(), "DEAD")
        dead_before = (await messaging.context().stream_info("DEAD")).state.messages
        for version in range(1, last + 1):
            report = {
                each: change(before, each, version, sold=version, crossing=crossings.get(version))
                for each in (whole, holed, poisoned)
            }
            await publish(messaging, report[whole])
            if version not in {1, 2, 20, 88, 89, 90, 91}:
                await publish(messaging, report[holed])
            if version == 100:
                await lie(messaging, before, poisoned, version)
            else:
                await publish(messaging, report[poisoned])
        async with running(database, own_nats.url, identity_dir) as events:
            events.organization_id = before.organization_id
            events.world.journal[holed] = journal(holed)  # type: ignore[assignment] # the messages that `change` makes
            for each in (whole, holed, poisoned):
                shown = await reached(events, each, last)
                assert shown.sold_count == last
                assert position(events, each) == [(last,)]
                assert await steps(events, each) == [
                    "sell_out",
                    "reopen_sales",
                    "sell_out",
                    "reopen_sales",
                    "sell_out",
                ]
                versions = [version for version, _, _ in events.messages(each)]
                assert versions == list(range(1, len(versions) + 1))
            assert {one for one, _ in events.world.fetched} == {holed}
            assert (await messaging.context().stream_info("DEAD")).state.messages == dead_before + 1

            async def quiet() -> bool:
                info = await messaging.context().consumer_info("CAPACITY", "events-inventory")
                return (info.num_pending, info.num_ack_pending) == (0, 0)

            await until(quiet)
            handled = events.app.metrics.registry.get_sample_value(
                "holdfast_consumer_duration_seconds_count", {"consumer": "events-inventory"}
            )
            assert handled is not None
            assert handled < 2 * last, "what gathered was handled together"
