"""One mesh for all faults that a mesh survives, and how often each fault is tried."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from holdfast.common.authority import create_authority, issue
from holdfast.local.ports import choose
from holdfast.local.settings import SERVICES
from tests.faults.snapshot import store_of
from tests.support.mesh import running_mesh, still_running, stop_mesh

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.snapshot import Store
    from tests.support.mesh import Mesh

TRIALS = int(os.environ.get("HOLDFAST_FAULT_TRIALS", "1"))
"""How often each fault is tried, each time with a seed of its own."""
KILLS = int(os.environ.get("HOLDFAST_FAULT_KILLS", "5"))
"""How often capacity and PostgreSQL are killed, each."""
KILLS_A_SHOW = 5
"""How many of them fall into the trade on one event."""
FIRST_SEED = 1


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for a `seed` one for each trial; the seed is part of the test's name."""
    if "seed" in metafunc.fixturenames:
        seeds = range(FIRST_SEED, FIRST_SEED + TRIALS)
        metafunc.parametrize("seed", seeds, ids=[f"seed{seed}" for seed in seeds])
    if "kills_seed" in metafunc.fixturenames:
        seeds = range(FIRST_SEED, FIRST_SEED + -(-KILLS // KILLS_A_SHOW))
        metafunc.parametrize("kills_seed", seeds, ids=[f"seed{seed}" for seed in seeds])


# The clients of a trial are one principal and ask as fast as they can; what is killed again and again comes back soon.
FAST_CLIENTS = {
    "HOLDFAST_GATEWAY_PRINCIPAL_REQUESTS_PER_SECOND": "5000",
    "HOLDFAST_GATEWAY_PRINCIPAL_BURST": "10000",
    "HOLDFAST_RESTART_SECONDS_MAX": "0.5",
}


def breakable() -> dict[str, str]:
    """Return the environment of a mesh whose processes are killed.

    Its ports are not the usual ones: those another mesh would take while the process that has them is down.
    """
    listens = [f"HOLDFAST_{service.upper()}_{kind}" for service in SERVICES for kind in ("LISTEN", "METRICS_LISTEN")]
    ports = [f"HOLDFAST_{server}_PORT" for server in ("POSTGRES", "NATS", "VALKEY")]
    free: set[int] = set()
    while len(free) < len(listens) + len(ports):
        free.add(choose())
    numbers = iter(free)
    return (
        FAST_CLIENTS
        | {name: f"127.0.0.1:{next(numbers)}" for name in listens}
        | {name: str(next(numbers)) for name in ports}
    )


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A running mesh with demo data, whose processes are killed one after the other; Ctrl-C leaves nothing of it."""
    with running_mesh(tmp_path_factory.mktemp("faults") / "state", extra=breakable()) as running:
        running.wait_printed("curl")
        yield running
        processes = running.tree()
        assert stop_mesh(running) == 0
        assert still_running(processes) == []


@pytest.fixture(scope="session")
def store(mesh: Mesh) -> Store:
    """Where that mesh keeps its data."""
    return store_of(mesh.state)


@pytest.fixture(scope="session")
def identity_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates for services that a test runs without a mesh."""
    directory = tmp_path_factory.mktemp("identity")
    create_authority(directory)
    for name in ("gateway", "events", "capacity", "pricing", "orders"):
        issue(directory, name)
    return directory


@pytest.fixture
def history_path(tmp_path: Path) -> Path:
    """Where a trial leaves its history."""
    return tmp_path / "history.jsonl"
