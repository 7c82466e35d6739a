"""Calls that change a hold: what both a call of its own and an item of a batch do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

from holdfast.capacity.engine.queues import Item

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.message import Message
    from prometheus_client import Counter

    from holdfast.api.capacity.v1 import hold_service_pb2 as pb
    from holdfast.capacity.engine.unit import Command
    from holdfast.capacity.operations.holds import Outcome
    from holdfast.capacity.rpc.events_of import EventsOf
    from holdfast.capacity.rpc.front import Front
    from holdfast.common.rpc_call import Call

Rq = TypeVar(
    "Rq", bound="pb.ConfirmHoldRequest | pb.ReleaseHoldRequest | pb.ExtendHoldRequest | pb.BeginPaymentRequest"
)
Rs = TypeVar("Rs", bound="Message")


@runtime_checkable
class Immediate(Protocol):
    """An RPC whose calls mostly need nothing but their turn in the engine, and then no task of their own."""

    async def __call__(self, request: Any, call: Call) -> Message:
        """Answer a call, whatever it needs."""

    def begin(self, request: Any, call: Call, *, done: Callable[[Item], None]) -> Item | None:
        """Let a call wait for its turn; `done` then gets the result. None if it needs more: then it is to be called.

        Raises what is wrong with the request, and OVERLOADED.
        """

    def answer(self, result: Any, request: Any, call: Call) -> Message | None:
        """Give the answer of what was begun; None if that needs more: then it is to be called, which is safe."""


class Mutation(Generic[Rq, Rs]):
    """An RPC that changes one hold. `command` is what a request asks of the engine, `response` how it is answered.

    `response` gives None if the answer takes more than the engine's outcome: then `more` gives it. `count` counts what
    changed anything.
    """

    def __init__(  # noqa: PLR0913 - what an RPC is made of
        self,
        front: Front,
        events: EventsOf,
        *,
        command: Callable[[Rq, Call], Command[Outcome]],
        response: Callable[[Outcome, Call], Rs | None],
        count: Counter,
        more: Callable[[Outcome, Call], Awaitable[Rs]] | None = None,
    ) -> None:
        self._front = front
        self._events = events
        self._command = command
        self._response = response
        self._count = count
        self._more = more

    async def __call__(self, request: Rq, call: Call) -> Rs:
        """Answer a call; its event is looked up if it is not known."""
        event_id = await self._events.hold(call, request.hold_id)
        outcome: Outcome = await self._front.submit(call, event_id, self._asked(request, call))
        response = self.answer(outcome, request, call)
        if response is None:
            if self._more is None:
                raise RuntimeError("an outcome without an answer")
            response = await self._more(outcome, call)
        return response

    def begin(self, request: Rq, call: Call, *, done: Callable[[Item], None]) -> Item | None:
        """Let a call wait for its turn, if the hold's event is known."""
        event_id = self._events.known_hold(call.organization_id, request.hold_id)
        if event_id is None:
            return None
        item = Item(command=self._asked(request, call), deadline=call.deadline, done=done)
        self._front.put(call.organization_id, event_id, item)
        return item

    def _asked(self, request: Rq, call: Call) -> Command[Outcome]:
        return self._front.audited_hold(call, request, self._command(request, call))

    def answer(self, outcome: Outcome, request: Rq, call: Call) -> Rs | None:
        """Give the answer, and count and tell what was done; None if it takes more than is at hand."""
        response = self._response(outcome, call)
        self._front.replayed(call, request, replayed=outcome.replayed)
        if outcome.done:
            self._count.inc()
        return response
