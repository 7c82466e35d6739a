"""Prices asked of pricing: requests that wait together travel in one call.

While a call is under way, what arrives forms the next one: calls grow with the load, and nobody waits for a timer. What
arrives in one turn of the event loop goes together from the first call on. A call that takes long is not waited for:
another may go beside it, up to a limit, so that one frozen replica of pricing does not hold up the others. Lines that
are equal are asked once and answered to all who asked. Requests are taken round-robin by organization, so that one
organization's rush costs others little.

All of it is on one event loop: no lock is needed.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Final

from opentelemetry import context as otel_context

from holdfast.api.pricing.v1 import quote_service_pb2
from holdfast.capacity import convert
from holdfast.common.errors import DomainError, Reason
from holdfast.common.mesh_identity import service_principal
from holdfast.common.rpc_call import Call, current_call
from holdfast.common.telemetry import is_recorded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from holdfast.capacity.domain.placing import PriceLock

LINES_MAX: Final = 1_000
"""Lines of one call; a request's lines are never parted, and none has more than 50."""
CALLS_MAX: Final = 4
"""Calls under way at once."""
PATIENCE_SECONDS: Final = 0.05
"""How long a call has pricing to itself; after that another may go beside it."""
WAITING_MAX: Final = 20_000
"""Lines of all organizations that wait; more are refused at once."""
WAITING_OF_ORGANIZATION_MAX: Final = 5_000
"""Lines of one organization that wait."""
WAITING_SECONDS_MAX: Final = 4.0
"""How long a request waits for its prices, if its own time is not over sooner: a call before its own, and its own."""
ANSWER_SECONDS: Final = 0.02
"""What is left of a request's time for its own answer."""
RETRY_AFTER_SECONDS: Final = 0.5

_FAULTY: Final = frozenset({Reason.VALIDATION_FAILED, Reason.NOT_BUILT_YET, Reason.MALFORMED_BODY})
"""Refusals of a whole call for what is wrong in one of its lines."""


class PriceRequest:
    """Lines of one organization whose prices shall be locked. `deadline` is on the event loop's clock.

    `done` is called once, when `locks` or `error` is there, in the loop's thread, and must not raise. `trace` is the
    context of the request's trace, by default the present one.
    """

    __slots__ = ("deadline", "done", "error", "lines", "locks", "organization_id", "settled", "timer", "trace")

    def __init__(
        self,
        organization_id: str,
        lines: Sequence[quote_service_pb2.LockPriceLine],
        *,
        deadline: float,
        done: Callable[[PriceRequest], None],
        trace: otel_context.Context | None = None,
    ) -> None:
        self.organization_id = organization_id
        self.lines = lines
        self.deadline = deadline
        self.done = done
        self.locks: list[PriceLock] = []
        self.error: Exception | None = None
        self.settled = False
        self.timer: asyncio.TimerHandle | None = None
        self.trace = otel_context.get_current() if trace is None else trace


class _Waiting:
    """The requests of one organization that wait, in the order of arrival."""

    __slots__ = ("lines", "requests")

    def __init__(self) -> None:
        self.requests: dict[PriceRequest, None] = {}
        self.lines = 0


class Prices:
    """The price requests of this process. `call` makes one call of LockPrices, in bounded time."""

    def __init__(
        self,
        call: Callable[[quote_service_pb2.LockPricesRequest], Awaitable[quote_service_pb2.LockPricesResponse]],
        *,
        lines_max: int = LINES_MAX,
        calls_max: int = CALLS_MAX,
        waiting_max: int = WAITING_MAX,
        waiting_of_organization_max: int = WAITING_OF_ORGANIZATION_MAX,
    ) -> None:
        self._call = call
        self._lines_max = lines_max
        self._calls_max = calls_max
        self._waiting_max = waiting_max
        self._waiting_of_organization_max = waiting_of_organization_max
        self._waiting: dict[str, _Waiting] = {}
        self._lines = 0
        self._calls: set[asyncio.Task[None]] = set()
        self._slow = 0
        self._sending = False

    async def lock(self, organization_id: str, lines: Sequence[quote_service_pb2.LockPriceLine]) -> list[PriceLock]:
        """Lock the prices of lines, in their order, for the call being answered.

        Raises the first refusal; DEPENDENCY_UNAVAILABLE, or DEADLINE_EXCEEDED when it is the call's own time that is
        over; OVERLOADED at once when too much waits already. A caller that is cancelled leaves the others alone.
        """
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[list[PriceLock]] = loop.create_future()

        def done(request: PriceRequest) -> None:
            if answered.done():
                return
            if request.error is None:
                answered.set_result(request.locks)
            else:
                answered.set_exception(request.error)

        call = current_call.get()
        deadline = loop.time() + WAITING_SECONDS_MAX if call is None else call.deadline
        request = PriceRequest(organization_id, lines, deadline=deadline, done=done)
        self.put(request)
        try:
            return await answered
        finally:
            self.withdraw(request)

    def put(self, request: PriceRequest) -> None:
        """Let a request wait for its prices. Raises OVERLOADED at once when too much waits already."""
        loop = asyncio.get_running_loop()
        waiting = self._waiting.get(request.organization_id)
        count = len(request.lines)
        if self._lines + count > self._waiting_max or (
            waiting is not None and waiting.lines + count > self._waiting_of_organization_max
        ):
            raise DomainError(
                Reason.OVERLOADED,
                "too much is waiting for prices",
                metadata={"queue": "prices"},
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        if waiting is None:
            waiting = self._waiting[request.organization_id] = _Waiting()
        waiting.requests[request] = None
        waiting.lines += count
        self._lines += count
        until = min(request.deadline - ANSWER_SECONDS, loop.time() + WAITING_SECONDS_MAX)
        request.timer = loop.call_at(until, self._expire, request)
        if not self._sending:
            self._sending = True
            loop.call_soon(self._send)  # not now: what else arrives in this turn of the loop goes along

    def withdraw(self, request: PriceRequest) -> None:
        """Forget a request that nobody waits for any more; nothing happens if it is answered."""
        if request.settled:
            return
        request.settled = True
        if request.timer is not None:
            request.timer.cancel()
        waiting = self._waiting.get(request.organization_id)
        if waiting is not None and request in waiting.requests:
            self._take(waiting, request)
            if not waiting.requests:
                del self._waiting[request.organization_id]

    def _take(self, waiting: _Waiting, request: PriceRequest) -> None:
        del waiting.requests[request]
        waiting.lines -= len(request.lines)
        self._lines -= len(request.lines)

    def _settle(self, request: PriceRequest, *, error: Exception | None = None) -> None:
        if request.settled:
            return
        self.withdraw(request)
        request.error = error
        request.done(request)

    def _expire(self, request: PriceRequest) -> None:
        if request.deadline - ANSWER_SECONDS <= asyncio.get_running_loop().time():
            error = DomainError(Reason.DEADLINE_EXCEEDED, "the call's time was over before its prices were there")
        else:
            error = DomainError(
                Reason.DEPENDENCY_UNAVAILABLE,
                "pricing does not answer",
                metadata={"dependency": "pricing"},
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        self._settle(request, error=error)

    def _send(self) -> None:
        """Make calls while there are requests and room."""
        self._sending = False
        loop = asyncio.get_running_loop()
        while self._waiting and len(self._calls) < self._calls_max and len(self._calls) <= self._slow:
            # A context of its own: nobody's trace and time but those that are given to it.
            task = loop.create_task(self._answer(self._next()), context=Context())
            self._calls.add(task)
            task.add_done_callback(self._finished)

    def _next(self) -> list[PriceRequest]:
        """Take the requests of the next call: one of each organization in turn."""
        requests: list[PriceRequest] = []
        room = self._lines_max
        while self._waiting:
            organization_id = next(iter(self._waiting))
            waiting = self._waiting[organization_id]
            request = next(iter(waiting.requests))
            if requests and len(request.lines) > room:
                break
            room -= len(request.lines)
            requests.append(request)
            del self._waiting[organization_id]
            self._take(waiting, request)
            if waiting.requests:
                self._waiting[organization_id] = waiting  # to the end of the line
        return requests

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        self._send()
        task.result()  # a fault of this code is not swallowed: the loop's handler tells it

    async def _answer(self, requests: list[PriceRequest]) -> None:
        """Make a call for requests. While it takes long, another may go beside it."""
        slow = False

        def impatient() -> None:
            nonlocal slow
            slow = True
            self._slow += 1
            self._send()

        timer = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, impatient)
        otel_context.attach(next((each.trace for each in requests if is_recorded(each.trace)), requests[0].trace))
        # The time of the one that has most: whose is over before does not wait to the end.
        current_call.set(
            Call(
                principal=service_principal("capacity", ""),
                peer=None,
                deadline=max(request.deadline for request in requests),
            )
        )
        try:
            await self._ask(requests)
        finally:
            timer.cancel()
            self._slow -= slow

    async def _ask(self, requests: list[PriceRequest]) -> None:
        """Ask for the lines of requests, equal ones once, and answer each request. Raises nothing."""
        wanted: dict[bytes, quote_service_pb2.LockPriceLine] = {}
        keys_of: list[list[bytes]] = []
        for request in requests:
            keys = [line.SerializeToString() for line in request.lines]
            wanted.update(zip(keys, request.lines, strict=True))
            keys_of.append(keys)
        try:
            response = await self._call(quote_service_pb2.LockPricesRequest(lines=wanted.values()))
            outcomes = dict(zip(wanted, response.outcomes, strict=True))
        except Exception as fault:  # noqa: BLE001 (whatever it was, whoever waits is told)
            await self._refuse(requests, fault)
            return
        locks: dict[bytes, PriceLock] = {}
        for request, keys in zip(requests, keys_of, strict=True):
            try:
                request.locks = [
                    locks.get(key) or locks.setdefault(key, convert.lock_of(outcomes[key])) for key in keys
                ]
            except Exception as fault:  # noqa: BLE001 (a refusal, or an answer that cannot be read)
                self._settle(request, error=fault)
            else:
                self._settle(request)

    async def _refuse(self, requests: list[PriceRequest], fault: Exception) -> None:
        """Tell those whose call failed. If it is for a line, the others are asked again without the one that has it."""
        if len(requests) > 1 and isinstance(fault, DomainError) and fault.reason in _FAULTY:
            half = len(requests) // 2
            await self._ask(requests[:half])
            await self._ask(requests[half:])
            return
        for request in requests:
            self._settle(request, error=_own(fault))


def _own(fault: Exception) -> Exception:
    """Give each request an error of its own: raising one changes it."""
    if not isinstance(fault, DomainError):
        return fault
    return DomainError(
        fault.reason,
        fault.message,
        metadata=fault.metadata,
        violations=fault.violations,
        retry_after_seconds=fault.retry_after_seconds,
    )
