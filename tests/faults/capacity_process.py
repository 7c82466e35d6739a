"""Capacity in a process of its own, to be killed, whose database connections lead through a proxy."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

from holdfast.common.mesh_identity import MeshIdentity
from holdfast.common.rpc_client import Peer
from holdfast.local import rest
from holdfast.local.children import Child, kill_tree
from holdfast.local.ports import choose
from tests.integration.capacity.conftest import Capacity
from tests.integration.capacity.neighbours import servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from holdfast.capacity.app import CapacityApp
    from holdfast.common.settings import MeshSettings
    from tests.integration.capacity.neighbours import World
    from tests.support.postgres import TestDatabase
    from tests.support.proxy import PostgresProxy

READY_SECONDS = 60
POLL_SECONDS = 0.05


class CapacityProcess:
    """A replica of capacity. `environment` is where it finds the others."""

    def __init__(self, database: TestDatabase, proxy: PostgresProxy, environment: dict[str, str], log: Path) -> None:
        port = choose()
        self.address = f"127.0.0.1:{port}"
        metrics = f"127.0.0.1:{choose(excluding={port})}"
        self._ready_url = f"http://{metrics}/health/ready"
        plain = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        self._child = Child(
            name="capacity",
            command=[sys.executable, "-m", "holdfast.capacity", "serve"],
            environment={
                **plain,
                **environment,
                "HOLDFAST_CAPACITY_LISTEN": self.address,
                "HOLDFAST_CAPACITY_METRICS_LISTEN": metrics,
                "HOLDFAST_CAPACITY_DATABASE_DSN": proxy.dsn(database.dsn("capacity_service")),
                "HOLDFAST_CAPACITY_RELAY_DSN": database.dsn("capacity_relay"),
                "HOLDFAST_CAPACITY_SWEEPER_DSN": database.dsn("capacity_sweeper"),
            },
            log=log,
        )

    async def start(self) -> None:
        """Start it, and return when it is ready; RuntimeError when it ends instead, TimeoutError."""
        self._child.start()
        async with asyncio.timeout(READY_SECONDS):
            while not await asyncio.to_thread(rest.answers_ok, self._ready_url):
                if not self._child.alive:
                    raise RuntimeError(f"capacity ended:\n{self._child.log_tail()}")
                await asyncio.sleep(POLL_SECONDS)  # between two looks at another process

    def kill(self) -> None:
        """SIGKILL it, and return when it is gone."""
        kill_tree(self._child.pid)


@asynccontextmanager
async def killable(
    database: TestDatabase, proxy: PostgresProxy, *, world: World, mesh: MeshSettings, log: Path
) -> AsyncIterator[tuple[CapacityProcess, Capacity]]:
    """Run capacity in a process, with events as a world says, for the length of a block at most; and callers of it."""
    identity_dir = mesh.identity_dir
    events, pricing = servers(world, identity_dir=identity_dir, mesh=mesh)
    await events.start()
    environment = {
        "HOLDFAST_IDENTITY_DIR": str(identity_dir),
        "HOLDFAST_PAGE_TOKEN_KEY": mesh.page_token_key.get_secret_value(),
        "HOLDFAST_NATS_URL": mesh.nats_url,
        "HOLDFAST_EVENTS_ADDRESS": events.address,
        "HOLDFAST_PRICING_ADDRESS": mesh.pricing_address,
    }
    process = CapacityProcess(database, proxy, environment, log)
    peers = {
        name: Peer(name="capacity", target=process.address, identity=MeshIdentity.load(identity_dir, name))
        for name in ("gateway", "events")
    }
    try:
        await process.start()
        for peer in peers.values():
            await peer.start()
            async with asyncio.timeout(READY_SECONDS):
                await peer.channel.channel_ready()
        elsewhere = cast("CapacityApp", None)  # it is in the other process
        yield process, Capacity(elsewhere, world, peers, database, mesh, (events, pricing))
    finally:
        for peer in peers.values():
            await peer.close()
        process.kill()
        await events.stop()
