"""What NATS delivers to one durable consumer: asked for in bounded requests, taken as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import nats.errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.aio.client import Client
    from nats.aio.msg import Msg

BATCH: Final = 64
PULL_SECONDS: Final = 2.0
# A request that NATS forgot, because it restarted, is repeated when nothing came for so long after its end.
_SLACK_SECONDS: Final = 0.5
_CLOSE_SECONDS: Final = 1.0
_OVER: Final = frozenset({"404", "408"})


class ConsumerMissingError(Exception):
    """NATS does not know the consumer, or is not there: declare it again."""


class Pull:
    """Deliveries over one subscription; made by `pulling`. At most BATCH are asked for at a time."""

    def __init__(self, client: Client, *, subject: str, inbox: str) -> None:
        self._client = client
        self._subject = subject
        self._inbox = inbox
        self._arrived: deque[Msg] = deque()
        self._something = asyncio.Event()
        self._open = 0

    async def arrive(self, message: Msg) -> None:
        """Keep what NATS sent, until it is taken."""
        self._arrived.append(message)
        self._something.set()

    def wake(self, _: object = None) -> None:
        """End the waiting of `take`."""
        self._something.set()

    async def take(self) -> list[Msg]:
        """Wait for the next delivery and take all that are there with it; none when a request ended without any.

        Raises ConsumerMissingError; nats.errors.Error when the request cannot be sent.
        """
        if self._client.is_closed:
            raise ConsumerMissingError
        if self._open <= 0 and not self._arrived:
            await self._request()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PULL_SECONDS + _SLACK_SECONDS):
                await self._something.wait()
        self._something.clear()
        if not self._arrived:
            self._open = 0
        batch: list[Msg] = []
        while self._arrived and len(batch) < BATCH:
            found = self._arrived.popleft()
            status = None if found.reply else (found.headers or {}).get("Status")
            if status is None:
                batch.append(found)
            elif status in _OVER:
                self._open = 0
            elif status != "100":
                if not batch:
                    raise ConsumerMissingError
                self._arrived.appendleft(found)  # what came first is handled first
                break
        self._open -= len(batch)
        if self._arrived:
            self._something.set()
        return batch

    async def give_back(self) -> None:
        """Let another replica, or the next start, have at once what arrived and was not taken."""
        while self._arrived:
            found = self._arrived.popleft()
            if found.reply:
                await found.nak()

    async def _request(self) -> None:
        request = {"batch": BATCH, "expires": int(PULL_SECONDS * 1e9)}
        await self._client.publish(self._subject, json.dumps(request).encode(), reply=self._inbox)
        self._open = BATCH


@asynccontextmanager
async def pulling(client: Client, *, stream: str, consumer: str, stop: asyncio.Event) -> AsyncIterator[Pull]:
    """Subscribe for the deliveries of a durable consumer; once `stop` is set, nothing is waited for any more."""
    inbox = client.new_inbox()
    pull = Pull(client, subject=f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", inbox=inbox)
    # Called for each message as it is read: much cheaper than to ask the subscription for one after the other.
    subscription = await client.subscribe(inbox, cb=pull.arrive)
    stopped = asyncio.create_task(stop.wait())
    stopped.add_done_callback(pull.wake)
    try:
        yield pull
    finally:
        stopped.cancel()
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                if client.is_connected:
                    # Ends the subscription and waits for what NATS has sent by then.
                    await subscription.drain()  # type: ignore[no-untyped-call]  # the client's, without types
                    await pull.give_back()
                else:
                    await subscription.unsubscribe()
