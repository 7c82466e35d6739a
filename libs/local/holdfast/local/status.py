"""How a mesh is, asked from outside: what the supervisor wrote down, and what each process says now."""

import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from holdfast.local import rest, runtime, state
from holdfast.local.plan import gateway_ready_url
from holdfast.local.runtime import ProcessRecord, Runtime
from holdfast.local.state import Layout

CONNECT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process. `state` is starting, running, restarting, stopping, stopped, failed, down or `not ready`."""

    name: str
    pid: int
    state: str
    restarts: int


@dataclass(frozen=True, slots=True)
class MeshStatus:
    """A mesh. `phase` is down, starting, running or stopping; addresses are empty when it is down."""

    phase: str
    healthy: bool
    state_directory: str
    supervisor_pid: int = 0
    gateway: str = ""
    organization_id: str = ""
    grpc: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    processes: list[ProcessStatus] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return what `holdfast status --json` prints."""
        return {
            "healthy": self.healthy,
            "phase": self.phase,
            "gateway": self.gateway,
            "grpc": self.grpc,
            "metrics": self.metrics,
            "processes": [
                {"name": each.name, "pid": each.pid, "state": each.state, "restarts": each.restarts}
                for each in self.processes
            ],
            "supervisor": self.supervisor_pid,
            "state_directory": self.state_directory,
            "organization_id": self.organization_id,
        }


def gather(layout: Layout) -> MeshStatus:
    """Ask the mesh of a state directory how it is; takes no longer than one health check."""
    running = runtime.load(layout)
    if running is None or not running.supervisor.is_it():
        return MeshStatus(phase="down", healthy=False, state_directory=str(layout.root))
    remembered = state.load(layout)
    with ThreadPoolExecutor(max_workers=len(running.processes) or 1) as pool:
        found = pool.map(lambda record: _ask(record, running, dict(remembered.ports)), running.processes)
        processes = list(found)
    everything = bool(processes) and all(each.state == "running" for each in processes)
    return MeshStatus(
        phase=running.phase,
        healthy=running.phase == "running" and everything,
        state_directory=str(layout.root),
        supervisor_pid=running.supervisor.pid,
        gateway=running.gateway,
        organization_id=remembered.demo.organization_id,
        grpc=dict(running.grpc),
        metrics=dict(running.metrics),
        processes=processes,
    )


def ready_url(running: Runtime, service: str) -> str:
    """Return where a service of a running mesh says whether it is ready; empty for what is not a service."""
    if service == "gateway":
        return gateway_ready_url(running.gateway, [each.name for each in running.processes])
    metrics = running.metrics.get(service, "")
    return f"{metrics.removesuffix('/metrics')}/health/ready" if metrics else ""


def _ask(record: ProcessRecord, running: Runtime, ports: dict[str, int]) -> ProcessStatus:
    now = record.state
    if now == "running":
        url = ready_url(running, record.name)
        if not record.is_it():
            now = "down"
        elif not (rest.answers_ok(url) if url else _listens(ports.get(record.name, 0))):
            now = "not ready"
    return ProcessStatus(name=record.name, pid=record.pid, state=now, restarts=record.restarts)


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=CONNECT_SECONDS):
            return True
    except OSError:
        return False
