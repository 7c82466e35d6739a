"""A second capacity process beside a mesh's own: another address and certificate, the same database."""

from __future__ import annotations

import shutil
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

from holdfast.common.authority import issue
from holdfast.local import rest
from holdfast.local.children import Child
from holdfast.local.plan import log_of
from holdfast.local.ports import choose
from holdfast.local.state import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.mesh import Mesh

READY_SECONDS = 60
POLL_SECONDS = 0.05
STOP_SECONDS = 15.0


class Replica:
    """Runs with the environment of the mesh's own capacity, but for what makes it another one."""

    def __init__(self, mesh: Mesh, *, environment: dict[str, str] | None = None) -> None:
        """`environment` is what is to be different besides."""
        layout = Layout(mesh.state)
        original = psutil.Process(mesh.pid("capacity"))
        port = choose()
        metrics_port = choose(excluding={port})
        identities = mesh.state / "replica-identities"
        identities.mkdir(mode=0o700, exist_ok=True)
        for name in ("ca.crt", "ca.key"):
            shutil.copy2(layout.identities / name, identities / name)
        issue(identities, "capacity")
        self.address = f"127.0.0.1:{port}"
        self._ready_url = f"http://127.0.0.1:{metrics_port}/health/ready"
        self._child = Child(
            name="capacity-replica",
            command=original.cmdline(),
            environment={
                **original.environ(),
                "HOLDFAST_CAPACITY_LISTEN": self.address,
                "HOLDFAST_CAPACITY_METRICS_LISTEN": f"127.0.0.1:{metrics_port}",
                "HOLDFAST_IDENTITY_DIR": str(identities),
                **(environment or {}),
            },
            log=log_of(layout, "capacity-replica"),
        )

    def start(self) -> None:
        """Start it and wait until it is ready; RuntimeError when it ends instead, TimeoutError."""
        self._child.start()
        deadline = time.monotonic() + READY_SECONDS
        while not rest.answers_ok(self._ready_url):
            if not self._child.alive:
                raise RuntimeError(f"the replica ended:\n{self._child.log_tail()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"the replica is not ready:\n{self._child.log_tail()}")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Stop it in order; also when it is frozen."""
        self.thaw()
        self._child.stop(STOP_SECONDS)

    def freeze(self) -> None:
        """Let it do nothing from now on (SIGSTOP), and return when it does nothing."""
        freeze(self._child.pid)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self._child.send(signal.SIGCONT)


def freeze(pid: int) -> None:
    """SIGSTOP a process, and return when all of it has stopped; TimeoutError."""
    process = psutil.Process(pid)
    process.suspend()
    deadline = time.monotonic() + READY_SECONDS
    while process.status() != psutil.STATUS_STOPPED:
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} does not stop")
        time.sleep(POLL_SECONDS)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Keep a process frozen for the length of a block."""
    freeze(pid)
    try:
        yield
    finally:
        psutil.Process(pid).resume()


@contextmanager
def running_replica(mesh: Mesh, *, environment: dict[str, str] | None = None) -> Iterator[Replica]:
    """Run a second capacity for the length of a block, ready at its start."""
    replica = Replica(mesh, environment=environment)
    try:
        replica.start()
        yield replica
    finally:
        replica.stop()
