"""Loops that run beside a service's calls: started, watched, started again, stopped in time."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.common.metrics import Metrics

BACKOFF_SECONDS_FIRST: Final = 0.2
BACKOFF_SECONDS_MAX: Final = 15.0
HEALTHY_SECONDS: Final = 30.0
LAG_INTERVAL_SECONDS: Final = 0.5
REST_SECONDS: Final = 0.1
"""How long a loop that found messages rests before it looks again: what comes meanwhile is done together, at what one
of them costs. Not long enough for anybody to mind."""

logger = structlog.get_logger(__name__)


class Background:
    """One loop, `run(stop)`, that is to return soon after `stop` is set.

    If it fails, it is logged, counted and started again after 0.2 s, doubled each time up to 15 s, and back to the
    first once it ran for 30 s. If it returns by itself, it is done.
    """

    def __init__(
        self, name: str, run: Callable[[asyncio.Event], Awaitable[None]], *, metrics: Metrics | None = None
    ) -> None:
        self.name = name
        self.restarts = 0
        self._run = run
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._counter = metrics.task_restarts_total.labels(name) if metrics is not None else None

    @property
    def running(self) -> bool:
        """Whether the loop is there, be it between two runs."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Start the loop."""
        if self._task is not None:
            raise RuntimeError(f"{self.name} was started before")
        self._task = asyncio.create_task(self._keep_running(), name=self.name)

    async def stop(self, *, seconds_max: float = 10.0) -> None:
        """Ask the loop to end and wait; cancel it when it takes longer than `seconds_max`. Safe to call twice."""
        self._stop.set()
        task = self._task
        if task is None:
            return
        _, pending = await asyncio.wait({task}, timeout=seconds_max)
        if pending:
            logger.warning("background task cancelled, it did not end in time", task=self.name)
            task.cancel()
            await asyncio.wait({task}, timeout=seconds_max)

    async def _keep_running(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = BACKOFF_SECONDS_FIRST
        while not self._stop.is_set():
            began = loop.time()
            try:
                await self._run(self._stop)
            except Exception:
                if loop.time() - began >= HEALTHY_SECONDS:
                    backoff = BACKOFF_SECONDS_FIRST
                self.restarts += 1
                if self._counter is not None:
                    self._counter.inc()
                logger.exception("background task failed", task=self.name, again_in_seconds=round(backoff, 2))
                await pause(self._stop, backoff * random.uniform(0.8, 1.2))  # noqa: S311 - not a secret
                backoff = min(backoff * 2, BACKOFF_SECONDS_MAX)
            else:
                return


async def pause(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for so many seconds, less if `stop` is set; tell whether it is."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return stop.is_set()
    return True


async def watch_loop_lag(metrics: Metrics, stop: asyncio.Event) -> None:
    """Measure how late the event loop wakes a timer, twice a second."""
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        due = loop.time() + LAG_INTERVAL_SECONDS
        if not await pause(stop, LAG_INTERVAL_SECONDS):
            metrics.event_loop_lag_seconds.observe(max(0.0, loop.time() - due))
