"""Runs: what gathered of an aggregate is handled together, exactly once and in order, whatever happens in between."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from holdfast.common import pulling, streams, telemetry
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from holdfast.common.messaging import Consumer, IncomingMessage, Messaging, PoisonMessage
from holdfast.common.positions import Claim, ClaimKind, advance_to, claim, runs
from tests.integration.common import notes
from tests.integration.common.conftest import SCHEMA, until
from tests.integration.common.listening import connected, stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from nats.aio.msg import Msg

    from holdfast.common.database import Database, Transaction
    from holdfast.common.messaging import OutgoingMessage
    from holdfast.local.nats import EmbeddedNats


async def _nothing() -> None:
    pass


class Reader:
    """A consumer of an organization's notes that writes one note for each message: a second one would be refused."""

    def __init__(self, service: Database) -> None:
        self.service = service
        self.organization_id = new_id()
        self.handed: list[list[IncomingMessage]] = []
        self.fail: Callable[[IncomingMessage], Exception | None] = lambda _: None
        self.after_commit: Callable[[], Awaitable[None]] = _nothing

    @property
    def name(self) -> str:
        return f"reader-{self.organization_id}"

    def consumer(self) -> Consumer:
        return Consumer(
            name=self.name,
            stream="EVENTS",
            subjects=(f"events.{self.organization_id}.>",),
            handler=self.handle,
            run_handler=self.handle_run,
            skip=self.skip,
            backoff_seconds=(0.05, 0.1),
        )

    async def handle(self, incoming: IncomingMessage) -> None:
        await self.handle_run([incoming])

    async def handle_run(self, run: Sequence[IncomingMessage]) -> None:
        self.handed.append(list(run))
        error = next((found for each in run if (found := self.fail(each)) is not None), None)
        if error is not None:
            raise error
        claimed = await self.service.run(partial(self._apply, run=run), organization_id=self.organization_id)
        if claimed.kind is ClaimKind.GAP:
            raise DomainError(Reason.DEPENDENCY_UNAVAILABLE, "what came before is not there")
        await self.after_commit()

    async def _apply(self, transaction: Transaction, *, run: Sequence[IncomingMessage]) -> Claim:
        claimed = await claim(
            transaction,
            schema=SCHEMA,
            consumer=self.name,
            aggregate_id=run[-1].aggregate_id,
            version=run[-1].version,
            first_version=run[0].version,
        )
        if claimed.kind is ClaimKind.NEXT:
            for each in run:
                if each.version > claimed.position:
                    await notes.write(transaction, each.message_id)
        return claimed

    async def skip(self, incoming: IncomingMessage) -> None:
        await self.service.run(
            partial(
                advance_to,
                schema=SCHEMA,
                consumer=self.name,
                aggregate_id=incoming.aggregate_id,
                version=incoming.version,
            ),
            organization_id=self.organization_id,
        )

    def messages(self, aggregate_id: str, *versions: int) -> list[OutgoingMessage]:
        return [notes.message(self.organization_id, aggregate_id, version) for version in versions]

    def handed_of(self, aggregate_id: str) -> list[list[int]]:
        return [[each.version for each in run] for run in self.handed if run[0].aggregate_id == aggregate_id]

    async def written(self) -> int:
        return await self.service.run(notes.count, organization_id=self.organization_id)

    async def all_written(self, number: int) -> None:
        """Wait until so many messages took effect and NATS awaits no word on any, and see that it stays so many."""

        async def there() -> bool:
            return await self.written() >= number

        await until(there)
        assert await self.written() == number


@pytest.fixture
def reader(service: Database) -> Reader:
    return Reader(service)


@asynccontextmanager
async def consuming(messaging: Messaging, reader: Reader) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(messaging.consume(reader.consumer(), stop))
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task


async def settled(messaging: Messaging, reader: Reader) -> int:
    """Wait until NATS has nothing more for the consumer; returns how many messages came again."""

    async def quiet() -> bool:
        info = await messaging.context().consumer_info("EVENTS", reader.name)
        return (info.num_pending, info.num_ack_pending) == (0, 0)

    await until(quiet)
    return len({each.message_id for run in reader.handed for each in run if each.delivered > 1})


async def dead_of(url: str, messaging: Messaging, reader: Reader, number: int) -> list[Msg]:
    await streams.declare(messaging.context(), "DEAD")
    found: list[Msg] = []

    async def there() -> bool:
        found[:] = await stored(url, "DEAD", f"dead.{reader.name}.>")
        return len(found) >= number

    await until(there)
    return found


def test_a_run_ends_where_a_version_does_not_follow() -> None:
    assert runs([1, 2, 3, 5, 6, 6, 7, 2], lambda each: each) == [[1, 2, 3], [5, 6], [6, 7], [2]]
    assert runs([], int) == []


async def test_what_gathered_of_each_aggregate_is_handled_together_and_acknowledged(
    reader: Reader, nats_server: EmbeddedNats
) -> None:
    aggregates = [new_id() for _ in range(3)]
    interleaved = [each for version in range(1, 61) for one in aggregates for each in reader.messages(one, version)]
    async with connected(nats_server.url) as messaging:
        await messaging.publish(interleaved)
        async with consuming(messaging, reader):
            await reader.all_written(180)
            assert await settled(messaging, reader) == 0
    for each in aggregates:
        handed = reader.handed_of(each)
        assert [version for run in handed for version in run] == list(range(1, 61))
        assert max(len(run) for run in handed) <= pulling.BATCH
    assert len(reader.handed) < 90, "on the average, two and more came together"


async def test_poison_in_a_run_is_dead_alone_and_the_others_are_applied_once(
    reader: Reader, nats_server: EmbeddedNats
) -> None:
    aggregate_id = new_id()
    reader.fail = lambda incoming: PoisonMessage("not what it says") if incoming.version in {7, 8, 30} else None
    async with connected(nats_server.url) as messaging:
        await messaging.publish(reader.messages(aggregate_id, *range(1, 41)))
        async with consuming(messaging, reader):
            await reader.all_written(37)
            dead = await dead_of(nats_server.url, messaging, reader, 3)
            assert await settled(messaging, reader) == 0
            await messaging.publish(reader.messages(aggregate_id, 41))
            await reader.all_written(38)
    assert [(each.headers or {})["holdfast-version"] for each in dead] == ["7", "8", "30"]
    assert {(each.headers or {})["holdfast-dead-reason"] for each in dead} == {"not what it says"}


async def test_a_message_that_cannot_be_read_is_dead_and_the_run_around_it_is_applied(
    reader: Reader, nats_server: EmbeddedNats
) -> None:
    aggregate_id = new_id()
    async with connected(nats_server.url) as messaging:
        await messaging.publish(reader.messages(aggregate_id, 1, 2, 3))
        strange = {"ce-id": "x", "ce-type": "string_value", "holdfast-aggregate": aggregate_id}
        await messaging.context().publish(
            f"events.{reader.organization_id}._.string_value", b"\x00", stream="EVENTS", headers=strange
        )
        await messaging.publish(reader.messages(aggregate_id, 4, 5))
        async with consuming(messaging, reader):
            await reader.all_written(5)
            dead = await dead_of(nats_server.url, messaging, reader, 1)
            assert await settled(messaging, reader) == 0
    assert [each.data for each in dead] == [b"\x00"]


async def test_a_message_that_fails_for_a_while_keeps_none_of_its_run_from_taking_effect(
    reader: Reader, nats_server: EmbeddedNats
) -> None:
    aggregate_id = new_id()

    def fails_at_first(incoming: IncomingMessage) -> Exception | None:
        return RuntimeError("not yet") if incoming.version == 5 and incoming.delivered < 3 else None

    reader.fail = fails_at_first
    async with connected(nats_server.url) as messaging:
        await messaging.publish(reader.messages(aggregate_id, *range(1, 21)))
        async with consuming(messaging, reader):
            await reader.all_written(20)
            await settled(messaging, reader)
        assert await stored(nats_server.url, "DEAD", f"dead.{reader.name}.>") == []


async def test_a_dependency_that_is_away_sends_the_run_back_and_kills_no_message(
    reader: Reader, nats_server: EmbeddedNats
) -> None:
    reader.fail = lambda incoming: (
        DomainError(Reason.DEPENDENCY_UNAVAILABLE, "away") if incoming.delivered < 4 else None
    )
    async with connected(nats_server.url) as messaging:
        await messaging.publish(reader.messages(new_id(), *range(1, 31)))
        async with consuming(messaging, reader):
            await reader.all_written(30)
            assert await settled(messaging, reader) == 30
    # Three deliveries in vain; what is away is asked for once a run and delivery, not once a message.
    assert len(reader.handed) < 60


async def test_duplicates_before_and_inside_a_run_take_no_effect(reader: Reader, nats_server: EmbeddedNats) -> None:
    aggregate_id = new_id()
    async with connected(nats_server.url) as messaging:
        await messaging.publish(reader.messages(aggregate_id, *range(1, 11)))
        async with consuming(messaging, reader):
            await reader.all_written(10)
            await settled(messaging, reader)
        # As after the loss of what NATS knew of the consumer: all comes again, with news behind it.
        await messaging.context().delete_consumer("EVENTS", reader.name)
        await messaging.publish(reader.messages(aggregate_id, *range(11, 31)))
        async with consuming(messaging, reader):
            await reader.all_written(30)
            await settled(messaging, reader)
    again = [version for run in reader.handed_of(aggregate_id) for version in run]
    assert sorted(again) == sorted([*range(1, 11), *range(1, 31)])


async def test_what_died_between_the_commit_and_the_acknowledgement_takes_effect_once(
    reader: Reader, nats_server: EmbeddedNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "ACK_WAIT_SECONDS", 1)
    aggregate_id = new_id()
    async with connected(nats_server.url) as messaging:
        await messaging.publish(reader.messages(aggregate_id, *range(1, 11)))
        first = asyncio.create_task(messaging.consume(reader.consumer(), asyncio.Event()))

        async def die() -> None:
            first.cancel()
            await asyncio.Event().wait()

        reader.after_commit = die
        with pytest.raises(asyncio.CancelledError):
            await first
        before = await reader.written()
        assert before > 0
        info = await messaging.context().consumer_info("EVENTS", reader.name)
        assert (info.num_ack_pending or 0) + (info.num_pending or 0) == 10, "nothing was acknowledged"
        reader.after_commit = _nothing
        await messaging.publish(reader.messages(aggregate_id, *range(11, 16)))
        async with consuming(messaging, reader):
            await reader.all_written(15)
            assert await settled(messaging, reader) > 0


async def test_a_stopped_consumer_gives_back_what_it_did_not_begin(reader: Reader, nats_server: EmbeddedNats) -> None:
    aggregates = [new_id() for _ in range(30)]
    stop = asyncio.Event()

    async def last() -> None:
        stop.set()

    reader.after_commit = last
    async with connected(nats_server.url) as messaging:
        await messaging.publish([each for one in aggregates for each in reader.messages(one, 1, 2)])
        async with asyncio.timeout(10):
            await messaging.consume(reader.consumer(), stop)
        assert 0 < await reader.written() <= 60
        reader.after_commit = _nothing
        async with consuming(messaging, reader):
            await reader.all_written(60)
            await settled(messaging, reader)


async def test_each_recorded_message_of_a_run_has_a_span_in_its_own_trace(
    reader: Reader, nats_server: EmbeddedNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = InMemorySpanExporter()
    recording = telemetry.Telemetry(service="reader", processors=[SimpleSpanProcessor(exporter)])
    recording.start(make_global=False)
    monkeypatch.setattr(telemetry, "tracer", lambda: recording.tracer)
    traces = [secrets.token_hex(16) for _ in range(4)]
    flags = ["00", "01", "01", "01"]
    aggregate_id = new_id()
    async with connected(nats_server.url) as messaging:
        await messaging.publish(
            [
                replace(each, traceparent=f"00-{trace_id}-{secrets.token_hex(8)}-{flag}")
                for each, trace_id, flag in zip(reader.messages(aggregate_id, 1, 2, 3, 4), traces, flags, strict=True)
            ]
        )
        async with consuming(messaging, reader):
            await reader.all_written(4)
            await settled(messaging, reader)
    await recording.stop()
    assert reader.handed_of(aggregate_id) == [[1, 2, 3, 4]]
    spans = [each for each in exporter.get_finished_spans() if each.kind is SpanKind.CONSUMER]
    found = {f"{each.context.trace_id:032x}": each for each in spans if each.context is not None}
    assert sorted(found) == sorted(traces[1:])
    # Work is done once: in the first of the traces, and the others tell where.
    links = {name: [f"{link.context.trace_id:032x}" for link in each.links] for name, each in found.items()}
    assert links == {traces[1]: [], traces[2]: [traces[1]], traces[3]: [traces[1]]}


async def test_a_lone_message_is_heard_within_a_moment(reader: Reader, nats_server: EmbeddedNats) -> None:
    aggregate_id = new_id()
    async with connected(nats_server.url) as messaging, consuming(messaging, reader):
        for version in range(1, 6):
            await messaging.publish(reader.messages(aggregate_id, version))
            # Far less than the time that a request stays open: nothing waits for a run to gather.
            async with asyncio.timeout(1.0):
                await reader.all_written(version)
    assert reader.handed_of(aggregate_id) == [[1], [2], [3], [4], [5]]
