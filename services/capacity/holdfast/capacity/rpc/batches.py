"""BatchPlaceHolds: holds that arrived together, each a call of PlaceHold of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from holdfast.api.capacity.v1 import hold_service_pb2 as pb
from holdfast.api.common.v1 import error_reason_pb2
from holdfast.common.rpc_item import Item

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from holdfast.capacity.engine.queues import Item as Waiting
    from holdfast.capacity.rpc.placing import Placing
    from holdfast.common.errors import DomainError
    from holdfast.common.rpc_call import Call
    from holdfast.common.rpc_item import Entry, ItemDoor, Outcome

    PlaceHold = Callable[[pb.PlaceHoldRequest, Call], Awaitable[pb.PlaceHoldResponse]]

OUTCOMES_MAX: Final = 200
"""Outcomes in one answer: the largest holds there are, so many of them, fit into a message."""


class BatchServicer:
    """Places holds in batches. `place_hold` is what answers PlaceHold, `door` judges items as calls of it.

    A hold that needs nothing but its turn goes there by the `shortcut`, without a task of its own; the others get one.
    There are as many of both as items in flight, and the server's limit of calls in flight bounds those.
    """

    def __init__(self, place_hold: PlaceHold, *, door: ItemDoor, shortcut: Placing | None = None) -> None:
        self._place_hold = place_hold
        self._door = door
        self._shortcut = shortcut

    async def batch_place_holds(
        self, request: pb.BatchPlaceHoldsRequest, call: Call
    ) -> AsyncGenerator[pb.BatchPlaceHoldsResponse]:
        """Place many holds; gives outcomes as they come, those that are there together in one answer."""
        batch = _Batch(self._place_hold, self._door, self._shortcut)
        try:
            for index, item in enumerate(request.items):
                batch.begin(index, item, call)
            left = len(request.items)
            while left:
                await batch.some.wait()
                outcomes = batch.take()
                left -= len(outcomes)
                yield pb.BatchPlaceHoldsResponse(outcomes=outcomes)
        finally:
            await batch.close()


class _Batch:
    """The items of one call, and the outcomes that were not sent yet."""

    __slots__ = ("_door", "_place_hold", "_ready", "_shortcut", "_tasks", "_waiting", "some")

    def __init__(self, place_hold: PlaceHold, door: ItemDoor, shortcut: Placing | None) -> None:
        self._place_hold = place_hold
        self._door = door
        self._shortcut = shortcut
        self._ready: list[pb.PlaceHoldOutcome] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: set[Waiting] = set()
        self.some = asyncio.Event()

    def begin(self, index: int, item: pb.BatchPlaceHoldsItem, call: Call) -> None:
        """Judge an item and let it go its way."""
        entry = self._door.enter(item.request, _item(item), call)
        own = entry.call
        if own is None:
            self._settle(index, self._door.leave(entry))
            return
        shortcut = self._shortcut
        if shortcut is not None and entry.span is None:
            try:
                waiting = shortcut.begin(item.request, own, done=self._decided(shortcut, index, entry, own))
            except Exception as fault:  # noqa: BLE001 (whatever it is becomes the item's refusal)
                self._settle(index, self._door.leave(entry, fault=fault))
                return
            if waiting is not None:
                self._waiting.add(waiting)
                return
        task = asyncio.create_task(self._place(index, item, entry))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _place(self, index: int, item: pb.BatchPlaceHoldsItem, entry: Entry) -> None:
        self._settle(index, await self._door.proceed(entry, self._place_hold, item.request))

    def _decided(self, shortcut: Placing, index: int, entry: Entry, own: Call) -> Callable[[Waiting], None]:
        """Make what takes over the engine's answer for an item."""

        def done(waiting: Waiting) -> None:
            self._waiting.discard(waiting)
            if waiting.error is not None:
                self._settle(index, self._door.leave(entry, fault=waiting.error))
            else:
                response = shortcut.answer(waiting.result, own)
                self._settle(index, self._door.leave(entry, response=response))

        return done

    def _settle(self, index: int, outcome: Outcome) -> None:
        self._ready.append(_outcome_message(index, outcome))
        self.some.set()

    def take(self) -> list[pb.PlaceHoldOutcome]:
        """Give outcomes that were not given yet, as many as fit into an answer."""
        outcomes = self._ready[:OUTCOMES_MAX]
        del self._ready[:OUTCOMES_MAX]
        if not self._ready:
            self.some.clear()
        return outcomes

    async def close(self) -> None:
        """Forget what was not begun; what is being committed ends, and the items' keys tell what became of them."""
        for waiting in self._waiting:
            waiting.leave()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _item(item: pb.BatchPlaceHoldsItem) -> Item:
    return Item(
        principal=item.principal.SerializeToString() if item.HasField("principal") else None,
        timeout_seconds=item.timeout_milliseconds / 1000,
        traceparent=item.traceparent,
    )


def _outcome_message(index: int, outcome: Outcome) -> pb.PlaceHoldOutcome:
    if outcome.error is not None:
        return pb.PlaceHoldOutcome(index=index, refusal=_refusal_message(outcome.error))
    return pb.PlaceHoldOutcome(index=index, placed=outcome.response, replayed=outcome.replayed)


def _refusal_message(error: DomainError) -> pb.PlaceHoldRefusal:
    retry_after = error.retry_after_seconds
    return pb.PlaceHoldRefusal(
        reason=error_reason_pb2.Error.Reason.Value(error.reason.value),
        message=error.message,
        metadata=error.metadata,
        violations=[pb.PlaceHoldViolation(field=each.field, message=each.message) for each in error.violations],
        retry_after_milliseconds=None if retry_after is None else max(0, round(retry_after * 1000)),
    )
