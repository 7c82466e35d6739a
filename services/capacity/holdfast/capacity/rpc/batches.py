"""BatchPlaceHolds: holds that arrived together, each a call of PlaceHold of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from holdfast.api.capacity.v1 import hold_service_pb2 as pb
from holdfast.api.common.v1 import error_reason_pb2
from holdfast.common.rpc_item import Item

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from holdfast.common.errors import DomainError
    from holdfast.common.rpc_call import Call
    from holdfast.common.rpc_item import ItemDoor, Outcome

    PlaceHold = Callable[[pb.PlaceHoldRequest, Call], Awaitable[pb.PlaceHoldResponse]]

OUTCOMES_MAX: Final = 200
"""Outcomes in one answer: the largest holds there are, so many of them, fit into a message."""


class BatchServicer:
    """Places holds in batches. `place_hold` is what answers PlaceHold, `door` judges items as calls of it.

    There are as many tasks as items in flight, and the server's limit of calls in flight bounds those.
    """

    def __init__(self, place_hold: PlaceHold, *, door: ItemDoor) -> None:
        self._place_hold = place_hold
        self._door = door

    async def batch_place_holds(
        self, request: pb.BatchPlaceHoldsRequest, call: Call
    ) -> AsyncGenerator[pb.BatchPlaceHoldsResponse]:
        """Place many holds; gives outcomes as they come, those that are there together in one answer."""
        ready: list[pb.PlaceHoldOutcome] = []
        some = asyncio.Event()

        async def place(index: int, item: pb.BatchPlaceHoldsItem) -> None:
            outcome = await self._door.serve(self._place_hold, item.request, _item(item), call)
            ready.append(_outcome_message(index, outcome))
            some.set()

        tasks = [asyncio.create_task(place(index, item)) for index, item in enumerate(request.items)]
        try:
            left = len(tasks)
            while left:
                await some.wait()
                outcomes = ready[:OUTCOMES_MAX]
                del ready[:OUTCOMES_MAX]
                if not ready:
                    some.clear()
                left -= len(outcomes)
                yield pb.BatchPlaceHoldsResponse(outcomes=outcomes)
        finally:
            for task in tasks:
                task.cancel()
            # What is being committed is not interrupted: it ends, and the items' keys tell what became of them.
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
