"""The connection to NATS JetStream: publish with acknowledgement, consume with dead letters, reconnect for ever."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import nats.errors
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import NoStreamResponseError
from opentelemetry.trace import SpanKind

from holdfast.common import message as messages
from holdfast.common import streams, telemetry
from holdfast.common.consuming import Consuming
from holdfast.common.errors import DomainError, Reason
from holdfast.common.listening import Listening
from holdfast.common.message import IncomingMessage, OutgoingMessage, PoisonMessage, outgoing
from holdfast.common.metrics import Metrics

__all__ = [
    "Consumer",
    "IncomingMessage",
    "Messaging",
    "OutgoingMessage",
    "PoisonMessage",
    "PublishError",
    "outgoing",
]

_LOG = structlog.get_logger("holdfast.messaging")
_CONCURRENT_AGGREGATES: Final = 64
_CONNECT_SECONDS: Final = 3
_RECONNECT_SECONDS: Final = 0.25
_PING_SECONDS: Final = 10
_CLOSE_SECONDS: Final = 5.0
_BACKOFF_SECONDS_MAX: Final = 2.0


class PublishError(Exception):
    """Not all messages were published. `published` were acknowledged; `failed` were not, or not known to be.

    A message behind a failed one of its aggregate was not tried and is in `failed`. `stream_missing` tells that NATS
    has no such stream: it lost its storage.
    """

    def __init__(
        self,
        *,
        published: Sequence[OutgoingMessage],
        failed: Sequence[OutgoingMessage],
        stream_missing: bool,
        cause: str,
    ) -> None:
        super().__init__(f"{len(failed)} of {len(failed) + len(published)} messages were not published: {cause}")
        self.published = tuple(published)
        self.failed = tuple(failed)
        self.stream_missing = stream_missing


@dataclass(frozen=True)
class Consumer:
    """A durable consumer of a stream.

    `handler` applies one message and returns; then it is acknowledged. PoisonMessage goes to DEAD at once. Another
    error is tried again after `backoff_seconds` (the last one for all further attempts), and after `deliver_limit`
    attempts the message goes to DEAD; errors of a dependency (DEPENDENCY_UNAVAILABLE, OVERLOADED) are tried for ever.
    `skip` is called before a message goes to DEAD, when its headers could be read, to move the position past it.
    Messages of one aggregate are handled in order, of at most `concurrency` aggregates at the same time.

    `run_handler`, if there is one, gets what has gathered of an aggregate instead: messages of consecutive versions, at
    most `pulling.BATCH`, to be applied all or none; they are acknowledged together. If it fails, `handler` gets them
    one by one, so that only what is wrong with one of them keeps that one back; a dependency that is away sends all of
    them back. Such a consumer rests 0.1 s after work, for more to gather.
    """

    name: str
    stream: str
    subjects: tuple[str, ...]
    handler: Callable[[IncomingMessage], Awaitable[None]]
    run_handler: Callable[[Sequence[IncomingMessage]], Awaitable[None]] | None = None
    backoff_seconds: tuple[float, ...] = (0.1, 0.5, 2.0, 10.0)
    deliver_limit: int = 8
    skip: Callable[[IncomingMessage], Awaitable[None]] | None = None
    concurrency: int = 8
    handler_timeout_seconds: float = 20.0


@dataclass(slots=True)
class _Outcome:
    published: list[OutgoingMessage] = field(default_factory=list)
    failed: list[OutgoingMessage] = field(default_factory=list)
    stream_missing: bool = False
    cause: str = ""


class Messaging:
    """A service's connection to NATS.

    `start` returns at once: a service serves while NATS is down. `streams` are those that the service publishes to.
    """

    def __init__(
        self,
        *,
        url: str,
        service: str,
        publishes: Sequence[str] = (),
        metrics: Metrics | None = None,
        publish_timeout_seconds: float = 5.0,
    ) -> None:
        self.service = service
        self.metrics = metrics
        self._url = url
        self._publishes = tuple(publishes)
        self._publish_timeout_seconds = publish_timeout_seconds
        self._client: Client | None = None
        self._declared = False
        self._keeper: asyncio.Task[None] | None = None
        self._up = asyncio.Event()
        self._in_flight: set[asyncio.Timeout] = set()
        self.generation = 0
        """Counts connections: a new number means that NATS may have forgotten something."""

    @property
    def ready(self) -> bool:
        """Whether NATS is connected and has the streams that this service publishes to."""
        return self._client is not None and self._client.is_connected and self._declared

    async def start(self) -> None:
        """Begin to connect, in the background and without end."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep_connected())

    async def close(self) -> None:
        """Close the connection. Stop consumers first."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait((self._keeper,), timeout=_CLOSE_SECONDS)
            self._keeper = None

    async def wait_ready(self, *, timeout_seconds: float) -> bool:
        """Wait until `ready`, at most so long, and say whether it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while not self.ready:
                    await self._up.wait()
                    if not self.ready:
                        await asyncio.sleep(_RECONNECT_SECONDS / 5)
        return self.ready

    def context(self) -> JetStreamContext:
        """Return the JetStream context of the connection; DomainError DEPENDENCY_UNAVAILABLE without one."""
        client = self._client
        if client is None or not client.is_connected:
            raise _unavailable()
        return client.jetstream()

    def client(self) -> Client:
        """Return the current connection. Raises DomainError DEPENDENCY_UNAVAILABLE without one."""
        client = self._client
        if client is None or not client.is_connected:
            raise _unavailable()
        return client

    async def stream_identity(self, stream: str) -> str:
        """Declare the stream and return what tells it from one made anew after NATS lost its storage."""
        try:
            return await streams.declare(self.context(), stream)
        except nats.errors.Error as error:
            raise _unavailable() from error

    async def publish(self, outgoing_messages: Sequence[OutgoingMessage], *, until: float | None = None) -> None:
        """Publish all and wait for JetStream's acknowledgements.

        Messages of one aggregate go one after the other, in the order given, and none passes one that failed.
        What is not acknowledged by `until` (`loop.time()`), or when the connection is lost, has failed. Raises
        PublishError.
        """
        by_aggregate: dict[str, list[OutgoingMessage]] = {}
        for each in outgoing_messages:
            by_aggregate.setdefault(each.aggregate_id, []).append(each)
        outcome = _Outcome()
        limit = asyncio.Semaphore(_CONCURRENT_AGGREGATES)

        async def in_order(group: list[OutgoingMessage]) -> None:
            async with limit:
                await self._publish_group(group, outcome, until)

        async with asyncio.TaskGroup() as tasks:
            for group in by_aggregate.values():
                tasks.create_task(in_order(group))
        if outcome.failed:
            raise PublishError(
                published=outcome.published,
                failed=outcome.failed,
                stream_missing=outcome.stream_missing,
                cause=outcome.cause,
            )

    async def consume(self, consumer: Consumer, stop: asyncio.Event) -> None:
        """Consume until `stop` is set; survives every restart of NATS, and the loss of its storage."""
        await Consuming(self, consumer).run(stop)

    async def listen(self, subject: str, handler: Callable[[IncomingMessage], None], stop: asyncio.Event) -> None:
        """Hear what is published under a subject, until `stop` is set; nothing is kept for who is away.

        `handler` must not block. Messages may come twice, in another order, or not at all.
        """
        await Listening(self, subject, handler).run(stop)

    async def publish_dead(self, subject: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Publish to the stream DEAD, which is made if it is missing. Raises nats.errors.Error or DomainError."""
        context = self.context()
        try:
            await context.publish(
                subject, body, timeout=self._publish_timeout_seconds, stream="DEAD", headers=dict(headers)
            )
        except NoStreamResponseError:
            await streams.declare(context, "DEAD")
            await context.publish(
                subject, body, timeout=self._publish_timeout_seconds, stream="DEAD", headers=dict(headers)
            )

    async def _publish_group(self, group: list[OutgoingMessage], outcome: _Outcome, until: float | None) -> None:
        for number, each in enumerate(group):
            try:
                async with asyncio.timeout_at(until) as scope:
                    self._in_flight.add(scope)
                    try:
                        await self._publish_one(each)
                    finally:
                        self._in_flight.discard(scope)
            except NoStreamResponseError:
                outcome.stream_missing = True
                cause = "no such stream"
            except (nats.errors.Error, DomainError, TimeoutError, OSError, ValueError) as error:
                # ValueError is the client's word for headers or subjects it cannot write.
                cause = f"{type(error).__name__}: {error}"
            else:
                outcome.published.append(each)
                continue
            outcome.cause = cause
            outcome.failed.extend(group[number:])
            return

    async def _publish_one(self, each: OutgoingMessage) -> None:
        with telemetry.span(
            f"publish {each.type}",
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.system": "nats",
                "messaging.operation.type": "send",
                "messaging.destination.name": each.subject,
                "messaging.message.id": each.message_id,
            },
            traceparent=each.traceparent,
        ) as span:
            await self._send(each, each.traceparent if span is None else telemetry.current_traceparent())

    async def _send(self, each: OutgoingMessage, traceparent: str | None) -> None:
        await self.context().publish(
            each.subject,
            each.body,
            timeout=self._publish_timeout_seconds,
            stream=messages.stream_of(each.subject),
            headers=messages.headers(each, service=self.service, traceparent=traceparent),
        )

    async def _keep_connected(self) -> None:
        """Connect, stay, and connect anew should the client ever give up."""
        pause = _RECONNECT_SECONDS
        while True:
            closed = asyncio.Event()
            client = Client()
            try:
                await self._connect(client, closed)
                pause = _RECONNECT_SECONDS
                await self._declare_all(client)
                await closed.wait()
                _LOG.warning("connection to NATS closed", service=self.service)
            except (nats.errors.Error, OSError, TimeoutError) as error:
                _LOG.info("no connection to NATS yet", service=self.service, cause=type(error).__name__)
            finally:
                self._client = None
                self._declared = False
                self._up.clear()
                await self._close_client(client)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _BACKOFF_SECONDS_MAX)

    async def _connect(self, client: Client, closed: asyncio.Event) -> None:
        async def lost() -> None:
            self._declared = False
            self._up.clear()
            # Nobody will answer what was asked over the connection that is gone.
            now = asyncio.get_running_loop().time()
            for scope in tuple(self._in_flight):
                scope.reschedule(now)
            _LOG.info("lost NATS", service=self.service)

        async def again() -> None:
            self.generation += 1
            _LOG.info("NATS is back", service=self.service)
            await self._declare_all(client)

        async def over() -> None:
            closed.set()

        async def failed(error: Exception) -> None:
            _LOG.debug("NATS client", service=self.service, cause=type(error).__name__)

        async with asyncio.timeout(_CONNECT_SECONDS):
            await client.connect(
                servers=[self._url],
                name=f"holdfast-{self.service}",
                error_cb=failed,
                disconnected_cb=lost,
                reconnected_cb=again,
                closed_cb=over,
                connect_timeout=_CONNECT_SECONDS,
                reconnect_time_wait=_RECONNECT_SECONDS,  # type: ignore[arg-type] # the library only sleeps so long
                max_reconnect_attempts=-1,
                ping_interval=_PING_SECONDS,
                max_outstanding_pings=2,
            )
        self._client = client
        self.generation += 1

    async def _declare_all(self, client: Client) -> None:
        """Declare what this service publishes to; JetStream may answer later than NATS itself after a restart."""
        while client.is_connected:
            try:
                for stream in self._publishes:
                    await streams.declare(client.jetstream(), stream)
            except (nats.errors.Error, TimeoutError) as error:
                _LOG.info("JetStream does not answer yet", service=self.service, cause=type(error).__name__)
                await asyncio.sleep(_RECONNECT_SECONDS)
            else:
                self._declared = True
                self._up.set()
                return

    async def _close_client(self, client: Client) -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await client.close()


def _unavailable() -> DomainError:
    return DomainError(
        Reason.DEPENDENCY_UNAVAILABLE,
        "the message system does not answer",
        metadata={"dependency": "nats"},
        retry_after_seconds=1.0,
    )
