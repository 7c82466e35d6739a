"""A mesh for measuring: started for it, with everything on, and removed afterwards."""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from holdfast.local import runtime
from holdfast.local.mesh import LocalMesh, servers
from holdfast.local.settings import SERVICES, LocalSettings, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from holdfast.local.plan import Plan
    from holdfast.local.state import Layout

LIMITS = {
    "HOLDFAST_GATEWAY_ORGANIZATION_REQUESTS_PER_SECOND": "1000000",
    "HOLDFAST_GATEWAY_ORGANIZATION_BURST": "1000000",
}
"""One organization does here what many do elsewhere. Limits are checked as ever, those of principals as by default."""

ELSEWHERE = re.compile(r"HOLDFAST_\w+_(?:DSN|URL|ADDRESS|LISTEN|DIR|PORT)|HOLDFAST_(?:MODE|PAGE_TOKEN_KEY)")
"""Variables that would point a mesh at something that is not its own."""


class Stack:
    """A running mesh."""

    def __init__(self, mesh: LocalMesh, inherited: Mapping[str, str]) -> None:
        self._mesh = mesh
        self.inherited = inherited

    @property
    def plan(self) -> Plan:
        """Addresses and DSNs."""
        return self._mesh.plan

    @property
    def layout(self) -> Layout:
        """The state directory."""
        return self._mesh.layout

    def pids(self) -> dict[str, int]:
        """Give the process of each part: services, postgres, nats, valkey."""
        found = runtime.load(self.layout)
        return {process.name: process.pid for process in found.processes} if found is not None else {}

    def tuned(self) -> dict[str, str]:
        """Give the variables that are not as they are by default."""
        return {name: value for name, value in self.inherited.items() if name.startswith("HOLDFAST_")}


def inherited_environment() -> dict[str, str]:
    """Give the environment of the mesh: ours without what points elsewhere; tuning variables stay."""
    return {name: value for name, value in environment().items() if not ELSEWHERE.fullmatch(name)} | LIMITS


@contextmanager
def running_stack(
    state_dir: Path, *, report: Callable[[str], None], hurry: Callable[[LocalMesh], None]
) -> Iterator[Stack]:
    """Start a mesh in a directory of its own; stop it and delete it, data and all, at the end of the block.

    `hurry` gets the mesh before it starts, for whoever wants to stop it at once. Raises what LocalMesh.start raises.
    """
    settings = LocalSettings.model_construct(state_dir=state_dir)  # the variables of another mesh are not for this one
    inherited = inherited_environment()
    mesh = LocalMesh(settings=settings, inherited=inherited, services=SERVICES, report=report)
    hurry(mesh)
    mesh.layout.ready()
    with runtime.only_one(mesh.layout):
        runtime.end_leftovers(mesh.layout)
        _remove(mesh.layout, settings)
        mesh.layout.ready()
        try:
            mesh.start()
            yield Stack(mesh, inherited)
        finally:
            mesh.stop()
            _remove(mesh.layout, settings)
            shutil.rmtree(mesh.layout.root, ignore_errors=True)


def _remove(layout: Layout, settings: LocalSettings) -> None:
    for server in servers(layout, settings, {}):
        server.remove()
    for directory in (layout.logs, layout.identities, layout.issuer):
        shutil.rmtree(directory, ignore_errors=True)
    for file in (layout.state, layout.runtime):
        file.unlink(missing_ok=True)
