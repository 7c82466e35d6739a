"""A trial: clients trade, something breaks, it recovers, and then everything that is stored is held against them."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.faults.checkers import all_faults
from tests.faults.history import Recorder
from tests.faults.snapshot import settled
from tests.faults.workload import trade
from tests.support.show import create_show, post

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.snapshot import Store
    from tests.support.mesh import Mesh
    from tests.support.show import Show

CLIENTS = 8
OPERATIONS = 2_000
SECONDS = 180
PLACES = 6_000
UNDER_WAY = (20, 60)
"""Between how many acknowledged operations something is broken; the seed says after which."""
AFTERWARDS = 20
"""Acknowledged operations after the mesh is healthy again, before a trial ends."""


@dataclass
class Trial:
    """What a test breaks something in the middle of."""

    mesh: Mesh
    store: Store
    show: Show
    recorder: Recorder
    path: Path

    async def kill(self, process: str) -> float:
        """Kill a process and return when, on the clock of the history."""
        moment = time.monotonic()
        await asyncio.to_thread(self.mesh.kill, process)
        return moment

    async def recovered(self, process: str, *, before: dict[str, int]) -> None:
        """Wait until the supervisor has restarted the process, and only it, and clients have traded since."""
        await asyncio.to_thread(self.mesh.wait_restarted, process, restarts=before[process] + 1)
        await self.recorder.wait_acknowledged(AFTERWARDS, since=time.monotonic())
        assert self.mesh.all_restarts() == before | {process: before[process] + 1}

    async def check(self) -> None:
        """Hold the history against what is stored, published and projected."""
        self.recorder.write(self.path)
        said = f"seed {self.recorder.seed}, history {self.path}"
        unknown = [each for each in self.recorder.operations if each.outcome == "unknown"]
        assert not unknown, f"never answered: {unknown[:5]}; {said}"
        faults = all_faults(self.recorder.operations, await settled(self.store, self.show))
        assert not faults, f"{faults[:20]}; {said}"
        verified = await asyncio.to_thread(verify_inventory, self.mesh, self.show)
        assert verified["consistent"] is True, f"{verified}; {said}"


def verify_inventory(mesh: Mesh, show: Show) -> dict[str, object]:
    """Ask the capacity service itself to recompute an event's counters."""
    with mesh.client("organizer", subject="olga") as organizer:
        answer: dict[str, object] = post(organizer, f"/api/v1/events/{show.event_id}/inventory:verify", {}, expect=200)
        return answer


def new_show(mesh: Mesh, *, places: int = PLACES) -> Show:
    """Put a fresh event on sale."""
    with mesh.client("organizer", subject="olga") as organizer:
        return create_show(organizer, total=places)


@asynccontextmanager
async def trading(mesh: Mesh, store: Store, *, seed: int, path: Path) -> AsyncIterator[Trial]:
    """Let clients trade on a fresh show for the length of a block; it begins when they are under way."""
    print(f"seed {seed}, history {path}")  # noqa: T201 — shown when the test fails
    await asyncio.to_thread(mesh.wait_healthy)  # whatever a failed trial left behind
    show = await asyncio.to_thread(new_show, mesh)
    recorder = Recorder(seed)
    token = await asyncio.to_thread(mesh.token, "buyer", subject="bob")
    task = asyncio.create_task(
        trade(
            recorder,
            gateway=mesh.gateway,
            token=token,
            show=show,
            clients=CLIENTS,
            operations=OPERATIONS,
            seconds=SECONDS,
        )
    )
    try:
        await recorder.wait_acknowledged(random.Random(seed).randint(*UNDER_WAY))  # noqa: S311 — reproducible
        yield Trial(mesh=mesh, store=store, show=show, recorder=recorder, path=path)
    finally:
        recorder.enough.set()
        recorder.write(path)
        await task
