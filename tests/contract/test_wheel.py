"""The package of stubs as another service's engineer gets it: built, installed where nothing else is, and used.

No index is asked. What the package declares to need is copied, file by file, from the locked packages of this
environment; whatever it needed beyond that would be missing.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from pydantic import SecretStr

from holdfast.api.capacity.v1 import hold_pb2, hold_service_pb2
from holdfast.common.authority import create_authority, issue
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from holdfast.common.mesh_identity import MeshIdentity
from holdfast.common.metrics import Metrics
from holdfast.common.rpc_server import RpcServer
from holdfast.common.settings import MeshSettings

from .contracts import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.common.rpc_server import Call

DISTRIBUTION = "holdfast-api"
README = REPOSITORY / "libs" / "api" / "README.md"
TYPES = ("types-grpcio", "types-protobuf")
SECONDS_MAX = 300

WRONG_FIELD = """
from holdfast.api.capacity.v1 import hold_service_pb2

request = hold_service_pb2.PlaceHoldRequest(section_id="s", quantity=2, order_id="o")
request.hold_minutes = 5
print(request.sektion_id)
"""


def run(*command: str | Path, status: int = 0) -> str:
    """Run a command outside of the repository's environment; give what it says."""
    result = subprocess.run(  # noqa: S603 — commands of this file
        [str(word) for word in command],
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout + result.stderr


def requirements(name: str) -> Iterator[str]:
    """Give the distributions that one needs, whatever they need in turn included."""
    for text in metadata.requires(name) or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name
            yield from requirements(requirement.name)


def copy(name: str, site: Path) -> None:
    """Copy a distribution of this environment into another."""
    distribution = metadata.distribution(name)
    for file in distribution.files or ():
        source = Path(str(distribution.locate_file(file)))
        if ".." not in file.parts and source.is_file() and source.suffix != ".pyc":
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy as `make wheel` does."""
    directory = tmp_path_factory.mktemp("wheel")
    shutil.copytree(REPOSITORY / "libs" / "api", directory / "api", ignore=shutil.ignore_patterns("__pycache__"))
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    options = ("--quiet", "--offline", "--no-build-isolation", "--wheel", "--python", sys.executable)
    run(uv, "build", *options, "--cache-dir", directory / "cache", "--out-dir", directory, directory / "api")
    [built] = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def interpreter(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the wheel and what it declares to need, and nothing else."""
    directory = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", directory)
    python = directory / "bin" / "python"
    [site] = (directory / "lib").glob("python*/site-packages")
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    pip = (uv, "pip", "--quiet", "--cache-dir", directory / "cache")
    run(*pip, "install", "--offline", "--no-index", "--no-deps", "--python", python, wheel)
    for name in set(requirements(DISTRIBUTION)):
        copy(name, site)
    run(*pip, "check", "--python", python)
    return python


def examples() -> tuple[str, str]:
    """The README's two programs: a client and a consumer."""
    found = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    client, consumer = found
    return client, consumer


def test_the_environment_has_nothing_of_the_mesh_but_the_stubs(interpreter: Path) -> None:
    for module in ("holdfast.common", "holdfast.capacity", "sqlalchemy", "pytest", "protovalidate"):
        assert "ModuleNotFoundError" in run(interpreter, "-c", f"import {module}", status=1)


def test_every_module_imports(interpreter: Path) -> None:
    root = REPOSITORY / "libs" / "api"
    modules = [
        ".".join(path.relative_to(root).with_suffix("").parts) for path in sorted(root.glob("holdfast/**/*_pb2*.py"))
    ]
    assert len(modules) > 40
    run(interpreter, "-c", "\n".join(f"import {module}" for module in modules))


def test_a_request_is_built_and_read(interpreter: Path) -> None:
    program = (
        "from holdfast.api.capacity.v1 import hold_service_pb2 as pb\n"
        "request = pb.PlaceHoldRequest(section_id='s', quantity=2, request_id='order-1')\n"
        "assert pb.PlaceHoldRequest.FromString(request.SerializeToString()) == request\n"
        "print(request.quantity, pb.DESCRIPTOR.services_by_name['HoldService'].full_name)"
    )
    assert run(interpreter, "-c", program).split() == ["2", "holdfast.api.capacity.v1.HoldService"]


def test_the_readme_comes_with_it(interpreter: Path) -> None:
    program = f"from importlib.metadata import metadata; print(metadata('{DISTRIBUTION}').get_payload())"
    assert "## Retries and idempotency" in run(interpreter, "-c", program)


class Holds:
    """Holds what it is asked to, once for each section."""

    def __init__(self) -> None:
        self.requests: list[hold_service_pb2.PlaceHoldRequest] = []
        self.calls: list[Call] = []

    async def place_hold(
        self, request: hold_service_pb2.PlaceHoldRequest, call: Call
    ) -> hold_service_pb2.PlaceHoldResponse:
        if self.requests:
            raise DomainError(Reason.INSUFFICIENT_CAPACITY, "too few places", metadata={"available": "1"})
        self.requests.append(request)
        self.calls.append(call)
        return hold_service_pb2.PlaceHoldResponse(hold=hold_pb2.Hold(id="hold-1"))


async def test_the_readmes_client_talks_to_a_server_of_the_mesh(interpreter: Path, tmp_path: Path) -> None:
    create_authority(tmp_path)
    for name in ("capacity", "orders"):
        issue(tmp_path, name)
    holds, organization, section = Holds(), new_id(), new_id()
    server = RpcServer(
        service="capacity",
        listen="127.0.0.1:0",
        identity=MeshIdentity.load(tmp_path, "capacity"),
        mesh=MeshSettings(identity_dir=tmp_path, page_token_key=SecretStr("k" * 32)),
        metrics=Metrics("capacity"),
        notice_seconds=0.0,
    )
    server.add(hold_service_pb2.DESCRIPTOR.services_by_name["HoldService"], holds)
    await server.start()
    client = tmp_path / "client.py"
    client.write_text(examples()[0], encoding="utf-8")
    command = (interpreter, client, tmp_path, "orders", server.address, organization, section)
    try:
        assert await asyncio.to_thread(run, *command) == "held: hold-1\n"
        refused = await asyncio.to_thread(run, *command, status=1)
    finally:
        await server.stop()
    assert refused == "refused: INSUFFICIENT_CAPACITY {'available': '1'}\n"
    [request], [call] = holds.requests, holds.calls
    assert (request.section_id, request.quantity, request.request_id[:6]) == (section, 2, "order-")
    assert (call.principal.subject, call.organization_id) == ("service:orders", organization)
    assert call.remaining() <= 2.0


def test_types_are_checked_against_the_stubs(interpreter: Path, tmp_path: Path) -> None:
    [site] = interpreter.parents[1].glob("lib/python*/site-packages")
    for name in (*TYPES, "nats-py"):  # what the README tells to add for checking, and its consumer's library
        copy(name, site)
    names = ("client.py", "consumer.py", "wrong.py")
    for name, text in zip(names, (*examples(), WRONG_FIELD), strict=True):
        (tmp_path / name).write_text(text, encoding="utf-8")
    mypy = (sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}")
    check = (*mypy, f"--python-executable={interpreter}")
    assert "Success" in run(*check, tmp_path / "client.py", tmp_path / "consumer.py")
    errors = run(*check, tmp_path / "wrong.py", status=1)
    assert 'Unexpected keyword argument "order_id" for "PlaceHoldRequest"' in errors
    assert '"PlaceHoldRequest" has no attribute "hold_minutes"' in errors
    assert '"PlaceHoldRequest" has no attribute "sektion_id"' in errors
