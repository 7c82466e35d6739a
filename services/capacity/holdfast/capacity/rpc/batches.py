"""BatchMutateHolds: calls that change holds and arrived together, each a call of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from holdfast.api.capacity.v1 import hold_service_pb2 as pb
from holdfast.api.common.v1 import error_reason_pb2
from holdfast.capacity.rpc.mutations import Immediate
from holdfast.common.errors import DomainError, Reason
from holdfast.common.rpc_faults import time_over
from holdfast.common.rpc_item import Item
from holdfast.common.rpc_method import snake_case

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from google.protobuf.message import Message

    from holdfast.capacity.engine.queues import Item as Waiting
    from holdfast.common.rpc_call import Call
    from holdfast.common.rpc_item import Entry, ItemDoor, Outcome
    from holdfast.common.rpc_server import RpcServer

OUTCOMES_MAX: Final = 200
"""Outcomes in one answer: the largest holds there are, so many of them, fit into a message."""
_METHODS: Final = {snake_case(each.name): each for each in pb.DESCRIPTOR.services_by_name["HoldService"].methods}
MUTATIONS: Final = tuple(field.name for field in pb.BatchMutateHoldsItem.DESCRIPTOR.oneofs_by_name["mutation"].fields)
"""What an item may ask for: the RPCs of these names."""


class BatchServicer:
    """Answers calls that change holds, each by what answers the RPC that its mutation is named after.

    `implementations` are objects as `RpcServer.add` takes them; KeyError if none has one of the mutations.
    What is `Immediate` goes its way without a task of its own, the others get one. There are as many of both as items
    in flight, and the server's limit of calls in flight bounds those.
    """

    def __init__(self, server: RpcServer, *implementations: object) -> None:
        rpcs = {name: getattr(each, name) for each in implementations for name in MUTATIONS if hasattr(each, name)}
        self._ways = {name: _Way(rpcs[name], server.item_door(_METHODS[name])) for name in MUTATIONS}

    async def batch_mutate_holds(
        self, request: pb.BatchMutateHoldsRequest, call: Call
    ) -> AsyncGenerator[pb.BatchMutateHoldsResponse]:
        """Answer many calls; gives outcomes as they come, those that are there together in one answer."""
        batch = _Batch(self._ways)
        try:
            for index, item in enumerate(request.items):
                batch.begin(index, item, call)
            left = len(request.items)
            while left:
                await batch.some.wait()
                outcomes = batch.take()
                left -= len(outcomes)
                yield pb.BatchMutateHoldsResponse(outcomes=outcomes)
        finally:
            await batch.close()


class _Way:
    """How items of one mutation are judged and answered."""

    __slots__ = ("door", "immediate", "rpc")

    def __init__(self, rpc: Callable[[Any, Call], Awaitable[Message]], door: ItemDoor) -> None:
        self.rpc = rpc
        self.door = door
        self.immediate = rpc if isinstance(rpc, Immediate) else None


class _Asked:
    """An item on its way."""

    __slots__ = ("entry", "index", "mutation", "request", "way")

    def __init__(self, index: int, mutation: str, request: Message, way: _Way, entry: Entry) -> None:
        self.index = index
        self.mutation = mutation
        self.request = request
        self.way = way
        self.entry = entry


class _Batch:
    """The items of one call, and the outcomes that were not sent yet."""

    __slots__ = ("_ready", "_tasks", "_timer", "_waiting", "_ways", "some")

    def __init__(self, ways: Mapping[str, _Way]) -> None:
        self._ways = ways
        self._ready: list[pb.HoldOutcome] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[Waiting, _Asked] = {}
        self._timer: asyncio.TimerHandle | None = None
        """Runs until the first of those that wait has no time left; one for all is cheaper than one for each."""
        self.some = asyncio.Event()

    def begin(self, index: int, item: pb.BatchMutateHoldsItem, call: Call) -> None:
        """Judge an item and let it go its way."""
        mutation: Any = item.WhichOneof("mutation")  # the contract requires one
        way, request = self._ways[mutation], getattr(item, mutation)
        asked = _Asked(index, mutation, request, way, way.door.enter(request, _item(item), call))
        entry, immediate = asked.entry, way.immediate
        if entry.call is None:
            self._settle(asked, way.door.leave(entry))
            return
        if immediate is not None and entry.span is None:
            try:
                waiting = immediate.begin(request, entry.call, done=self._decided(asked, immediate, entry.call))
            except Exception as fault:  # noqa: BLE001 (whatever it is becomes the item's refusal)
                self._settle(asked, way.door.leave(entry, fault=fault))
                return
            if waiting is not None:
                self._waiting[waiting] = asked
                self._watch(entry.deadline)
                return
        self._serve(asked)

    def _serve(self, asked: _Asked) -> None:
        task = asyncio.create_task(self._answer(asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, asked: _Asked) -> None:
        self._settle(asked, await asked.way.door.proceed(asked.entry, asked.way.rpc, asked.request))

    def _decided(self, asked: _Asked, immediate: Immediate, call: Call) -> Callable[[Waiting], None]:
        """Make what takes over the engine's answer for an item."""
        door, entry = asked.way.door, asked.entry

        def done(waiting: Waiting) -> None:
            if self._waiting.pop(waiting, None) is None:
                return  # nobody waits any more
            if waiting.error is not None:
                self._settle(asked, door.leave(entry, fault=waiting.error))
                return
            try:
                response = immediate.answer(waiting.result, asked.request, call)
            except Exception as fault:  # noqa: BLE001 (the engine's other callers have nothing to do with it)
                self._settle(asked, door.leave(entry, fault=fault))
                return
            if response is not None:
                self._settle(asked, door.leave(entry, response=response))
            else:
                self._serve(asked)

        return done

    def _watch(self, deadline: float) -> None:
        if self._timer is None or deadline < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_at(deadline, self._time_over)

    def _time_over(self) -> None:
        """Answer those whose time is over. What is being committed goes on, and their keys tell what became of it."""
        self._timer = None
        now = asyncio.get_running_loop().time()
        for waiting, asked in list(self._waiting.items()):
            if asked.entry.deadline <= now:
                self._forget(waiting, asked, time_over())
        if self._waiting:
            self._watch(min(asked.entry.deadline for asked in self._waiting.values()))

    def _forget(self, waiting: Waiting, asked: _Asked, error: DomainError) -> None:
        del self._waiting[waiting]
        waiting.leave()
        self._settle(asked, asked.way.door.leave(asked.entry, fault=error))

    def _settle(self, asked: _Asked, outcome: Outcome) -> None:
        self._ready.append(_outcome_message(asked, outcome))
        self.some.set()

    def take(self) -> list[pb.HoldOutcome]:
        """Give outcomes that were not given yet, as many as fit into an answer."""
        outcomes = self._ready[:OUTCOMES_MAX]
        del self._ready[:OUTCOMES_MAX]
        if not self._ready:
            self.some.clear()
        return outcomes

    async def close(self) -> None:
        """Forget what was not begun; what is being committed ends, and the items' keys tell what became of them."""
        if self._timer is not None:
            self._timer.cancel()
        for waiting, asked in list(self._waiting.items()):
            self._forget(waiting, asked, DomainError(Reason.CANCELLED, "the caller went away"))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _item(item: pb.BatchMutateHoldsItem) -> Item:
    return Item(
        principal=item.principal.SerializeToString() if item.HasField("principal") else None,
        timeout_seconds=item.timeout_milliseconds / 1000,
        traceparent=item.traceparent,
    )


def _outcome_message(asked: _Asked, outcome: Outcome) -> pb.HoldOutcome:
    if outcome.error is not None:
        return pb.HoldOutcome(index=asked.index, refusal=_refusal_message(outcome.error))
    answer: dict[str, Any] = {asked.mutation: outcome.response}
    return pb.HoldOutcome(index=asked.index, replayed=outcome.replayed, **answer)


def _refusal_message(error: DomainError) -> pb.HoldRefusal:
    retry_after = error.retry_after_seconds
    return pb.HoldRefusal(
        reason=error_reason_pb2.Error.Reason.Value(error.reason.value),
        message=error.message,
        metadata=error.metadata,
        violations=[pb.HoldViolation(field=each.field, message=each.message) for each in error.violations],
        retry_after_milliseconds=None if retry_after is None else max(0, round(retry_after * 1000)),
    )
