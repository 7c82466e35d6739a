"""kill -9 of the supervisor, and Ctrl-C: nothing acknowledged is lost, and nothing of the mesh is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.faults.conftest import breakable
from tests.faults.snapshot import store_of
from tests.faults.trial import AFTERWARDS, trading
from tests.support.mesh import running_mesh, start_mesh, still_running, stop_mesh

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.faults

SERVERS = ("postgres", "nats", "valkey", "events", "capacity", "pricing", "gateway")


async def test_the_next_start_recovers_from_a_killed_supervisor_and_ctrl_c_leaves_nothing(
    tmp_path: Path, history_path: Path, seed: int
) -> None:
    environment = breakable()
    with ExitStack() as stack:
        first = stack.enter_context(running_mesh(tmp_path / "state", extra=environment))
        await asyncio.to_thread(first.wait_printed, "curl")
        before = first.tree()
        async with trading(first, store_of(first.state), seed=seed, path=history_path) as trial:
            os.kill(first.look().supervisor_pid, signal.SIGKILL)
            trial.mesh = start_mesh(first.state, extra=environment)
            stack.callback(stop_mesh, trial.mesh)
            await asyncio.to_thread(trial.mesh.wait_healthy)
            assert still_running(before) == []
            await trial.recorder.wait_acknowledged(AFTERWARDS, since=time.monotonic())
        await trial.check()

        after = trial.mesh.tree()
        assert len(after) > len(SERVERS)
        assert await asyncio.to_thread(stop_mesh, trial.mesh) == 0
        assert still_running(after) == []
