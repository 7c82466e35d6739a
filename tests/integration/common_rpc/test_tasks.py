"""Loops beside the calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.common import tasks
from holdfast.common.metrics import Metrics
from holdfast.common.tasks import Background, pause
from tests.integration.common_rpc.conftest import eventually

if TYPE_CHECKING:
    import pytest


async def test_a_loop_that_fails_is_started_again_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "BACKOFF_SECONDS_FIRST", 0.01)
    metrics = Metrics("capacity")
    runs = 0

    async def work(stop: asyncio.Event) -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise RuntimeError("again")
        await stop.wait()

    background = Background("work", work, metrics=metrics)
    background.start()
    await eventually(lambda: runs == 3)
    assert background.restarts == 2
    assert metrics.registry.get_sample_value("holdfast_task_restarts_total", {"task": "work"}) == 2
    await background.stop()
    assert not background.running
    await background.stop()


async def test_a_loop_that_returns_is_done() -> None:
    async def work(_stop: asyncio.Event) -> None:
        return

    background = Background("work", work)
    background.start()
    await eventually(lambda: not background.running)
    assert background.restarts == 0
    await background.stop()


async def test_a_loop_that_does_not_end_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def work(_stop: asyncio.Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    background = Background("work", work)
    background.start()
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await background.stop(seconds_max=0.05)
    assert cancelled.is_set()


async def test_a_loop_between_two_runs_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "BACKOFF_SECONDS_FIRST", 60.0)

    async def work(_stop: asyncio.Event) -> None:
        raise RuntimeError("again")

    background = Background("work", work)
    background.start()
    await eventually(lambda: background.restarts == 1)
    async with asyncio.timeout(5):
        await background.stop()


async def test_a_pause_ends_early_when_it_is_to_stop() -> None:
    stop = asyncio.Event()
    assert not await pause(stop, 0.01)
    stop.set()
    async with asyncio.timeout(5):
        assert await pause(stop, 60)
