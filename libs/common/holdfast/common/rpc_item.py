"""One item of a batch: judged, answered, traced and counted as if it had come as a call of its own.

A batch's own call has passed the front door before; that says nothing about its items. Each is admitted, its principal
and its request are checked, it has its own deadline and trace, and a fault of it is its own refusal: the error that
a call of its own would have been answered with.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context

from holdfast.common.errors import DomainError, Reason
from holdfast.common.rpc_call import Call, current_call
from holdfast.common.rpc_faults import error_of, internal, overloaded
from holdfast.common.rpc_fields import FieldRules
from holdfast.common.rpc_policy import Gate
from holdfast.common.rpc_record import RpcRecord
from holdfast.common.telemetry import context_from, is_unrecorded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.message import Message
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from holdfast.common.metrics import Metrics
    from holdfast.common.rpc_method import Admission
    from holdfast.common.telemetry import Telemetry

ITEM_MARGIN_SECONDS: Final = 0.01
"""How much earlier than its batch an item ends, so that its outcome still leaves with the batch's answers."""


@dataclass(frozen=True, slots=True)
class Item:
    """What of a batch's item is not its request. `principal` is the message's bytes, None when there is none."""

    principal: bytes | None
    timeout_seconds: float
    traceparent: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item: a response, or the error that refuses it."""

    response: Any = None
    error: DomainError | None = None
    replayed: bool = False


@dataclass(slots=True)
class Entry:
    """An item inside the door. If `call` is None it was refused, and `leave` tells with what.

    `context` is its trace, for work that is done for it in other tasks.
    """

    deadline: float
    started: float
    traceparent: str
    trace: Context | None = None
    span: Span | None = None
    counted: bool = False
    call: Call | None = None
    refusal: Exception | None = None

    @property
    def context(self) -> Context:
        """Its trace. Of one that is not recorded it is made only where somebody looks."""
        if self.trace is None:
            self.trace = context_from(self.traceparent)
        return self.trace


class ItemDoor:
    """The front door for items that are calls of one RPC. Made by `RpcServer.item_door`.

    `serve` is a task's way through; `enter` and `leave` are its halves, for work that is not done by a task an item.
    """

    def __init__(
        self, *, method: MethodDescriptor, admission: Admission, metrics: Metrics, telemetry: Telemetry
    ) -> None:
        self.full_name = f"{method.containing_service.full_name}/{method.name}"
        self._gate = Gate(method)
        self._rules = FieldRules(method)
        self._admission = admission
        self._record = RpcRecord(self.full_name, metrics=metrics, telemetry=telemetry)

    def enter(self, request: Message, item: Item, batch: Call) -> Entry:
        """Judge an item; never raises. Whatever it gives must `leave` again, once."""
        now = asyncio.get_running_loop().time()
        entry = Entry(
            deadline=min(now + item.timeout_seconds, batch.deadline - ITEM_MARGIN_SECONDS),
            started=time.perf_counter(),
            traceparent=item.traceparent,
        )
        if not is_unrecorded(item.traceparent):
            entry.trace, entry.span = self._record.begin(item.traceparent)
        admission = self._admission
        try:
            if admission.in_flight >= admission.limit:
                raise overloaded()  # noqa: TRY301 - refused as everything else here is
            admission.in_flight += 1
            entry.counted = True
            principal = self._gate.admit(batch.peer, item.principal)
            self._rules.check(request)
            entry.call = Call(principal=principal, peer=batch.peer, deadline=entry.deadline)
        except Exception as fault:  # noqa: BLE001 - whatever it is becomes the item's refusal
            entry.refusal = fault
        return entry

    def leave(self, entry: Entry, *, response: Message | None = None, fault: Exception | None = None) -> Outcome:
        """Note what became of an item, and give it."""
        fault = fault or entry.refusal
        error = None
        if fault is not None:
            error = error_of(fault, rpc=self.full_name, call=entry.call, context=entry.context)
        self._end(entry, error)
        if error is not None:
            return Outcome(error=error)
        return Outcome(response=response, replayed=entry.call is not None and entry.call.replayed)

    async def serve(
        self, handler: Callable[[Any, Call], Awaitable[Message]], request: Message, item: Item, batch: Call
    ) -> Outcome:
        """Answer one item by a handler. Run it in a task of its own: the item's trace and call become the task's.

        Raises nothing, but when the task is cancelled: then nobody waits for the outcome any more.
        """
        return await self.proceed(self.enter(request, item, batch), handler, request)

    async def proceed(
        self, entry: Entry, handler: Callable[[Any, Call], Awaitable[Message]], request: Message
    ) -> Outcome:
        """Answer an item that has entered, as `serve` does."""
        call = entry.call
        if call is None:
            return self.leave(entry)
        otel_context.attach(entry.context)
        current_call.set(call)
        try:
            async with asyncio.timeout_at(entry.deadline):
                response = await handler(request, call)
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self._end(entry, DomainError(Reason.CANCELLED, "the caller went away"))
                raise
            # Something that the handler waited for was cancelled, not the item.
            return self.leave(entry, fault=internal(cancelled, rpc=self.full_name, context=entry.context))
        except Exception as fault:  # noqa: BLE001 - whatever it is becomes the item's refusal
            return self.leave(entry, fault=fault)
        return self.leave(entry, response=response)

    def _end(self, entry: Entry, error: DomainError | None) -> None:
        if entry.counted:
            self._admission.in_flight -= 1
        # A sold-out rush is a refusal an item, hundreds a batch: a line each would cost more than the refusing.
        self._record.end(
            entry.span, call=entry.call, error=error, seconds=time.perf_counter() - entry.started, quiet=True
        )
