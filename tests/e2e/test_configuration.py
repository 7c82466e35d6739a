"""A service with a wrong configuration does not start, and says which variable is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.mesh import HOLDFAST

if TYPE_CHECKING:
    from tests.support.mesh import Mesh

SERVICES = ("events", "capacity", "pricing", "gateway")


def environment_of(mesh: Mesh, service: str) -> dict[str, str]:
    """Return the environment that the mesh gave to a service, with listeners on free ports."""
    given = psutil.Process(mesh.pid(service)).environ()
    own = {name: value for name, value in given.items() if name.startswith("HOLDFAST_")}
    own |= {f"HOLDFAST_{service.upper()}_{kind}": "127.0.0.1:0" for kind in ("LISTEN", "METRICS_LISTEN")}
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | own


def serve(service: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a service that is expected to end by itself."""
    command = [sys.executable, "-m", f"holdfast.{service}", "serve"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 (our own command, with an environment of the test)


WRONG = [
    ("events", "HOLDFAST_EVENTS_DATABASE_DSN", None),
    ("events", "HOLDFAST_EVENTS_DATABASE_DSN", "mysql://secret-value@nowhere/x"),
    ("capacity", "HOLDFAST_CAPACITY_LISTEN", "secret-value"),
    ("capacity", "HOLDFAST_CAPACITY_RELAY_DSN", None),
    ("capacity", "HOLDFAST_CAPACITY_REAPER", "secret-value"),
    ("pricing", "HOLDFAST_IDENTITY_DIR", "/nonexistent/secret-value"),
    ("pricing", "HOLDFAST_PAGE_TOKEN_KEY", "secret-value"),
    ("pricing", "HOLDFAST_TRACE_SAMPLE_RATIO", "secret-value"),
    ("gateway", "HOLDFAST_GATEWAY_JWKS", None),
    ("gateway", "HOLDFAST_LOG_FORMAT", "secret-value"),
]


@pytest.mark.parametrize(("service", "variable", "value"), WRONG)
def test_a_wrong_variable_is_named_and_its_value_is_not_told(
    mesh: Mesh, service: str, variable: str, value: str | None
) -> None:
    environment = environment_of(mesh, service)
    environment.pop(variable, None)
    if value is not None:
        environment[variable] = value
    run = serve(service, environment)
    assert run.returncode not in (0, None), run.stderr
    assert variable in run.stderr
    assert "secret-value" not in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr


@pytest.mark.parametrize("service", ["events", "capacity", "pricing"])
def test_a_superuser_and_an_owner_are_refused(mesh: Mesh, service: str) -> None:
    state = json.loads((mesh.state / "state.json").read_text())
    for role in ("admin", "owner"):
        environment = environment_of(mesh, service)
        name = f"HOLDFAST_{service.upper()}_DATABASE_DSN"
        environment[name] = state["dsns"]["admin"] if role == "admin" else state["dsns"][f"{service}_owner"]
        run = serve(service, environment)
        assert run.returncode not in (0, None), f"{role}: {run.stdout}{run.stderr}"
        assert "Traceback" not in run.stderr
        assert "superuser" in run.stderr if role == "admin" else "own" in run.stderr


def test_status_of_a_mesh_that_is_not_there_fails(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("nothing")
    environment = dict(mesh.environment) | {"HOLDFAST_STATE_DIR": str(directory / "state")}
    command = [str(HOLDFAST), "status", "--json"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 (our own command, with an environment of the test)
    assert run.returncode != 0
    assert json.loads(run.stdout)["healthy"] is False
