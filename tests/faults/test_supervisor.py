"""kill -9 of the supervisor: the next start recovers, nothing acknowledged is lost, no process is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.trial import AFTERWARDS, trading
from tests.support.mesh import start_mesh, still_running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.snapshot import Store
    from tests.support.mesh import Mesh

pytestmark = pytest.mark.faults

SERVERS = ("postgres", "nats", "valkey", "events", "capacity", "pricing", "gateway")


async def test_the_next_start_recovers_from_a_killed_supervisor(
    mesh: Mesh, store: Store, history_path: Path, seed: int
) -> None:
    before = mesh.tree()
    async with trading(mesh, store, seed=seed, path=history_path) as trial:
        os.kill(mesh.look().supervisor_pid, signal.SIGKILL)
        await asyncio.to_thread(mesh.process.wait)
        mesh.process = start_mesh(mesh.state, extra=mesh.environment).process
        await asyncio.to_thread(mesh.wait_healthy)
        assert still_running(before) == []
        await trial.recorder.wait_acknowledged(AFTERWARDS, since=time.monotonic())
    await trial.check()
    assert len(mesh.tree()) > len(SERVERS)
