"""Publishing with acknowledgement, consuming with backoff and dead letters, over real NATS."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import nats
import pytest

from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from holdfast.common.messaging import Consumer, IncomingMessage, Messaging, PoisonMessage, PublishError
from holdfast.common.metrics import Metrics
from tests.integration.common import notes
from tests.integration.common.conftest import until
from tests.integration.common.listening import connected, stored, versions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from holdfast.local.nats import EmbeddedNats


class Heard:
    """A handler that remembers, and fails as it is told."""

    def __init__(self) -> None:
        self.messages: list[IncomingMessage] = []
        self.fail: Callable[[IncomingMessage], BaseException | None] = lambda _: None
        self.attempts = 0

    async def __call__(self, incoming: IncomingMessage) -> None:
        self.attempts += 1
        if (error := self.fail(incoming)) is not None:
            raise error
        self.messages.append(incoming)

    def count(self, number: int) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            return len(self.messages) >= number

        return check

    @property
    def versions(self) -> list[int]:
        return [each.version for each in self.messages]


@asynccontextmanager
async def consuming(
    messaging: Messaging, organization_id: str, handler: Any, **settings: Any
) -> AsyncIterator[Consumer]:
    """A consumer of one organization's messages that runs until the block ends."""
    consumer = Consumer(
        **{
            "name": f"test-{organization_id}",
            "stream": "EVENTS",
            "subjects": (f"events.{organization_id}.>",),
            "handler": handler,
            "backoff_seconds": (0.05, 0.1),
            **settings,
        }
    )
    stop = asyncio.Event()
    task = asyncio.create_task(messaging.consume(consumer, stop))
    try:
        yield consumer
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task


async def test_a_message_arrives_whole(nats_server: EmbeddedNats) -> None:
    organization_id, aggregate_id, heard = new_id(), new_id(), Heard()
    async with connected(nats_server.url) as messaging, consuming(messaging, organization_id, heard):
        sent = notes.message(organization_id, aggregate_id, 1)
        await messaging.publish([sent])
        await until(heard.count(1))
    got = heard.messages[0]
    assert (got.message_id, got.type) == (f"events-{aggregate_id}-1", "string_value")
    assert got.subject == f"events.{organization_id}._.string_value"
    assert (got.organization_id, got.event_id, got.aggregate_id, got.version) == (
        organization_id,
        None,
        aggregate_id,
        1,
    )
    assert (got.body, got.delivered) == (sent.body, 1)
    kept = await stored(nats_server.url, "EVENTS", f"events.{organization_id}.>")
    headers = kept[0].headers or {}
    assert headers["ce-id"] == headers["Nats-Msg-Id"] == sent.message_id
    assert headers["ce-source"] == "holdfast/events"
    assert headers["ce-specversion"] == "1.0"
    assert headers["ce-time"].endswith("Z")


async def test_a_message_published_again_is_dropped_by_its_id(nats_server: EmbeddedNats) -> None:
    organization_id, aggregate_id = new_id(), new_id()
    async with connected(nats_server.url) as messaging:
        sent = notes.message(organization_id, aggregate_id, 1)
        await messaging.publish([sent])
        await messaging.publish([sent])
    assert len(await stored(nats_server.url, "EVENTS", f"events.{organization_id}.>")) == 1


async def test_a_failed_message_lets_no_later_one_of_its_aggregate_pass(nats_server: EmbeddedNats) -> None:
    organization_id, sick, well = new_id(), new_id(), new_id()
    too_large = "x" * (2 * 1024 * 1024)
    batch = [
        notes.message(organization_id, sick, 1),
        notes.message(organization_id, well, 1),
        notes.message(organization_id, sick, 2, too_large),
        notes.message(organization_id, sick, 3),
        notes.message(organization_id, well, 2),
    ]
    async with connected(nats_server.url) as messaging:
        with pytest.raises(PublishError) as told:
            await messaging.publish(batch)
    assert [(each.aggregate_id, each.version) for each in told.value.failed] == [(sick, 2), (sick, 3)]
    assert {(each.aggregate_id, each.version) for each in told.value.published} == {(sick, 1), (well, 1), (well, 2)}
    assert not told.value.stream_missing
    kept = await stored(nats_server.url, "EVENTS", f"events.{organization_id}.>")
    assert len(kept) == 3


async def test_a_failing_message_comes_again_until_it_succeeds(nats_server: EmbeddedNats) -> None:
    organization_id, heard = new_id(), Heard()
    heard.fail = lambda incoming: RuntimeError("not yet") if incoming.delivered < 3 else None
    async with connected(nats_server.url) as messaging, consuming(messaging, organization_id, heard):
        await messaging.publish([notes.message(organization_id, new_id(), 1)])
        await until(heard.count(1))
    assert heard.messages[0].delivered == 3
    assert await stored(nats_server.url, "EVENTS", f"events.{organization_id}.>")


async def restarted(server: EmbeddedNats, messaging: Messaging, *, wipe: bool = False) -> None:
    """Kill the server, see that the client noticed, start it, see that the client is back."""
    await asyncio.to_thread(server.kill)

    async def noticed() -> bool:
        return not messaging.ready

    await until(noticed)
    if wipe:
        shutil.rmtree(server.store)
    await asyncio.to_thread(server.start)
    assert await messaging.wait_ready(timeout_seconds=15)


async def dead_of(nats_server: EmbeddedNats, consumer: Consumer, number: int) -> list[Any]:
    found: list[Any] = []

    async def there() -> bool:
        found[:] = await stored(nats_server.url, "DEAD", f"dead.{consumer.name}.>")
        return len(found) >= number

    await until(there)
    return found


async def declared(url: str, *streams: str) -> None:
    async with connected(url, publishes=streams):
        pass


async def test_a_message_that_fails_too_often_goes_to_the_dead_with_its_body(nats_server: EmbeddedNats) -> None:
    await declared(nats_server.url, "EVENTS", "DEAD")
    organization_id, heard, skipped = new_id(), Heard(), Heard()
    sick, well = new_id(), new_id()
    heard.fail = lambda incoming: RuntimeError("broken\r\nfor ever") if incoming.aggregate_id == sick else None
    async with (
        connected(nats_server.url) as messaging,
        consuming(messaging, organization_id, heard, deliver_limit=3, skip=skipped) as consumer,
    ):
        sent = notes.message(organization_id, sick, 1)
        await messaging.publish([sent, notes.message(organization_id, well, 1)])
        await until(heard.count(1))
        found = await dead_of(nats_server, consumer, 1)
    assert heard.attempts == 4, "three of the sick one, one of the other"
    assert [each.subject for each in found] == [f"dead.{consumer.name}.{sent.subject}"]
    assert found[0].data == sent.body
    assert found[0].headers["holdfast-dead-reason"] == "RuntimeError: broken for ever"
    assert found[0].headers["ce-id"] == sent.message_id
    assert found[0].headers["holdfast-version"] == "1"
    assert [each.aggregate_id for each in skipped.messages] == [sick]


async def test_poison_is_dead_at_once_and_the_others_proceed_with_an_exact_count(nats_server: EmbeddedNats) -> None:
    await declared(nats_server.url, "EVENTS", "DEAD")
    organization_id, heard = new_id(), Heard()
    heard.fail = lambda incoming: PoisonMessage("not what it says") if incoming.version % 10 == 0 else None
    aggregates = [new_id() for _ in range(5)]
    batch = [notes.message(organization_id, each, version) for each in aggregates for version in range(1, 41)]
    async with (
        connected(nats_server.url) as messaging,
        consuming(messaging, organization_id, heard) as consumer,
    ):
        await messaging.publish(batch)
        await until(heard.count(180))
        found = await dead_of(nats_server, consumer, 20)
    assert heard.attempts == 200
    assert len(heard.messages) == 180
    assert len(found) == 20
    for each in aggregates:
        applied = [message.version for message in heard.messages if message.aggregate_id == each]
        assert applied == [version for version in range(1, 41) if version % 10]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ce-id": None}, "the header ce-id is missing"),
        ({"holdfast-schema": "2"}, "the schema version '2' is unknown"),
        ({"holdfast-organization": "another"}, "the subject names another organization than the header"),
        ({"holdfast-version": "-1"}, "the header holdfast-version is not a version"),
        ({"ce-type": "other"}, "the subject names another type than the header"),
    ],
)
async def test_what_is_not_a_message_of_ours_is_dead_at_once(
    nats_server: EmbeddedNats, change: dict[str, str | None], reason: str
) -> None:
    await declared(nats_server.url, "EVENTS", "DEAD")
    organization_id, heard = new_id(), Heard()
    right = {
        "ce-id": "x",
        "ce-type": "thing",
        "holdfast-aggregate": "a",
        "holdfast-version": "1",
        "holdfast-organization": organization_id,
        "holdfast-schema": "1",
    }
    headers = {name: value for name, value in {**right, **change}.items() if value is not None}
    client = await nats.connect(nats_server.url)
    try:
        await client.jetstream().publish(f"events.{organization_id}._.thing", b"\x00garbage", headers=headers)
    finally:
        await client.close()
    async with connected(nats_server.url) as messaging, consuming(messaging, organization_id, heard) as consumer:
        found = await dead_of(nats_server, consumer, 1)
    assert heard.attempts == 0
    assert (found[0].data, found[0].headers["holdfast-dead-reason"]) == (b"\x00garbage", reason)


async def test_a_message_without_any_header_is_dead_at_once(nats_server: EmbeddedNats) -> None:
    await declared(nats_server.url, "EVENTS", "DEAD")
    organization_id, heard = new_id(), Heard()
    client = await nats.connect(nats_server.url)
    try:
        await client.jetstream().publish(f"events.{organization_id}._.thing", b"plain")
    finally:
        await client.close()
    async with connected(nats_server.url) as messaging, consuming(messaging, organization_id, heard) as consumer:
        found = await dead_of(nats_server, consumer, 1)
    assert found[0].data == b"plain"


async def test_a_dependency_that_is_down_kills_no_message(nats_server: EmbeddedNats) -> None:
    organization_id, heard = new_id(), Heard()
    heard.fail = lambda incoming: DomainError(Reason.DEPENDENCY_UNAVAILABLE, "down") if incoming.delivered < 6 else None
    async with (
        connected(nats_server.url) as messaging,
        consuming(messaging, organization_id, heard, deliver_limit=2),
    ):
        await messaging.publish([notes.message(organization_id, new_id(), 1)])
        await until(heard.count(1))
    assert heard.messages[0].delivered == 6


async def test_a_handler_that_never_returns_is_cut_off_and_tried_again(nats_server: EmbeddedNats) -> None:
    organization_id, heard = new_id(), Heard()

    async def hangs_once(incoming: IncomingMessage) -> None:
        if incoming.delivered == 1:
            await asyncio.Event().wait()
        await heard(incoming)

    async with (
        connected(nats_server.url) as messaging,
        consuming(messaging, organization_id, hangs_once, handler_timeout_seconds=0.1),
    ):
        await messaging.publish([notes.message(organization_id, new_id(), 1)])
        await until(heard.count(1))
    assert heard.messages[0].delivered == 2


async def test_what_a_consumer_does_is_counted_and_timed(nats_server: EmbeddedNats) -> None:
    organization_id, heard, metrics = new_id(), Heard(), Metrics("proving")
    heard.fail = lambda incoming: RuntimeError("not yet") if incoming.delivered == 1 else None
    async with (
        connected(nats_server.url, metrics=metrics) as messaging,
        consuming(messaging, organization_id, heard) as consumer,
    ):
        await messaging.publish([notes.message(organization_id, new_id(), 1)])
        await until(heard.count(1))

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"holdfast_consumer_{name}", {"consumer": consumer.name, **labels})

    assert (value("messages_total", outcome="failed"), value("messages_total", outcome="applied")) == (1, 1)
    assert value("duration_seconds_count") == 1
    lag = value("lag_seconds")
    assert lag is not None
    assert 0 < lag < 20


async def test_an_idle_consumer_hears_a_message_within_a_moment(nats_server: EmbeddedNats) -> None:
    organization_id, aggregate_id, heard = new_id(), new_id(), Heard()
    async with connected(nats_server.url) as messaging, consuming(messaging, organization_id, heard):
        for version in range(1, 6):
            await messaging.publish([notes.message(organization_id, aggregate_id, version)])
            # Far less than the time that a pull stays open: nothing waits for a batch to fill.
            await until(heard.count(version), seconds=1.0)
    assert heard.versions == [1, 2, 3, 4, 5]


async def test_many_services_may_declare_the_same_streams_at_once(own_nats: EmbeddedNats) -> None:
    services = [
        Messaging(url=own_nats.url, service=f"service-{number}", publishes=("EVENTS", "CAPACITY", "DEAD"))
        for number in range(8)
    ]
    try:
        await asyncio.gather(*(each.start() for each in services))
        assert all(await asyncio.gather(*(each.wait_ready(timeout_seconds=10) for each in services)))
        identities = await asyncio.gather(*(each.stream_identity("EVENTS") for each in services))
        assert len(set(identities)) == 1
    finally:
        await asyncio.gather(*(each.close() for each in services))


async def test_a_service_starts_and_stays_while_nats_is_down(own_nats: EmbeddedNats) -> None:
    own_nats.kill()
    messaging = Messaging(url=own_nats.url, service="events", publishes=("EVENTS",))
    await messaging.start()
    try:
        assert not messaging.ready
        with pytest.raises(PublishError) as told:
            await messaging.publish([notes.message("nobody", "note", 1)])
        assert len(told.value.failed) == 1
        own_nats.start()
        assert await messaging.wait_ready(timeout_seconds=15)
    finally:
        await messaging.close()


async def test_killing_nats_loses_no_message_and_no_consumer(own_nats: EmbeddedNats) -> None:
    organization_id, aggregate_id, heard = new_id(), new_id(), Heard()
    async with connected(own_nats.url) as messaging, consuming(messaging, organization_id, heard):
        await messaging.publish([notes.message(organization_id, aggregate_id, version) for version in range(1, 21)])
        for last in (40, 60):
            await restarted(own_nats, messaging)
            await messaging.publish(
                [notes.message(organization_id, aggregate_id, version) for version in range(last - 19, last + 1)]
            )
        await until(lambda: _all_heard(heard, 60))
    assert versions(await stored(own_nats.url, "EVENTS", f"events.{organization_id}.>")) == list(range(1, 61))


async def _all_heard(heard: Heard, last: int) -> bool:
    return set(heard.versions) == set(range(1, last + 1))


async def test_a_consumer_outlives_the_loss_of_the_storage(own_nats: EmbeddedNats) -> None:
    organization_id, aggregate_id, heard = new_id(), new_id(), Heard()
    async with connected(own_nats.url) as messaging, consuming(messaging, organization_id, heard):
        await messaging.publish([notes.message(organization_id, aggregate_id, 1)])
        await until(heard.count(1))
        before = await messaging.stream_identity("EVENTS")
        await restarted(own_nats, messaging, wipe=True)
        assert await messaging.stream_identity("EVENTS") != before
        await messaging.publish([notes.message(organization_id, aggregate_id, 2)])
        await until(heard.count(2))
    assert heard.versions == [1, 2]


async def test_a_missing_stream_is_told_by_name_of_the_cause(own_nats: EmbeddedNats) -> None:
    async with connected(own_nats.url) as messaging:
        client = await nats.connect(own_nats.url)
        try:
            await client.jetstream().delete_stream("EVENTS")
        finally:
            await client.close()
        with pytest.raises(PublishError) as told:
            await messaging.publish([notes.message("somebody", "note", 1)])
        assert told.value.stream_missing
        await messaging.stream_identity("EVENTS")
        await messaging.publish([notes.message("somebody", "note", 1)])
