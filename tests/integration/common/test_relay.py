"""The relay: every commit has its message, in order per aggregate, at least once, soon."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from holdfast.common import relay as relay_module
from holdfast.common import telemetry
from holdfast.common.ids import new_id
from holdfast.common.messaging import Consumer, IncomingMessage
from holdfast.common.metrics import Metrics
from tests.integration.common import notes
from tests.integration.common.conftest import until
from tests.integration.common.listening import connected, stored, versions
from tests.integration.common.relaying import SOURCE, all_published, by_aggregate, is_working, make, pending, relaying

if TYPE_CHECKING:
    from holdfast.common.database import Database, Transaction
    from holdfast.local.nats import EmbeddedNats
    from tests.integration.common.relaying import Admin
    from tests.support.postgres import TestDatabase

pytestmark = pytest.mark.usefixtures("empty_outbox")


async def test_every_commit_has_its_message_in_order(
    database: TestDatabase, service: Database, admin: Admin, nats_server: EmbeddedNats
) -> None:
    organization_id, ids = new_id(), [new_id() for _ in range(4)]
    async with relaying(database, nats_server.url):
        await asyncio.gather(*(make(service, organization_id, each, 25) for each in ids))
        await all_published(admin)
    assert await by_aggregate(nats_server.url, organization_id) == {each: list(range(1, 26)) for each in ids}


async def test_a_transaction_that_commits_late_is_neither_lost_nor_overtaken(
    database: TestDatabase, service: Database, admin: Admin, nats_server: EmbeddedNats
) -> None:
    organization_id, slow, busy = new_id(), new_id(), new_id()
    await make(service, organization_id, slow, 1)
    took_its_place, finish = asyncio.Event(), asyncio.Event()

    async def long(transaction: Transaction) -> None:
        await notes.change(transaction, slow)  # the row has its place in the sequence, and is not committed
        took_its_place.set()
        await finish.wait()

    async with relaying(database, nats_server.url):
        late = asyncio.create_task(service.run(long, organization_id=organization_id))
        await took_its_place.wait()
        await make(service, organization_id, busy, 20)
        follower = asyncio.create_task(make(service, organization_id, slow, 1))  # waits for the row's lock
        await all_published(admin)
        assert (await by_aggregate(nats_server.url, organization_id)) == {slow: [1], busy: list(range(1, 21))}
        finish.set()
        await asyncio.gather(late, follower)
        await all_published(admin)
    assert (await by_aggregate(nats_server.url, organization_id))[slow] == [1, 2, 3]


async def test_published_but_not_marked_is_published_again_and_dropped_by_its_id(
    database: TestDatabase, service: Database, relay_database: Database, admin: Admin, nats_server: EmbeddedNats
) -> None:
    organization_id, note_id = new_id(), new_id()
    await make(service, organization_id, note_id, 5)
    async with connected(nats_server.url) as messaging:
        (waiting,) = await relay_database.run_statements(SOURCE.pending(100), organization_id=None)
        await messaging.publish([SOURCE.message(row) for row in waiting])  # and here the process dies, before the mark
    assert await pending(admin) == 5
    async with relaying(database, nats_server.url):
        await all_published(admin)
    assert (await by_aggregate(nats_server.url, organization_id)) == {note_id: [1, 2, 3, 4, 5]}


async def test_a_message_that_cannot_be_published_stops_its_aggregate_and_no_other(
    database: TestDatabase, service: Database, admin: Admin, nats_server: EmbeddedNats
) -> None:
    organization_id, sick, well = new_id(), new_id(), new_id()
    await make(service, organization_id, sick, 3)
    await admin.execute(
        "UPDATE proving.outbox SET body = repeat('x', 2000000)::bytea WHERE aggregate_id = %s AND version = 2", (sick,)
    )
    async with relaying(database, nats_server.url):
        await make(service, organization_id, well, 10)

        async def rest_published() -> bool:
            return await pending(admin) == 2

        await until(rest_published)
        await make(service, organization_id, well, 1)
        await until(rest_published)
    assert await by_aggregate(nats_server.url, organization_id) == {sick: [1], well: list(range(1, 12))}


async def test_the_trace_goes_on_from_the_commit_to_the_handler(
    database: TestDatabase, service: Database, nats_server: EmbeddedNats
) -> None:
    organization_id, note_id = new_id(), new_id()
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    heard: list[tuple[str | None, str | None]] = []

    async def handler(incoming: IncomingMessage) -> None:
        heard.append((incoming.traceparent, telemetry.current_trace_id()))

    stop = asyncio.Event()
    consumer = Consumer(
        name=f"trace-{organization_id}", stream="EVENTS", subjects=(f"events.{organization_id}.>",), handler=handler
    )
    async with relaying(database, nats_server.url), connected(nats_server.url) as messaging:
        consuming = asyncio.create_task(messaging.consume(consumer, stop))
        with telemetry.span("test", traceparent=traceparent):
            await make(service, organization_id, note_id, 1)

        async def arrived() -> bool:
            return len(heard) == 1

        await until(arrived)
        stop.set()
        await consuming
    assert heard[0][0] is not None
    assert heard[0][0].split("-")[1] == "0af7651916cd43dd8448eb211c80319c"
    assert heard[0][1] == "0af7651916cd43dd8448eb211c80319c"


async def test_the_lag_is_reported(
    database: TestDatabase, service: Database, admin: Admin, own_nats: EmbeddedNats
) -> None:
    organization_id, note_id = new_id(), new_id()
    metrics = Metrics("proving")

    def value(name: str) -> float:
        return metrics.registry.get_sample_value(name) or 0.0

    async with relaying(database, own_nats.url, metrics=metrics):
        await asyncio.to_thread(own_nats.kill)
        await make(service, organization_id, note_id, 3)

        async def waits() -> bool:
            return value("holdfast_outbox_pending") == 3 and value("holdfast_outbox_lag_seconds") > 0.5

        await until(waits)
        await asyncio.to_thread(own_nats.start)
        await all_published(admin)

        async def none() -> bool:
            return value("holdfast_outbox_pending") == 0 and value("holdfast_outbox_lag_seconds") == 0

        await until(none)
        assert value("holdfast_outbox_published_total") == 3
    assert versions(await stored(own_nats.url, "EVENTS", f"events.{organization_id}.>")) == [1, 2, 3]


async def test_what_is_kept_long_enough_is_pruned_and_nothing_younger(
    service: Database, relay_database: Database, admin: Admin
) -> None:
    organization_id, note_id = new_id(), new_id()
    await make(service, organization_id, note_id, 6)
    await admin.execute("UPDATE proving.outbox SET publish_time = now() - interval '9 days' WHERE version <= 3")
    await admin.execute("UPDATE proving.outbox SET publish_time = now() - interval '7 days' WHERE version = 4")
    assert await relay_database.run(lambda each: SOURCE.prune(each, 2), organization_id=None) == 2
    assert await relay_database.run(lambda each: SOURCE.prune(each, 100), organization_id=None) == 1
    left = await admin.execute("SELECT version FROM proving.outbox ORDER BY version")
    assert [row[0] for row in await left.fetchall()] == [4, 5, 6]


async def test_an_idle_relay_publishes_within_a_moment(
    database: TestDatabase, service: Database, nats_server: EmbeddedNats
) -> None:
    organization_id, note_id = new_id(), new_id()
    loop = asyncio.get_running_loop()
    heard: asyncio.Queue[float] = asyncio.Queue()

    async def handler(_: IncomingMessage) -> None:
        heard.put_nowait(loop.time())

    stop = asyncio.Event()
    consumer = Consumer(
        name=f"quick-{organization_id}", stream="EVENTS", subjects=(f"events.{organization_id}.>",), handler=handler
    )
    async with relaying(database, nats_server.url), connected(nats_server.url) as messaging:
        consuming = asyncio.create_task(messaging.consume(consumer, stop))
        for _ in range(5):
            begin = loop.time()
            await make(service, organization_id, note_id, 1)
            async with asyncio.timeout(5):
                assert await heard.get() - begin < 2.0
        stop.set()
        await consuming


async def test_what_is_hinted_at_does_not_wait_for_the_next_look(
    database: TestDatabase,
    service: Database,
    admin: Admin,
    nats_server: EmbeddedNats,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay_module, "_POLL_SECONDS", 3_600.0)
    organization_id, note_id = new_id(), new_id()
    async with relaying(database, nats_server.url) as relay:
        await until(lambda: is_working(relay))
        for _ in range(3):
            await make(service, organization_id, note_id, 1)
            relay.hint()
            await all_published(admin)
    assert await by_aggregate(nats_server.url, organization_id) == {note_id: [1, 2, 3]}
