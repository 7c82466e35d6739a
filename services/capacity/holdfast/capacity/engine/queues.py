"""Who works on which event, and when: a bounded queue for each event, one batch of it in flight.

What arrives while a batch is under way forms the next one: batches grow with the load, and nobody waits for a timer.
Events whose turn has come are taken round-robin by organization, so that one organization's rush costs others little.
All of it is on one event loop: no lock is needed. That one batch of an event is in flight in this process is for
speed; what keeps replicas apart is the event's row.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeVar

from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.capacity.engine.unit import Command
    from holdfast.common.metrics import Metrics

R = TypeVar("R")

BATCH_MAX: Final = 200
"""Requests that one commit decides."""
WAITING_MAX: Final = 2_000
"""Requests of one event that wait; more are refused at once."""
WAITING_TOTAL_MAX: Final = 20_000
"""Requests of all events that wait."""
RETRY_AFTER_SECONDS: Final = 0.5


class Item:
    """A command that waits for its decision. `deadline` and `arrived` are on the event loop's clock.

    `done` is called once, when `result` or `error` is there, in the loop's thread, and must not raise.
    """

    __slots__ = ("again", "arrived", "command", "deadline", "done", "error", "result", "tidied")

    def __init__(self, *, command: Command[Any], deadline: float, done: Callable[[Item], None]) -> None:
        self.command = command
        self.deadline = deadline
        self.done = done
        self.arrived = 0.0
        self.result: Any = None
        self.error: Exception | None = None
        self.again = False
        self.tidied = 0

    def leave(self) -> None:
        """Say that nobody waits any more. What was taken into a batch goes on without its caller."""
        self.deadline = 0.0


class _Queue:
    __slots__ = ("event_id", "items", "organization_id", "scheduled")

    def __init__(self, organization_id: str, event_id: str) -> None:
        self.organization_id = organization_id
        self.event_id = event_id
        self.items: deque[Item] = deque()
        self.scheduled = False


class Queues:
    """The queues of this process. `work(organization_id, event_id, items)` decides and answers a batch.

    It gives back the items that must be decided again, which then are the first of the next batch. `workers_max` is how
    many batches, each of another event, are in flight at once.
    """

    def __init__(  # noqa: PLR0913 (limits, each with its default)
        self,
        work: Callable[[str, str, list[Item]], Awaitable[list[Item]]],
        *,
        workers_max: int,
        metrics: Metrics,
        batch_max: int = BATCH_MAX,
        waiting_max: int = WAITING_MAX,
        waiting_total_max: int = WAITING_TOTAL_MAX,
    ) -> None:
        self._work = work
        self._workers_max = workers_max
        self._metrics = metrics
        self._batch_max = batch_max
        self._waiting_max = waiting_max
        self._waiting_total_max = waiting_total_max
        self._queues: dict[tuple[str, str], _Queue] = {}
        self._turns: dict[str, deque[_Queue]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0
        metrics.engine_waiting.set_function(lambda: float(self._waiting))

    def put(self, organization_id: str, event_id: str, item: Item) -> None:
        """Let a command wait for its turn. Raises OVERLOADED at once when too many wait already."""
        name = (organization_id, event_id)
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = _Queue(organization_id, event_id)
        if len(queue.items) >= self._waiting_max or self._waiting >= self._waiting_total_max:
            self._metrics.engine_refusals_total.labels(Reason.OVERLOADED.value).inc()
            raise DomainError(
                Reason.OVERLOADED,
                "too much is waiting for the same event",
                metadata={"queue": "event"},
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        item.arrived = asyncio.get_running_loop().time()
        queue.items.append(item)
        self._waiting += 1
        if not queue.scheduled:
            self._schedule(queue)

    async def submit(self, organization_id: str, event_id: str, command: Command[R], *, deadline: float) -> R:
        """Decide a command and give its answer once it is committed. Raises its DomainError.

        A caller that is cancelled before its command is taken into a batch leaves nothing behind; after that the batch
        goes on without it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()

        def done(item: Item) -> None:
            if future.done():
                return
            if item.error is not None:
                future.set_exception(item.error)
            else:
                future.set_result(item.result)

        item = Item(command=command, deadline=deadline, done=done)
        self.put(organization_id, event_id, item)
        try:
            return await future
        except asyncio.CancelledError:
            item.leave()
            raise

    async def close(self) -> None:
        """Wait for the batches under way; what still waits is refused. The server has stopped taking calls before."""
        for queue in self._queues.values():
            while queue.items:
                item = queue.items.popleft()
                self._waiting -= 1
                item.error = DomainError(
                    Reason.OVERLOADED, "the service stops", retry_after_seconds=RETRY_AFTER_SECONDS
                )
                item.done(item)
        while self._tasks:  # what a batch gives back is decided too, until its callers' time is over
            await asyncio.wait(self._tasks)

    def _schedule(self, queue: _Queue) -> None:
        queue.scheduled = True
        self._turns.setdefault(queue.organization_id, deque()).append(queue)
        self._dispatch()

    def _dispatch(self) -> None:
        """Start batches while there are workers: the next event of the organization that waited longest."""
        while self._turns and len(self._tasks) < self._workers_max:
            organization_id = next(iter(self._turns))
            turn = self._turns.pop(organization_id)
            queue = turn.popleft()
            if turn:
                self._turns[organization_id] = turn  # to the end of the line
            task = asyncio.create_task(self._batch(queue))
            self._tasks.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._dispatch()
        task.result()  # a fault of the engine itself is not swallowed: the loop's handler tells it

    async def _batch(self, queue: _Queue) -> None:
        try:
            items = self._take(queue)
            if items:
                again = await self._work(queue.organization_id, queue.event_id, items)
                queue.items.extendleft(reversed(again))
                self._waiting += len(again)
        finally:
            queue.scheduled = False
            if queue.items:
                self._schedule(queue)
            else:
                self._queues.pop((queue.organization_id, queue.event_id), None)

    def _take(self, queue: _Queue) -> list[Item]:
        """Take what is decided next; who waited beyond their time, or left, is answered without effect."""
        now = asyncio.get_running_loop().time()
        items: list[Item] = []
        while queue.items and len(items) < self._batch_max:
            item = queue.items.popleft()
            self._waiting -= 1
            if item.deadline <= now:
                item.error = DomainError(Reason.DEADLINE_EXCEEDED, "the call's time was over before its turn")
                item.done(item)
                continue
            items.append(item)
            self._metrics.engine_queue_age_seconds.observe(now - item.arrived)
        return items
