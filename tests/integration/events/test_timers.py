"""What happens by itself when its time comes, in a mesh whose clock the test moves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest_asyncio

from holdfast.api.events.v1 import event_pb2, schedule_pb2
from tests.integration.events.conftest import running, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from holdfast.local.nats import EmbeddedNats
    from tests.integration.events.conftest import Events
    from tests.support.postgres import TestDatabase


@pytest_asyncio.fixture(loop_scope="session")
async def fresh(database: TestDatabase, own_nats: EmbeddedNats, identity_dir: Path) -> AsyncIterator[Events]:
    """A service of its own: moving its clock moves every event."""
    async with running(database, own_nats.url, identity_dir) as service:
        yield service


def date_states(dates: list[schedule_pb2.Schedule]) -> list[str]:
    return [schedule_pb2.Schedule.State.Name(one.state) for one in dates]


async def test_an_event_lives_by_the_clock(fresh: Events) -> None:
    event = await fresh.event(days=2, kind="RECURRING", sales_start_time=fresh.after(days=1))
    await fresh.call("CreateSchedule", event_id=event.id, schedule={"start_time": fresh.after(days=4)})
    fresh.world.ready(event.id)
    await fresh.call("PublishEvent", event_id=event.id)
    started = fresh.clock.moment
    fresh.clock.moment = started + timedelta(days=1)
    await fresh.wait_state(event.id, "ON_SALE")
    fresh.clock.moment = started + timedelta(days=2)

    async def first_runs() -> bool:
        return date_states(await fresh.dates(event.id)) == ["IN_PROGRESS", "SCHEDULED"]

    await until(first_runs)
    assert event_pb2.Event.State.Name((await fresh.read(event.id)).state) == "ON_SALE"
    fresh.clock.moment = started + timedelta(days=4)
    await fresh.wait_state(event.id, "IN_PROGRESS")
    assert date_states(await fresh.dates(event.id)) == ["COMPLETED", "IN_PROGRESS"]
    fresh.clock.moment = started + timedelta(days=4, hours=3)
    await fresh.wait_state(event.id, "COMPLETED")
    assert date_states(await fresh.dates(event.id)) == ["COMPLETED", "COMPLETED"]
    history = await fresh.history(event.id)
    assert [one.name for one in history] == ["publish", "start_sales", "begin", "complete"]
    assert [one.actor for one in history[1:]] == ["service:events"] * 3
    versions = [version for version, _, _ in fresh.messages(event.id)]
    assert versions == list(range(1, len(versions) + 1))
    assert fresh.world.controls[event.id][-1].version == versions[-1]
    assert fresh.rows("SELECT count(*) FROM events.due_work WHERE event_id = %s", event.id) == [(0,)]


async def test_sales_that_lack_something_start_when_it_is_there(fresh: Events) -> None:
    event = await fresh.event(days=5, sales_start_time=fresh.after(hours=1))
    await fresh.call("PublishEvent", event_id=event.id)
    fresh.clock.moment += timedelta(hours=1)

    async def tried() -> bool:
        rows = fresh.rows("SELECT attempt FROM events.due_work WHERE event_id = %s AND kind = 'SALES'", event.id)
        return bool(rows) and rows[0][0] == 1

    await until(tried)
    assert event_pb2.Event.State.Name((await fresh.read(event.id)).state) == "PUBLISHED"
    fresh.world.ready(event.id)
    fresh.clock.moment += timedelta(seconds=10)
    await fresh.wait_state(event.id, "ON_SALE")


async def test_a_service_that_was_away_catches_up_and_two_do_each_step_once(
    database: TestDatabase, own_nats: EmbeddedNats, identity_dir: Path
) -> None:
    async with running(database, own_nats.url, identity_dir) as before:
        organization_id = before.organization_id
        made = [await before.event(days=1, name=f"E{n}") for n in range(6)]
        for event in made:
            before.world.ready(event.id)
            await before.call("PublishEvent", event_id=event.id)
    async with (
        running(database, own_nats.url, identity_dir) as one,
        running(database, own_nats.url, identity_dir) as two,
    ):
        one.organization_id = two.organization_id = organization_id
        one.clock.moment += timedelta(days=3)
        two.clock.moment = one.clock.moment
        for event in made:
            await one.wait_state(event.id, "COMPLETED")
            assert [step.name for step in await two.history(event.id)] == ["publish", "begin", "complete"]
            assert [version for version, _, _ in one.messages(event.id)] == [1, 2, 3, 4]
