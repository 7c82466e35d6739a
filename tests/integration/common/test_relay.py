"""The relay: every commit has its message, in order per aggregate, whatever is frozen, killed or lost."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from holdfast.common import telemetry
from holdfast.common.errors import DomainError
from holdfast.common.ids import new_id
from holdfast.common.messaging import Consumer, IncomingMessage, Messaging
from holdfast.common.metrics import Metrics
from holdfast.common.relay import OutboxSource, Relay
from tests.integration.common import notes
from tests.integration.common.conftest import opened, until
from tests.integration.common.listening import connected, stored, versions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    import psycopg

    from holdfast.common.database import Database, Transaction
    from holdfast.common.messaging import OutgoingMessage
    from holdfast.local.nats import EmbeddedNats
    from tests.support.postgres import TestDatabase

    Admin = psycopg.AsyncConnection[tuple[Any, ...]]

SOURCE = OutboxSource("proving")
LEASE_SECONDS = 1.0


@pytest.fixture(autouse=True)
async def _empty_outbox(admin: Admin) -> None:
    await admin.execute("TRUNCATE proving.outbox; TRUNCATE proving.leases")


@asynccontextmanager
async def relaying(database: TestDatabase, url: str, **settings: Any) -> AsyncIterator[Relay]:
    """A relay with a database and a connection of its own that runs until the block ends."""
    async with (
        opened(database.dsn("proving_relay"), allow_cross_organization=True, pool_size=2) as relay_side,
        connected(url) as messaging,
    ):
        relay = Relay(
            **{
                "database": relay_side,
                "source": SOURCE,
                "publisher": messaging,
                "stream": "EVENTS",
                "lease_seconds": LEASE_SECONDS,
                **settings,
            }
        )
        stop = asyncio.Event()
        task = asyncio.create_task(relay.run(stop))
        try:
            yield relay
        finally:
            stop.set()
            async with asyncio.timeout(15):
                await task


async def pending(admin: Admin) -> int:
    found = await admin.execute("SELECT count(*) FROM proving.outbox WHERE publish_time IS NULL")
    return int((await found.fetchall())[0][0])


async def all_published(admin: Admin) -> None:
    async def none_pending() -> bool:
        return await pending(admin) == 0

    await until(none_pending, seconds=30)


async def make(service: Database, organization_id: str, note_id: str, times: int) -> None:
    """Write a note, if it is not there, and change it so often, a transaction each."""
    if await service.run(lambda each: notes.words_of(each, note_id), organization_id=organization_id) is None:
        await service.run(lambda each: notes.write(each, note_id), organization_id=organization_id)
    for _ in range(times):
        await service.run(lambda each: notes.change(each, note_id), organization_id=organization_id)


async def by_aggregate(url: str, organization_id: str) -> dict[str, list[int]]:
    """Versions in the order of the stream, for each aggregate."""
    found: dict[str, list[int]] = {}
    for each in await stored(url, "EVENTS", f"events.{organization_id}.>"):
        headers = each.headers or {}
        found.setdefault(headers["holdfast-aggregate"], []).append(int(headers["holdfast-version"]))
    return found


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


async def test_of_two_relays_one_works_and_the_other_takes_over_when_it_stops(
    database: TestDatabase, service: Database, admin: Admin, nats_server: EmbeddedNats
) -> None:
    organization_id, note_id = new_id(), new_id()
    async with relaying(database, nats_server.url) as second_to_stop:
        await until(lambda: _is_working(second_to_stop))
        async with relaying(database, nats_server.url) as standby:
            await make(service, organization_id, note_id, 5)
            await all_published(admin)
            assert (second_to_stop.working, standby.working) == (True, False)
    async with relaying(database, nats_server.url) as next_one:
        await until(lambda: _is_working(next_one))
        await make(service, organization_id, note_id, 5)
        await all_published(admin)
    epochs = await admin.execute(
        "SELECT publish_epoch, count(*) FROM proving.outbox GROUP BY publish_epoch ORDER BY publish_epoch"
    )
    assert [int(row[1]) for row in await epochs.fetchall()] == [5, 5]


async def _is_working(relay: Relay) -> bool:
    return relay.working


@pytest.fixture
def relay_process(database: TestDatabase, nats_server: EmbeddedNats) -> Iterator[subprocess.Popen[str]]:
    """A relay in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.common.relay_process"], stdin=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(f"{database.dsn('proving_relay')}\n{nats_server.url}\n{LEASE_SECONDS}\n")
    process.stdin.close()
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


async def test_a_frozen_relay_is_replaced_and_does_nothing_when_it_thaws(
    database: TestDatabase,
    service: Database,
    admin: Admin,
    nats_server: EmbeddedNats,
    relay_process: subprocess.Popen[str],
) -> None:
    organization_id, ids = new_id(), [new_id() for _ in range(3)]
    await make(service, organization_id, ids[0], 1)
    await all_published(admin)
    await asyncio.gather(*(make(service, organization_id, each, 40) for each in ids[1:]))
    relay_process.send_signal(signal.SIGSTOP)
    await make(service, organization_id, ids[0], 10)
    async with relaying(database, nats_server.url) as successor:
        await until(lambda: _is_working(successor))
        await all_published(admin)
        relay_process.send_signal(signal.SIGCONT)
        await asyncio.gather(*(make(service, organization_id, each, 10) for each in ids))
        await all_published(admin)
        assert successor.working
        found = await admin.execute("SELECT epoch FROM proving.leases WHERE name = 'relay'")
        assert await found.fetchall() == [(2,)]
        late = await admin.execute(
            "SELECT count(*) FROM proving.outbox WHERE publish_epoch = 1 AND aggregate_id = %s AND version > 1",
            (ids[0],),
        )
        assert await late.fetchall() == [(0,)], "nothing committed after the freeze was marked by the frozen one"
    assert await by_aggregate(nats_server.url, organization_id) == {
        ids[0]: list(range(1, 22)),
        ids[1]: list(range(1, 51)),
        ids[2]: list(range(1, 51)),
    }


class FrozenAfterPublishing(Messaging):
    """Freezes where it hurts most: published, and not marked yet."""

    thaw: asyncio.Event
    frozen: asyncio.Event

    async def publish(self, outgoing_messages: Sequence[OutgoingMessage], *, until: float | None = None) -> None:
        await super().publish(outgoing_messages, until=until)
        self.frozen.set()
        await self.thaw.wait()


async def test_a_relay_that_lost_its_lease_between_publishing_and_marking_marks_nothing(
    database: TestDatabase, service: Database, admin: Admin, nats_server: EmbeddedNats
) -> None:
    organization_id, note_id = new_id(), new_id()
    await make(service, organization_id, note_id, 5)
    stuck = FrozenAfterPublishing(url=nats_server.url, service="events", publishes=("EVENTS",))
    stuck.thaw, stuck.frozen = asyncio.Event(), asyncio.Event()
    await stuck.start()
    try:
        assert await stuck.wait_ready(timeout_seconds=10)
        async with relaying(database, nats_server.url, publisher=stuck) as first:
            async with asyncio.timeout(10):
                await stuck.frozen.wait()
            assert await pending(admin) == 5
            async with relaying(database, nats_server.url) as second:
                await until(lambda: _is_working(second))
                await all_published(admin)
                stuck.thaw.set()
                await until(lambda: _is_not_working(first))
                assert second.working
    finally:
        await stuck.close()
    found = await admin.execute("SELECT DISTINCT publish_epoch FROM proving.outbox")
    assert await found.fetchall() == [(2,)]
    assert await by_aggregate(nats_server.url, organization_id) == {note_id: [1, 2, 3, 4, 5]}


async def _is_not_working(relay: Relay) -> bool:
    return not relay.working


async def test_a_relay_killed_at_work_loses_nothing(
    database: TestDatabase,
    service: Database,
    admin: Admin,
    nats_server: EmbeddedNats,
    relay_process: subprocess.Popen[str],
) -> None:
    organization_id, ids = new_id(), [new_id() for _ in range(3)]
    working = [asyncio.create_task(make(service, organization_id, each, 60)) for each in ids]

    async def some_published() -> bool:
        found = await admin.execute("SELECT count(*) FROM proving.outbox WHERE publish_time IS NOT NULL")
        return int((await found.fetchall())[0][0]) >= 20

    await until(some_published)
    relay_process.kill()
    await asyncio.gather(*working)
    async with relaying(database, nats_server.url):
        await all_published(admin)
    assert await by_aggregate(nats_server.url, organization_id) == {each: list(range(1, 61)) for each in ids}


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


async def test_nats_killed_again_and_again_loses_nothing(
    database: TestDatabase, service: Database, admin: Admin, own_nats: EmbeddedNats
) -> None:
    organization_id, ids = new_id(), [new_id() for _ in range(3)]
    async with relaying(database, own_nats.url):
        working = [asyncio.create_task(make(service, organization_id, each, 150)) for each in ids]
        for _ in range(3):
            before = await pending(admin)
            await asyncio.to_thread(own_nats.kill)

            async def some_wait(before: int = before) -> bool:
                return await pending(admin) > before or all(each.done() for each in working)

            await until(some_wait)
            await asyncio.to_thread(own_nats.start)
        await asyncio.gather(*working)
        await all_published(admin)
    assert await by_aggregate(own_nats.url, organization_id) == {each: list(range(1, 151)) for each in ids}


async def test_the_loss_of_the_storage_of_nats_is_noticed_and_made_good(
    database: TestDatabase, service: Database, admin: Admin, own_nats: EmbeddedNats
) -> None:
    organization_id, note_id = new_id(), new_id()
    async with relaying(database, own_nats.url):
        await make(service, organization_id, note_id, 30)
        await all_published(admin)
        await asyncio.to_thread(own_nats.kill)
        shutil.rmtree(own_nats.store)
        await asyncio.to_thread(own_nats.start)

        async def refilled() -> bool:
            return (await by_aggregate(own_nats.url, organization_id)).get(note_id) == list(range(1, 31))

        await until(lambda: _stream_exists(own_nats.url))
        await until(refilled)
        await make(service, organization_id, note_id, 1)
        await all_published(admin)
    assert await by_aggregate(own_nats.url, organization_id) == {note_id: list(range(1, 32))}


async def _stream_exists(url: str) -> bool:
    async with connected(url, publishes=()) as messaging:
        found = await messaging.context().streams_info()
        return any(each.config.name == "EVENTS" for each in found)


async def test_postgres_killed_at_work_loses_nothing_that_was_acknowledged(
    database: TestDatabase, service: Database, nats_server: EmbeddedNats
) -> None:
    organization_id, note_id = new_id(), new_id()
    acknowledged: list[int] = []
    stop = asyncio.Event()

    async def work() -> None:
        while not stop.is_set():
            try:
                acknowledged.append(
                    await service.run(lambda each: notes.change(each, note_id), organization_id=organization_id)
                )
            except DomainError:
                await asyncio.sleep(0.01)

    await make(service, organization_id, note_id, 1)
    async with relaying(database, nats_server.url):
        worker = asyncio.create_task(work())
        embedded = database.server.embedded
        for _ in range(2):
            seen = len(acknowledged)

            async def more(seen: int = seen) -> bool:
                return len(acknowledged) > seen + 10

            await until(more)
            await asyncio.to_thread(embedded.kill)
            await asyncio.to_thread(embedded.start)
        await until(more)
        stop.set()
        await worker

        async def nothing_waits() -> bool:
            return await service.run(lambda each: _none_pending(each, organization_id), organization_id=organization_id)

        await until(nothing_waits)
    published = (await by_aggregate(nats_server.url, organization_id))[note_id]
    assert published == list(range(1, max(published) + 1))
    assert set(acknowledged) <= set(published)
    assert len(set(acknowledged)) == len(acknowledged)


async def _none_pending(transaction: Transaction, organization_id: str) -> bool:
    found = await transaction.execute(
        text("SELECT count(*) FROM proving.outbox WHERE organization_id = :organization_id AND publish_time IS NULL"),
        {"organization_id": organization_id},
    )
    return int(found.scalar_one()) == 0


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
