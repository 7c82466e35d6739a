"""One call for all who ask the same at the same time, where the contract says that they get the same answer.

One call for each question is under way. Who asks meanwhile shares the next one, so that nobody is told what was true
before they asked.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.message import Message

    from holdfast.common.mesh_identity import Principal

SECONDS_MAX: Final = 5.0
"""How long a shared call may take; each caller's own deadline counts for that caller."""

T = TypeVar("T")
Question = tuple[str, str, frozenset[str], bytes]
"""The RPC, the organization and the roles of who asks, and the request."""


@dataclass(slots=True)
class _Turns:
    """The call under way, and the one that comes after it."""

    running: asyncio.Task[Any] | None = None
    following: asyncio.Task[Any] | None = None


class SharedReads:
    """The questions that are being asked."""

    def __init__(self) -> None:
        self._turns: dict[Question, _Turns] = {}

    async def ask(
        self,
        path: str,
        request: Message,
        *,
        principal: Principal,
        deadline_seconds: float,
        call: Callable[[float], Awaitable[T]],
    ) -> T:
        """Give the answer to a request; `call(seconds)` asks the service. Raises its errors, and DEADLINE_EXCEEDED."""
        question = (path, principal.organization_id, principal.roles, request.SerializeToString(deterministic=True))
        turns = self._turns.setdefault(question, _Turns())
        if turns.following is None:
            turns.following = asyncio.create_task(self._turn(question, turns, call), name="shared read")
            turns.following.add_done_callback(_seen)
        # As `timeout` and `shield` would do it, for less than half: this is done for each caller.
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[T] = loop.create_future()
        turns.following.add_done_callback(partial(_tell, waiter))
        timer = loop.call_later(deadline_seconds, _give_up, waiter)
        try:
            return await waiter
        finally:
            timer.cancel()

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = [task for turns in self._turns.values() for task in (turns.running, turns.following) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _turn(self, question: Question, turns: _Turns, call: Callable[[float], Awaitable[T]]) -> T:
        if turns.running is not None:
            await asyncio.wait((turns.running,))
        turns.running, turns.following = turns.following, None
        try:
            return await call(SECONDS_MAX)
        finally:
            turns.running = None
            if turns.following is None:
                del self._turns[question]


def _tell(waiter: asyncio.Future[Any], task: asyncio.Task[Any]) -> None:
    if waiter.done():
        return
    if task.cancelled():
        waiter.cancel()
        return
    error = task.exception()
    if error is None:
        waiter.set_result(task.result())
    else:
        waiter.set_exception(error)


def _give_up(waiter: asyncio.Future[Any]) -> None:
    if not waiter.done():
        waiter.set_exception(DomainError(Reason.DEADLINE_EXCEEDED, "the answer did not come in time"))


def _seen(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # those who asked may be gone
