"""One mesh for all end-to-end tests, exporting every trace to a receiver of the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.mesh import running_mesh
from tests.support.traces import TraceReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.support.mesh import Mesh


@pytest.fixture(scope="session")
def traces() -> Iterator[TraceReceiver]:
    """A receiver of everything that the mesh exports."""
    with TraceReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory, traces: TraceReceiver) -> Iterator[Mesh]:
    """A running mesh with demo data."""
    extra = {"HOLDFAST_TRACE_ENDPOINT": traces.endpoint, "HOLDFAST_TRACE_SAMPLE_RATIO": "1.0"}
    with running_mesh(tmp_path_factory.mktemp("mesh") / "state", extra=extra) as running:
        running.wait_printed("curl")
        yield running


@pytest.fixture(scope="session")
def organizer(mesh: Mesh) -> Iterator[httpx.Client]:
    """An organizer of the demo organization."""
    with mesh.client("organizer", subject="olga") as client:
        yield client


@pytest.fixture(scope="session")
def buyer(mesh: Mesh) -> Iterator[httpx.Client]:
    """A buyer of the demo organization."""
    with mesh.client("buyer", subject="bob") as client:
        yield client
