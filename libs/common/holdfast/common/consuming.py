"""The loop of one durable consumer: pull, hand over in order per aggregate, acknowledge, back off, bury the dead."""

import asyncio
import contextlib
import json
from collections import OrderedDict
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from opentelemetry.trace import SpanKind

from holdfast.common import message as messages
from holdfast.common import streams, telemetry
from holdfast.common.errors import DomainError, Reason
from holdfast.common.message import IncomingMessage, PoisonMessage

if TYPE_CHECKING:
    from holdfast.common.messaging import Consumer, Messaging

_LOG = structlog.get_logger("holdfast.consumer")

BATCH: Final = 64
PULL_SECONDS: Final = 2.0
# A pull that NATS forgot, because it restarted, is repeated when nothing came for so long after its end.
_PULL_SLACK_SECONDS: Final = 0.5
_BACKOFF_SECONDS_FIRST: Final = 0.1
_BACKOFF_SECONDS_MAX: Final = 2.0
_REMEMBERED_FAILURES: Final = 10_000
# Deliveries, counted by NATS, after which a failing message is dead even if this process did not see it fail before.
_DELIVER_LIMIT_FACTOR: Final = 10
_REASON_MAX: Final = 500
_PASSING: Final = frozenset(
    {Reason.DEPENDENCY_UNAVAILABLE, Reason.OVERLOADED, Reason.DEADLINE_EXCEEDED, Reason.RATE_LIMITED}
)
_OVER: Final = frozenset({"404", "408"})


class _ConsumerMissingError(Exception):
    """NATS does not know the consumer, or is not there: declare it again."""


class Consuming:
    """One durable consumer at work; made by `Messaging.consume`."""

    def __init__(self, messaging: "Messaging", consumer: "Consumer") -> None:
        self._messaging = messaging
        self._consumer = consumer
        self._failures: OrderedDict[int, int] = OrderedDict()

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set; whatever fails is logged and begun anew, after a bounded pause."""
        pause = _BACKOFF_SECONDS_FIRST
        while not stop.is_set():
            try:
                await self._session(stop)
                pause = _BACKOFF_SECONDS_FIRST
            except _ConsumerMissingError:
                _LOG.info("consumer is declared again", consumer=self._consumer.name)
            except (DomainError, nats.errors.Error, OSError, TimeoutError) as error:
                _LOG.info("consumer waits for NATS", consumer=self._consumer.name, cause=type(error).__name__)
            if await _set_within(stop, pause):
                return
            pause = min(pause * 2, _BACKOFF_SECONDS_MAX)

    async def _session(self, stop: asyncio.Event) -> None:
        """Consume over one subscription, until `stop` or until the connection or the consumer is gone."""
        client = self._messaging.client()
        consumer = self._consumer
        await streams.declare_consumer(
            client.jetstream(), consumer.stream, name=consumer.name, subjects=consumer.subjects
        )
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox)
        try:
            while not stop.is_set():
                if client.is_closed:
                    raise _ConsumerMissingError
                await self._pull(client, subscription, inbox, stop)
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def _pull(self, client: Client, subscription: Subscription, inbox: str, stop: asyncio.Event) -> None:
        """Ask for up to a batch and handle it as it comes, until the request is used up or over."""
        request = {"batch": BATCH, "expires": int(PULL_SECONDS * 1e9)}
        await client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._consumer.stream}.{self._consumer.name}",
            json.dumps(request).encode(),
            reply=inbox,
        )
        open_requests = BATCH
        while open_requests > 0:
            batch, over = await self._receive(subscription, stop)
            open_requests -= len(batch)
            await self._handle_all(batch, stop)
            if over or stop.is_set():
                return

    async def _receive(self, subscription: Subscription, stop: asyncio.Event) -> tuple[list[Msg], bool]:
        """Wait for the next message and take those that are there with it; the flag says that no more will come."""
        first = asyncio.create_task(subscription.next_msg(timeout=PULL_SECONDS + _PULL_SLACK_SECONDS))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((first, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not first.done():
                return [], True
            try:
                found = [first.result()]
            except nats.errors.TimeoutError:
                return [], True
        finally:
            for task in (first, stopped):
                task.cancel()
            await asyncio.gather(first, stopped, return_exceptions=True)
        while len(found) < BATCH and subscription.pending_msgs > 0:
            found.append(await subscription.next_msg(timeout=PULL_SECONDS))
        return self._sorted_out(found)

    def _sorted_out(self, found: list[Msg]) -> tuple[list[Msg], bool]:
        """Separate messages from what NATS says about the request."""
        batch: list[Msg] = []
        over = False
        for each in found:
            status = None if each.reply else (each.headers or {}).get("Status")
            if status is None:
                batch.append(each)
            elif status in _OVER:
                over = True
            elif status != "100":
                if batch:
                    over = True  # handle what came first; the next request hears of it again
                    continue
                raise _ConsumerMissingError
        return batch, over

    async def _handle_all(self, batch: list[Msg], stop: asyncio.Event) -> None:
        groups: dict[str, list[Msg]] = {}
        for each in batch:
            groups.setdefault((each.headers or {}).get("holdfast-aggregate", ""), []).append(each)
        limit = asyncio.Semaphore(self._consumer.concurrency)

        async def in_order(group: list[Msg]) -> None:
            async with limit:
                for each in group:
                    if stop.is_set():
                        await self._settle(each.nak())  # another replica, or the next start, gets it at once
                    else:
                        await self._handle(each)

        async with asyncio.TaskGroup() as tasks:
            for group in groups.values():
                tasks.create_task(in_order(group))

    async def _handle(self, each: Msg) -> None:
        try:
            incoming = messages.incoming(
                each.subject, each.data, each.headers, delivered=each.metadata.num_delivered or 1
            )
        except PoisonMessage as poison:
            await self._bury(each, None, str(poison))
            return
        await self._settle(each.in_progress())
        with telemetry.span(
            f"consume {incoming.type}",
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "nats",
                "messaging.operation.type": "process",
                "messaging.consumer.group.name": self._consumer.name,
                "messaging.destination.name": incoming.subject,
                "messaging.message.id": incoming.message_id,
            },
            traceparent=incoming.traceparent,
        ):
            await self._apply(each, incoming)

    async def _apply(self, each: Msg, incoming: IncomingMessage) -> None:
        consumer = self._consumer
        sequence = each.metadata.sequence.stream
        begin = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(consumer.handler_timeout_seconds):
                await consumer.handler(incoming)
        except PoisonMessage as poison:
            await self._bury(each, incoming, str(poison))
        except Exception as error:  # noqa: BLE001 (a handler may fail in any way; the loop goes on)
            attempts = self._failures.pop(sequence, 0) + 1
            passing = isinstance(error, DomainError) and error.reason in _PASSING
            spent = attempts >= consumer.deliver_limit or incoming.delivered >= (
                consumer.deliver_limit * _DELIVER_LIMIT_FACTOR
            )
            if spent and not passing:
                await self._bury(each, incoming, f"{type(error).__name__}: {error}")
                return
            if not passing:
                self._failures[sequence] = attempts
                if len(self._failures) > _REMEMBERED_FAILURES:
                    self._failures.popitem(last=False)
            delay = consumer.backoff_seconds[min(incoming.delivered, len(consumer.backoff_seconds)) - 1]
            self._count("failed")
            _LOG.warning(
                "message failed and comes again",
                consumer=consumer.name,
                message=incoming.message_id,
                delivered=incoming.delivered,
                delay_seconds=delay,
                exc_info=None if passing else error,
            )
            await self._settle(each.nak(delay=delay))
        else:
            self._failures.pop(sequence, None)
            self._count("applied")
            self._measure(each, begin)
            await self._settle(each.ack())

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

    def _count(self, outcome: str) -> None:
        if self._messaging.metrics is not None:
            self._messaging.metrics.consumer_messages_total.labels(self._consumer.name, outcome).inc()


async def _set_within(stop: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()
