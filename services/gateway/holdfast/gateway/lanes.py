"""Lanes: calls that change holds and arrive together travel together.

Such a call waits in a lane: one for each replica of capacity, and one more for holds whose prices have to be asked.
While a lane's batch is on its way, what arrives forms the next one; nothing waits when none is. The next batch leaves
as soon as the one before has brought its first outcomes. If that one is silent, because the database or an event is
stuck, the next does not wait for it longer than `SILENT_SECONDS`, as long as there are not too many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import SpanKind

from holdfast.common.errors import DomainError, Reason
from holdfast.common.mesh_identity import service_principal
from holdfast.common.rpc_faults import internal, time_over
from holdfast.common.telemetry import current_traceparent, span
from holdfast.gateway.body import ClientGoneError
from holdfast.gateway.deadlines import Deadlines
from holdfast.gateway.mutations import BATCH, CARRIED, WaitingCall, batch_request
from holdfast.gateway.replicas import is_silence

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from holdfast.common.mesh_identity import Principal
    from holdfast.gateway.callers import Caller
    from holdfast.gateway.measures import Measures
    from holdfast.gateway.replicas import Replica, Replicas

SERVICE: Final = "capacity"
GATEWAY: Final = service_principal("gateway", "")

ITEMS_MAX: Final = 200
"""Items in one call: as many as capacity commits at once."""
BATCH_BYTES_MAX: Final = 2 * 1024 * 1024
"""Beyond this a call takes no further item; one item alone is smaller than what is left of a message's limit."""
WAITING_MAX: Final = 2_000
CALLS_MAX: Final = 16
SILENT_SECONDS: Final = 0.05
TURNS_TO_LEAVE: Final = 3
"""Of the event loop: for what waits to be taken, for the call to be made, for gRPC to send it."""
QUIET_SECONDS: Final = 1.0
"""How long a replica may leave a call without any outcome before others are preferred."""
AGAIN_SECONDS: Final = 0.03


class Lane:
    """The calls of one kind to one replica."""

    def __init__(self, replica: Replica, *, lanes: Lanes, measures: Measures) -> None:
        self._replica = replica
        self._lanes = lanes
        self._measures = measures
        self._waiting: deque[WaitingCall] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._leaving = False
        self._silent: asyncio.TimerHandle | None = None
        """Runs while the call that left last has brought nothing, for as long as the next one waits for it."""

    @property
    def waiting(self) -> int:
        """How many items have not left."""
        return len(self._waiting)

    @property
    def calls(self) -> int:
        """How many calls are on their way."""
        return len(self._calls)

    def put(self, item: WaitingCall) -> None:
        """Let an item wait for the next call. Raises OVERLOADED at once when too many do."""
        if len(self._waiting) >= WAITING_MAX:
            raise DomainError(
                Reason.OVERLOADED,
                "too many calls about holds wait",
                metadata={"queue": "gateway"},
                retry_after_seconds=0.5,
            )
        self._waiting.append(item)
        self._look()

    async def close(self) -> None:
        """End the calls; whoever still waits learns that the outcome is not known."""
        for task in self._calls:
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        if self._silent is not None:
            self._silent.cancel()
        for item in self._waiting:
            item.fail(self._replica.peer.unavailable())
        self._waiting.clear()

    def _look(self) -> None:
        """Let a call leave if one may. What the loop reads at this very moment still goes with it."""
        if self._waiting and not self._leaving and self._silent is None and len(self._calls) < CALLS_MAX:
            self._leaving = True
            # In no request's context: the call is of none of them.
            asyncio.get_running_loop().call_soon(self._leave, context=Context())

    def _leave(self) -> None:
        self._leaving = False
        items = self._take()
        if not self._replica.answering:
            items = [item for item in items if not self._lanes.moved(item, away_from=self._replica)]
        if not self._replica.peer.breaker.ready:
            for item in items:
                item.fail(self._replica.peer.unavailable())
            items = []
        if not items:
            self._look()
            return
        self._measures.batch_items.observe(len(items))
        timer = asyncio.get_running_loop().call_later(SILENT_SECONDS, self._next)
        self._silent = timer
        task = asyncio.create_task(self._send(items, timer), name="mutate-holds")
        self._calls.add(task)
        task.add_done_callback(self._ended)

    def _take(self) -> list[WaitingCall]:
        """Take what goes together: nothing whose client left or got its answer."""
        items: list[WaitingCall] = []
        size = 0
        while self._waiting and len(items) < ITEMS_MAX and size < BATCH_BYTES_MAX:
            item = self._waiting.popleft()
            if item.done:
                continue
            if item.gone():
                item.fail(ClientGoneError())
                continue
            size += item.request.ByteSize()
            items.append(item)
        return items

    def _next(self) -> None:
        self._silent = None
        self._look()

    def _heard(self, timer: asyncio.TimerHandle) -> None:
        """Note the first sign of a call: the next one may leave."""
        timer.cancel()
        if self._silent is timer:
            self._next()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        self._look()

    async def _send(self, items: list[WaitingCall], timer: asyncio.TimerHandle) -> None:
        """Send a batch and hand its outcomes on, until each item has one or the call is over."""
        replica, peer = self._replica, self._replica.peer
        loop = asyncio.get_running_loop()
        now = loop.time()
        left = dict(enumerate(items))
        quiet = replica.begin(now, QUIET_SECONDS)
        error: DomainError | None = None
        try:
            answers = peer.stream(
                replica.methods[BATCH],
                batch_request(items, now=now),
                principal=GATEWAY,
                deadline_seconds=max(0.001, max(item.deadline for item in items) - now),
            )
            async with aclosing(answers):
                async for answer in answers:
                    self._heard(timer)
                    quiet.heard()
                    if self._leaving:
                        # Its outcomes wake everybody who is answered. The next call goes first: it takes less time,
                        # and capacity works on it meanwhile.
                        for _ in range(TURNS_TO_LEAVE):
                            await asyncio.sleep(0)
                    for outcome in answer.outcomes:
                        item = left.pop(outcome.index, None)
                        if item is not None:
                            item.settle(outcome, unexplained=peer.unavailable)
                            self._lanes.learn(outcome)
        except DomainError as fault:
            error = fault
        except Exception as fault:  # noqa: BLE001 - nobody may be left waiting
            error = internal(fault, rpc=BATCH)
        finally:
            quiet.cancel()
            self._heard(timer)
            self._missed(list(left.values()), error or peer.unavailable())

    def _missed(self, items: list[WaitingCall], error: DomainError) -> None:
        """Decide on items that a call brought no outcome for: nobody knows whether they had their effect.

        Those with a key are sent once more, if it was the replica that failed: the same key tells.
        """
        repeatable = is_silence(error, SERVICE) and any(item.repeatable for item in items)
        repeatable = repeatable and self._replica.peer.spend_retry()
        for item in items:
            if repeatable and item.repeatable:
                item.repeated = True
                self._lanes.again(item, after=self._replica)
            else:
                item.fail(error)


class Lanes:
    """All lanes to the replicas of capacity."""

    def __init__(self, replicas: Replicas, *, measures: Measures) -> None:
        self._replicas = replicas
        self._lanes: dict[tuple[Replica, bool], Lane] = {
            (replica, priced): Lane(replica, lanes=self, measures=measures)
            for replica in replicas.all
            for priced in (False, True)
        }
        self._pauses: dict[WaitingCall, asyncio.TimerHandle] = {}
        self._closed = False
        self._several = len(replicas) > 1
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(_expire)
        measures.lanes(
            waiting=lambda: sum(lane.waiting for lane in self._lanes.values()),
            calls=lambda: sum(lane.calls for lane in self._lanes.values()),
        )

    async def close(self) -> None:
        """End all calls."""
        self._closed = True
        for lane in self._lanes.values():
            await lane.close()
        for item, pause in self._pauses.items():
            pause.cancel()
            item.fail(self._replicas.all[0].peer.unavailable())
        self._pauses.clear()
        self._deadlines.close()

    async def call(
        self, path: str, request: Any, *, principal: Principal, deadline_seconds: float, caller: Caller
    ) -> tuple[Message, bool]:
        """Make a call of a mutation; gives the response and whether it answers a request that had its effect before.

        Raises DomainError: capacity's refusal of this call, or what `Peer.call` raises; ClientGoneError when the caller
        was gone before it was sent.
        """
        mutation = CARRIED[path]
        if not caller.recorded:
            return await self._call(mutation, request, principal, deadline_seconds, caller.gone, caller.traceparent)
        with span(path, kind=SpanKind.CLIENT):
            traceparent = current_traceparent() or caller.traceparent
            return await self._call(mutation, request, principal, deadline_seconds, caller.gone, traceparent)

    async def _call(  # noqa: PLR0913, PLR0917 - what an item of a batch is made of
        self,
        mutation: str,
        request: Any,
        principal: Principal,
        seconds: float,
        gone: Callable[[], bool],
        traceparent: str,
    ) -> tuple[Message, bool]:
        loop = self._loop
        future: asyncio.Future[tuple[Message, bool]] = loop.create_future()
        item = WaitingCall(
            mutation,
            request,
            principal=principal,
            deadline=loop.time() + seconds,
            traceparent=traceparent,
            key=self._replicas.known.key_of(request) if self._several else "",
            gone=gone,
            future=future,
        )
        self._lane(item, self._replicas.order(item.key)[0]).put(item)
        self._deadlines.add(item)
        try:
            return await future
        finally:
            self._deadlines.remove(item)

    def learn(self, outcome: Any) -> None:
        """Take over of which event a hold and its sections are."""
        if self._several:
            kind = outcome.WhichOneof("outcome")
            if kind not in {None, "refusal"}:
                self._replicas.known.learn(getattr(outcome, kind).hold)

    def moved(self, item: WaitingCall, *, away_from: Replica) -> bool:
        """Let an item that was not sent wait for another replica that answers; tells whether there is one."""
        others = self._others(item, away_from)
        if not others or item.moves >= len(self._replicas):
            return False
        item.moves += 1
        self._put(item, others[0])
        return True

    def again(self, item: WaitingCall, *, after: Replica) -> None:
        """Send an item once more: to another replica at once, to the same one after a pause."""
        others = self._others(item, after)
        if self._closed:
            item.fail(after.peer.unavailable())
        elif others:
            self._put(item, others[0])
        else:
            self._pauses[item] = self._loop.call_later(AGAIN_SECONDS, self._paused, item, after)

    def _others(self, item: WaitingCall, replica: Replica) -> list[Replica]:
        return [each for each in self._replicas.order(item.key) if each is not replica and each.ready]

    def _paused(self, item: WaitingCall, replica: Replica) -> None:
        del self._pauses[item]
        self._put(item, replica)

    def _put(self, item: WaitingCall, replica: Replica) -> None:
        try:
            self._lane(item, replica).put(item)
        except DomainError as error:
            item.fail(error)

    def _lane(self, item: WaitingCall, replica: Replica) -> Lane:
        return self._lanes[replica, item.priced]


def _expire(item: WaitingCall) -> None:
    item.fail(time_over())
