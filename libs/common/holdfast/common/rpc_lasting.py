"""Streams that go on until their callers leave: bounded apart from calls, ended in peace when the server stops."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any, Final

from holdfast.api.common.v1 import policy_pb2
from holdfast.common.errors import DomainError, Reason
from holdfast.common.rpc_method import Admission
from holdfast.common.rpc_stream import RpcStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.message import Message

    from holdfast.common.rpc_call import Call
    from holdfast.common.rpc_method import Context

LAST_ANSWER_SECONDS: Final = 60.0
"""How long the last answer may take to be read when a stream's time is over."""
RETRY_AFTER_SECONDS: Final = 5.0


def seconds_max(method: MethodDescriptor) -> int:
    """Tell how long a stream of an RPC goes on by its contract; 0 = it is not one of these."""
    found: int = method.GetOptions().Extensions[policy_pb2.streaming].seconds_max
    return found


class LastingStreams:
    """The lasting streams of a server: at most so many, and so many of one caller; and whether they are to end."""

    def __init__(self, *, streams_max: int, of_caller_max: int) -> None:
        self.admission = Admission(streams_max)
        self.ending = False
        self._of_caller_max = of_caller_max
        self._of_caller: Counter[tuple[str, str]] = Counter()
        self._waits: set[asyncio.Timeout] = set()

    def end(self) -> None:
        """Let all of them end, each after the answer that is being sent."""
        self.ending = True
        now = asyncio.get_running_loop().time()
        for wait in self._waits:
            wait.reschedule(now)

    @contextmanager
    def one_of(self, call: Call) -> Iterator[None]:
        """Count a stream of a caller while it is open. OVERLOADED when it is one too many."""
        caller = (call.organization_id, call.principal.subject)
        if self._of_caller[caller] >= self._of_caller_max:
            raise DomainError(
                Reason.OVERLOADED,
                "the caller has as many streams open as it may have",
                metadata={"queue": "streams"},
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        self._of_caller[caller] += 1
        try:
            yield
        finally:
            self._of_caller[caller] -= 1
            if not self._of_caller[caller]:
                del self._of_caller[caller]

    async def next_of(self, answers: AsyncIterator[Any], *, until: float) -> Any:
        """Wait for the next answer; None when the stream is over, when its time is, or when it is to end."""
        if self.ending:
            return None
        try:
            async with asyncio.timeout_at(until) as wait:
                self._waits.add(wait)
                try:
                    return await anext(answers, None)
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            if wait.expired():
                return None
            raise


class RpcLastingStream(RpcStream):
    """One RPC of a server whose streams go on until their callers leave."""

    def __init__(self, *, lasting: LastingStreams, method: MethodDescriptor, **arguments: Any) -> None:
        super().__init__(method=method, **arguments)
        self._lasting = lasting
        self._seconds_max = float(seconds_max(method))

    def _seconds_left(self, context: Context) -> float:
        if context.time_remaining() is None:
            return self._seconds_max + LAST_ANSWER_SECONDS
        return super()._seconds_left(context)

    async def _answer(self, request: Message, call: Call, context: Context) -> bytes:
        until = asyncio.get_running_loop().time() + self._seconds_max
        with self._lasting.one_of(call), self._counted():
            async with aclosing(self._handler(request, call)) as answers:
                while (answer := await self._lasting.next_of(answers, until=until)) is not None:
                    await self._send(answer, context)
        return b""
