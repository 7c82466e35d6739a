"""What tests hear on NATS."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import nats
import nats.errors
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from holdfast.common.messaging import Messaging

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.aio.msg import Msg


@asynccontextmanager
async def connected(url: str, **settings: Any) -> AsyncIterator[Messaging]:
    """A connected Messaging that publishes to EVENTS."""
    made = Messaging(**{"url": url, "service": "events", "publishes": ("EVENTS",), **settings})
    await made.start()
    try:
        assert await made.wait_ready(timeout_seconds=10)
        yield made
    finally:
        await made.close()


async def stored(url: str, stream: str, subject: str) -> list[Msg]:
    """Everything that a stream keeps of a subject, in its order; read with a client of the test's own."""
    client = await nats.connect(url, max_reconnect_attempts=1, connect_timeout=2)
    try:
        context = client.jetstream()
        subscription = await context.pull_subscribe(
            subject,
            stream=stream,
            config=ConsumerConfig(deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, filter_subject=subject),
        )
        info = await subscription.consumer_info()
        found: list[Msg] = []
        while len(found) < (info.num_pending or 0):
            found += await subscription.fetch(batch=1, timeout=2)
        return found
    finally:
        await client.close()


def versions(messages: list[Msg]) -> list[int]:
    """The versions that messages carry."""
    return [int((each.headers or {})["holdfast-version"]) for each in messages]
