"""The loop of one durable consumer: hand over in order per aggregate, acknowledge, back off, bury the dead."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import nats.errors
import structlog
from nats.aio.msg import Msg
from opentelemetry.trace import Link, Span, SpanKind

from holdfast.common import message as messages
from holdfast.common import positions, streams, telemetry
from holdfast.common.errors import DomainError, Reason
from holdfast.common.message import IncomingMessage, PoisonMessage
from holdfast.common.pulling import BATCH, ConsumerMissingError, pulling
from holdfast.common.tasks import REST_SECONDS, pause

if TYPE_CHECKING:
    from holdfast.common.messaging import Consumer, Messaging

_LOG = structlog.get_logger("holdfast.consumer")

_BACKOFF_SECONDS_FIRST: Final = 0.1
_BACKOFF_SECONDS_MAX: Final = 2.0
_REMEMBERED_FAILURES: Final = 10_000
# Deliveries, counted by NATS, after which a failing message is dead even if this process did not see it fail before.
_DELIVER_LIMIT_FACTOR: Final = 10
_REASON_MAX: Final = 500
# A message that waited so long for its turn is told to be in progress, lest NATS deliver it again meanwhile.
_WAITED_SECONDS: Final = streams.ACK_WAIT_SECONDS / 6
_PASSING: Final = frozenset(
    {Reason.DEPENDENCY_UNAVAILABLE, Reason.OVERLOADED, Reason.DEADLINE_EXCEEDED, Reason.RATE_LIMITED}
)


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A message as NATS delivered it, and as it reads."""

    given: Msg
    incoming: IncomingMessage

    @property
    def sequence(self) -> int:
        """Where it stands in the stream."""
        return self.given.metadata.sequence.stream


class Consuming:
    """One durable consumer at work; made by `Messaging.consume`."""

    def __init__(self, messaging: "Messaging", consumer: "Consumer") -> None:
        self._messaging = messaging
        self._consumer = consumer
        self._failures: OrderedDict[int, int] = OrderedDict()

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set; whatever fails is logged and begun anew, after a bounded pause."""
        backoff = _BACKOFF_SECONDS_FIRST
        while not stop.is_set():
            try:
                await self._session(stop)
                backoff = _BACKOFF_SECONDS_FIRST
            except ConsumerMissingError:
                _LOG.info("consumer is declared again", consumer=self._consumer.name)
            except (DomainError, nats.errors.Error, OSError, TimeoutError) as error:
                _LOG.info("consumer waits for NATS", consumer=self._consumer.name, cause=type(error).__name__)
            if await pause(stop, backoff):
                return
            backoff = min(backoff * 2, _BACKOFF_SECONDS_MAX)

    async def _session(self, stop: asyncio.Event) -> None:
        """Consume over one subscription, until `stop` or until the connection or the consumer is gone."""
        client = self._messaging.client()
        consumer = self._consumer
        await streams.declare_consumer(
            client.jetstream(), consumer.stream, name=consumer.name, subjects=consumer.subjects
        )
        async with pulling(client, stream=consumer.stream, consumer=consumer.name, stop=stop) as pull:
            while not stop.is_set():
                batch = await pull.take()
                await self._handle_all(batch, stop)
                if consumer.run_handler is not None and 0 < len(batch) < BATCH:
                    await pause(stop, REST_SECONDS)

    async def _handle_all(self, batch: list[Msg], stop: asyncio.Event) -> None:
        received = asyncio.get_running_loop().time()
        groups: dict[str, list[Msg]] = {}
        for each in batch:
            groups.setdefault((each.headers or {}).get("holdfast-aggregate", ""), []).append(each)
        limit = asyncio.Semaphore(self._consumer.concurrency)

        async def in_order(group: list[Msg]) -> None:
            async with limit:
                for run in self._runs([read for each in group if (read := await self._read(each)) is not None]):
                    if len(run) == 1 or not await self._handle_run(run, received, stop):
                        for each in run:
                            await self._handle(each, received, stop)

        async with asyncio.TaskGroup() as tasks:
            for group in groups.values():
                tasks.create_task(in_order(group))

    async def _read(self, given: Msg) -> _Delivery | None:
        """Read a message; what cannot be read is buried."""
        try:
            incoming = messages.incoming(
                given.subject, given.data, given.headers, delivered=given.metadata.num_delivered or 1
            )
        except PoisonMessage as poison:
            await self._bury(given, None, str(poison))
            return None
        return _Delivery(given, incoming)

    def _runs(self, group: list[_Delivery]) -> list[list[_Delivery]]:
        if self._consumer.run_handler is None:
            return [[each] for each in group]
        return positions.runs(group, lambda each: each.incoming.version)

    async def _begin(self, run: Sequence[_Delivery], received: float, stop: asyncio.Event) -> bool:
        """See whether there is time to handle a run; if not, another replica or the next start gets it at once."""
        if stop.is_set():
            for each in run:
                await self._settle(each.given.nak())
            return False
        if asyncio.get_running_loop().time() - received > _WAITED_SECONDS:
            for each in run:
                await self._settle(each.given.in_progress())
        return True

    async def _handle_run(self, run: list[_Delivery], received: float, stop: asyncio.Event) -> bool:
        """Hand over a run at once; False, with nothing settled, when its messages are to be handled one by one."""
        handler = self._consumer.run_handler
        if handler is None:
            return False
        if not await self._begin(run, received, stop):
            return True
        begin = asyncio.get_running_loop().time()
        try:
            with self._span(run):
                async with asyncio.timeout(self._consumer.handler_timeout_seconds):
                    await handler([each.incoming for each in run])
        except Exception as error:  # noqa: BLE001 (a handler may fail in any way; which message it was shows one by one)
            if not _passes(error):
                _LOG.info("run is handled one by one", consumer=self._consumer.name, cause=type(error).__name__)
                return False
            # What is away now is away for each of them.
            for each in run:
                await self._come_again(each, error)
        else:
            await self._applied(run, begin)
        return True

    async def _handle(self, each: _Delivery, received: float, stop: asyncio.Event) -> None:
        if not await self._begin([each], received, stop):
            return
        begin = asyncio.get_running_loop().time()
        try:
            with self._span([each]):
                async with asyncio.timeout(self._consumer.handler_timeout_seconds):
                    await self._consumer.handler(each.incoming)
        except PoisonMessage as poison:
            await self._bury(each.given, each.incoming, str(poison))
        except Exception as error:  # noqa: BLE001 (a handler may fail in any way; the loop goes on)
            await self._failed(each, error)
        else:
            await self._applied([each], begin)

    @contextlib.contextmanager
    def _span(self, run: Sequence[_Delivery]) -> Iterator[None]:
        """Go on in the traces of the messages: in each that is recorded a span, and the work itself in one of them."""
        recorded = [each.incoming for each in run if not telemetry.is_unrecorded(each.incoming.traceparent or "")]
        lead, *others = recorded or [run[0].incoming]
        where = telemetry.links_to(lead.traceparent)
        with contextlib.ExitStack() as spans:
            for each in others:
                spans.enter_context(self._span_of(each, len(run), links=where))
            spans.enter_context(self._span_of(lead, len(run)))
            yield

    def _span_of(
        self, incoming: IncomingMessage, number: int, *, links: Sequence[Link] = ()
    ) -> AbstractContextManager[Span | None]:
        return telemetry.span(
            f"consume {incoming.type}",
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "nats",
                "messaging.operation.type": "process",
                "messaging.consumer.group.name": self._consumer.name,
                "messaging.destination.name": incoming.subject,
                "messaging.message.id": incoming.message_id,
                "messaging.batch.message_count": number,
            },
            traceparent=incoming.traceparent,
            links=links,
        )

    async def _applied(self, run: Sequence[_Delivery], begin: float) -> None:
        for each in run:
            self._failures.pop(each.sequence, None)
        self._count("applied", len(run))
        self._measure(run[-1].given, begin)
        for each in run:
            await self._settle(each.given.ack())

    async def _failed(self, each: _Delivery, error: Exception) -> None:
        consumer, sequence = self._consumer, each.sequence
        passing = _passes(error)
        attempts = self._failures.pop(sequence, 0) + 1
        spent = attempts >= consumer.deliver_limit or each.incoming.delivered >= (
            consumer.deliver_limit * _DELIVER_LIMIT_FACTOR
        )
        if spent and not passing:
            await self._bury(each.given, each.incoming, f"{type(error).__name__}: {error}")
            return
        if not passing:
            self._failures[sequence] = attempts
            if len(self._failures) > _REMEMBERED_FAILURES:
                self._failures.popitem(last=False)
        await self._come_again(each, error)

    async def _come_again(self, each: _Delivery, error: Exception) -> None:
        consumer, delivered = self._consumer, each.incoming.delivered
        delay = consumer.backoff_seconds[min(delivered, len(consumer.backoff_seconds)) - 1]
        self._count("failed")
        _LOG.warning(
            "message failed and comes again",
            consumer=consumer.name,
            message=each.incoming.message_id,
            delivered=delivered,
            delay_seconds=delay,
            exc_info=None if _passes(error) else error,
        )
        await self._settle(each.given.nak(delay=delay))

    async def _bury(self, each: Msg, incoming: IncomingMessage | None, reason: str) -> None:
        """Put the message, as it came, into DEAD with the reason; only then tell NATS not to deliver it again."""
        consumer = self._consumer
        sequence = each.metadata.sequence.stream
        headers = {
            **{name: value for name, value in (each.headers or {}).items() if not name.startswith("Nats-")},
            # Its own id, because two consumers may bury the same message.
            messages.MESSAGE_ID_HEADER: f"dead-{consumer.name}-{consumer.stream}-{sequence}",
            "holdfast-dead-reason": " ".join(reason.split())[:_REASON_MAX] or "unknown",
            "holdfast-dead-consumer": consumer.name,
        }
        try:
            if incoming is not None and consumer.skip is not None:
                await consumer.skip(incoming)
            await self._messaging.publish_dead(f"dead.{consumer.name}.{each.subject}", each.data, headers)
        except Exception as error:  # noqa: BLE001 (skip is the service's; nothing may be lost by its failing)
            _LOG.warning("message could not be buried yet", consumer=consumer.name, cause=type(error).__name__)
            await self._settle(each.nak(delay=consumer.backoff_seconds[-1]))
            return
        self._failures.pop(sequence, None)
        self._count("dead")
        _LOG.error("message is dead", consumer=consumer.name, subject=each.subject, sequence=sequence, reason=reason)
        await self._settle(each.term())

    async def _settle(self, answer: Awaitable[None]) -> None:
        """Tell NATS; if that fails, it delivers again, which positions and keys make harmless."""
        with contextlib.suppress(nats.errors.Error, OSError):
            await answer

    def _measure(self, each: Msg, begin: float) -> None:
        metrics = self._messaging.metrics
        if metrics is None:
            return
        name = self._consumer.name
        metrics.consumer_duration_seconds.labels(name).observe(asyncio.get_running_loop().time() - begin)
        # Since NATS stored it; two machines' clocks may differ, hence never below nothing.
        age = datetime.now(UTC) - each.metadata.timestamp
        metrics.consumer_lag_seconds.labels(name).set(max(0.0, age.total_seconds()))

    def _count(self, outcome: str, number: int = 1) -> None:
        if self._messaging.metrics is not None:
            self._messaging.metrics.consumer_messages_total.labels(self._consumer.name, outcome).inc(number)


def _passes(error: Exception) -> bool:
    """Tell whether an error is of something that is away for now, not of the message."""
    return isinstance(error, DomainError) and error.reason in _PASSING
