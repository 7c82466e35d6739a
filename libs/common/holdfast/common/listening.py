"""Hearing messages while they are published, without a place in the stream: nothing is kept for who is away.

For what can be read again elsewhere, such as copies in memory. Who must not miss a message is a Consumer.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import nats.errors
import structlog

from holdfast.common import message as messages
from holdfast.common.errors import DomainError
from holdfast.common.message import IncomingMessage, PoisonMessage

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.msg import Msg

    from holdfast.common.messaging import Messaging

_LOG = structlog.get_logger("holdfast.listening")

PENDING_MAX: Final = 4_096
PENDING_BYTES_MAX: Final = 64 * 1024 * 1024
"""What waits here beyond these is dropped."""
_LOOK_SECONDS: Final = 1.0


class Listening:
    """One subject heard; made by `Messaging.listen`. `handler` must not block, and what it raises ends nothing."""

    def __init__(self, messaging: Messaging, subject: str, handler: Callable[[IncomingMessage], None]) -> None:
        self._messaging = messaging
        self._subject = subject
        self._handler = handler

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until `stop` is set. The connection finds its way back by itself; a new one is listened to anew."""
        while not stop.is_set():
            try:
                await self._session(stop)
            except (DomainError, nats.errors.Error, OSError) as error:
                _LOG.debug("nobody to listen to", subject=self._subject, cause=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await stop.wait()

    async def _session(self, stop: asyncio.Event) -> None:
        client = self._messaging.client()
        subscription = await client.subscribe(
            self._subject,
            cb=self._hear,
            pending_msgs_limit=PENDING_MAX,
            pending_bytes_limit=PENDING_BYTES_MAX,
        )
        try:
            while not client.is_closed:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await stop.wait()
                        return
        finally:
            with contextlib.suppress(nats.errors.Error, OSError):
                await subscription.unsubscribe()

    async def _hear(self, each: Msg) -> None:
        try:
            incoming = messages.incoming(each.subject, each.data, each.headers, delivered=1)
        except PoisonMessage as poison:
            _LOG.info("what was heard is no message", subject=each.subject, reason=str(poison))
            return
        try:
            self._handler(incoming)
        except Exception:  # noqa: BLE001 (a handler may fail in any way; what comes next is heard all the same)
            _LOG.exception("what was heard was not understood", subject=each.subject)
