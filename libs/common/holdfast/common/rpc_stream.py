"""An RPC that answers a stream: the front door's one pass, with many answers at its end."""

from __future__ import annotations

from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import grpc

from holdfast.common.errors import DomainError, Reason
from holdfast.common.rpc_method import RpcMethod

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

    from holdfast.common.rpc_call import Call
    from holdfast.common.rpc_method import Context


class RpcStream(RpcMethod):
    """One RPC of a server, served by an asynchronous generator of its answers.

    The generator is pulled, never pushed: it goes on once gRPC's flow control has taken the answer before, so a caller
    that reads slowly costs one answer of memory. It is closed when the call ends, however it does: by itself, by a
    caller that leaves, by the deadline, by the end of the server's drain.
    """

    answers_a_stream: ClassVar[bool] = True

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._open = self._metrics.rpc_streams_open.labels(self.full_name)

    async def _answer(self, request: Message, call: Call, context: Context) -> bytes:
        with self._counted():
            async with aclosing(self._handler(request, call)) as answers:
                async for answer in answers:
                    await self._send(answer, context)
        return b""

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._open.inc()
        try:
            yield
        finally:
            self._open.dec()

    async def _send(self, answer: Message, context: Context) -> None:
        """Send an answer once gRPC's flow control has taken the one before."""
        raw = self._bytes_of(answer)
        try:
            await context.write(raw)
        except grpc.aio.InternalError:  # What gRPC says of a call that is over, before it cancels us.
            raise DomainError(Reason.CANCELLED, "the caller went away") from None
