"""A circuit breaker: stops calling what does not answer, and lets one call through now and then to see."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class State(Enum):
    """CLOSED lets calls through, OPEN none, HALF_OPEN the one trial that decides."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """Opens after `failures` in a row; tries again after `open_seconds`, doubled each time up to `open_seconds_max`."""

    failures: int = 10
    open_seconds: float = 0.5
    open_seconds_max: float = 8.0


class CircuitBreaker:
    """Counts failures in a row of one dependency. A failure is no answer at all; a refusal is an answer.

    Used from one event loop: `admit` before a call; if it is True, exactly one of `succeeded`, `failed`, `abandoned`
    after it.
    """

    def __init__(self, policy: BreakerPolicy | None = None, *, now: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy or BreakerPolicy()
        self._now = now
        self._failures = 0
        self._state = State.CLOSED
        self._open_seconds = self._policy.open_seconds
        self._open_until = 0.0

    @property
    def state(self) -> State:
        """The present state; OPEN also once its time is over, until a call comes."""
        return self._state

    @property
    def ready(self) -> bool:
        """Whether `admit` would let a call through now."""
        return self._state is State.CLOSED or (self._state is State.OPEN and self._now() >= self._open_until)

    def admit(self) -> bool:
        """Tell whether a call may be made."""
        if not self.ready:
            return False
        if self._state is State.OPEN:
            self._state = State.HALF_OPEN
        return True

    def retry_after_seconds(self) -> float:
        """Give the seconds until a call may be tried again."""
        return max(0.05, self._open_until - self._now())

    def succeeded(self) -> None:
        """Note that the dependency answered."""
        self._failures = 0
        if self._state is State.HALF_OPEN:
            self._state = State.CLOSED
            self._open_seconds = self._policy.open_seconds

    def failed(self) -> None:
        """Note that it did not."""
        if self._state is State.HALF_OPEN:
            self._open_seconds = min(self._open_seconds * 2, self._policy.open_seconds_max)
            self._open()
            return
        self._failures += 1
        if self._state is State.CLOSED and self._failures >= self._policy.failures:
            self._open()

    def abandoned(self) -> None:
        """Note that the caller did not wait for the outcome: a trial is to be made again."""
        if self._state is State.HALF_OPEN:
            self._state = State.OPEN
            self._open_until = self._now()

    def _open(self) -> None:
        self._state = State.OPEN
        self._failures = 0
        self._open_until = self._now() + self._open_seconds
