"""A whole mesh for a test: `holdfast up` in a state directory of its own, spoken to from outside only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import psutil

from holdfast.local import runtime
from holdfast.local.children import kill_tree, running
from holdfast.local.postgres import EmbeddedPostgres
from holdfast.local.state import Layout
from holdfast.local.status import gather

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from holdfast.local.runtime import ProcessRecord
    from holdfast.local.status import MeshStatus

HOLDFAST = Path(sys.executable).with_name("holdfast")
START_SECONDS = 120
STOP_SECONDS = 60
COMMAND_SECONDS = 60


class MeshDiedError(Exception):
    """`holdfast up` ended although nobody asked it to; carries what it printed."""


@dataclass
class Mesh:
    """A running mesh. `status` asks the mesh itself each time; nothing of it is remembered here."""

    state: Path
    process: subprocess.Popen[bytes]
    output: Path
    environment: Mapping[str, str]
    organization_id: str = ""
    _tokens: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one `holdfast …` command against this mesh."""
        return subprocess.run(  # noqa: S603 — our own command with arguments of the test
            [str(HOLDFAST), *arguments],
            env=dict(self.environment),
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=check,
        )

    def status(self) -> dict[str, Any]:
        """Return what `holdfast status --json` prints, also when the mesh is not healthy."""
        text = self.command("status", "--json", check=False).stdout
        result: dict[str, Any] = json.loads(text) if text.strip() else {"healthy": False, "processes": []}
        return result

    def look(self) -> MeshStatus:
        """Return what `holdfast status` finds out, without starting a program for it: for polling."""
        return gather(Layout(self.state))

    def pid(self, name: str) -> int:
        """Return the process id of one process of the mesh."""
        return {process.name: process.pid for process in self._records()}[name]

    def restarts(self, name: str) -> int:
        """Return how often the supervisor restarted a process."""
        return self.all_restarts()[name]

    def all_restarts(self) -> dict[str, int]:
        """Return how often the supervisor restarted each process."""
        return {process.name: process.restarts for process in self._records()}

    def _records(self) -> Sequence[ProcessRecord]:
        """Return what the supervisor wrote down of its processes; nobody is asked how it is: for polling."""
        running = runtime.load(Layout(self.state))
        return () if running is None else running.processes

    def token(self, role: str, *, subject: str = "", organization_id: str = "") -> str:
        """Mint a development token; one for each role, subject and organization."""
        key = (role, subject, organization_id)
        if key not in self._tokens:
            arguments = ["token", "--role", role]
            if subject:
                arguments += ["--subject", subject]
            if organization_id:
                arguments += ["--organization", organization_id]
            self._tokens[key] = self.command(*arguments).stdout.strip()
        return self._tokens[key]

    @property
    def gateway(self) -> str:
        """Base URL of the gateway."""
        return self.look().gateway

    def client(self, role: str, *, subject: str = "", organization_id: str = "") -> httpx.Client:
        """Return an HTTP client with a token of the role; the caller closes it."""
        token = self.token(role, subject=subject, organization_id=organization_id)
        return httpx.Client(base_url=self.gateway, headers={"Authorization": f"Bearer {token}"}, timeout=20)

    def certificate(self, name: str) -> Path:
        """Return the directory with ca.crt, <name>.crt and <name>.key; one that is not the mesh's own is issued."""
        own = Layout(self.state).identities
        if (own / f"{name}.crt").exists():
            return own
        directory = self.state / "test-certificates"
        if not (directory / f"{name}.crt").exists():
            self.command("certificate", name, "--directory", str(directory))
        return directory

    def channel(self, service: str, *, certificate: str) -> grpc.Channel:
        """Return a synchronous channel to a service with the named certificate; the caller closes it."""
        directory = self.certificate(certificate)
        credentials = grpc.ssl_channel_credentials(
            root_certificates=(directory / "ca.crt").read_bytes(),
            private_key=(directory / f"{certificate}.key").read_bytes(),
            certificate_chain=(directory / f"{certificate}.crt").read_bytes(),
        )
        options = [("grpc.ssl_target_name_override", f"{service}.holdfast.internal")]
        return grpc.secure_channel(self.status()["grpc"][service], credentials, options)

    def wait_healthy(self, seconds: float = START_SECONDS) -> None:
        """Wait until the mesh says that it is healthy; MeshDiedError or TimeoutError otherwise."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise MeshDiedError(self.output.read_text(errors="replace")[-4000:])
            if self.look().healthy:
                return
            time.sleep(0.1)
        raise TimeoutError(f"not healthy after {seconds} s:\n{self.output.read_text(errors='replace')[-4000:]}")

    def wait_printed(self, text: str, seconds: float = START_SECONDS) -> str:
        """Wait until `holdfast up` printed a text; return all it printed so far."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            printed = self.output.read_text(errors="replace")
            if text in printed:
                return printed
            if self.process.poll() is not None:
                raise MeshDiedError(printed[-4000:])
            time.sleep(0.1)
        raise TimeoutError(
            f"{text!r} not printed after {seconds} s:\n{self.output.read_text(errors='replace')[-4000:]}"
        )

    def wait_restarted(self, name: str, *, restarts: int, seconds: float = START_SECONDS) -> None:
        """Wait until a process was restarted so often in all, and the mesh is healthy again; TimeoutError."""
        deadline = time.monotonic() + seconds
        while self.all_restarts().get(name, 0) < restarts:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} was not restarted within {seconds} s: {self.look()}")
            time.sleep(0.05)
        self.wait_healthy(seconds)

    def kill(self, name: str) -> None:
        """Send SIGKILL to a process of the mesh and all its descendants; return when all are gone."""
        kill_tree(self.pid(name))

    @contextmanager
    def frozen_supervisor(self) -> Iterator[None]:
        """Let nothing be restarted in a block."""
        supervisor = psutil.Process(self.look().supervisor_pid)
        supervisor.suspend()
        try:
            yield
        finally:
            supervisor.resume()

    def tree(self) -> list[psutil.Process]:
        """Return every process of the mesh: the supervisor, what it started, and what those started."""
        supervisor = self.look().supervisor_pid
        if not supervisor:
            return []
        root = psutil.Process(supervisor)
        return [root, *root.children(recursive=True)]


def still_running(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Return those of some processes that still run; a zombie does not."""
    return [process for process in processes if process.is_running() and running(process.pid)]


def mesh_environment(state: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a mesh that shares nothing with another one of this machine."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return environment | {"HOLDFAST_STATE_DIR": str(state), "NO_COLOR": "1", "COLUMNS": "400"} | dict(extra or {})


def start_mesh(state: Path, *arguments: str, extra: Mapping[str, str] | None = None) -> Mesh:
    """Start `holdfast up` and return at once; the caller waits for what it needs, and stops it."""
    state.mkdir(parents=True, exist_ok=True)
    output = state.with_name(state.name + ".out")
    environment = mesh_environment(state, extra)
    with output.open("ab") as stream:
        process = subprocess.Popen(  # noqa: S603 — our own command
            [str(HOLDFAST), "up", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Mesh(state=state, process=process, output=output, environment=environment)


def stop_mesh(mesh: Mesh) -> int:
    """Ask the mesh to stop as Ctrl-C does, and return the exit code of `holdfast up`."""
    if mesh.process.poll() is None:
        mesh.process.send_signal(signal.SIGINT)
    try:
        return mesh.process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        mesh.process.kill()
        mesh.process.wait(STOP_SECONDS)
        raise


@contextmanager
def running_mesh(state: Path, *arguments: str, extra: Mapping[str, str] | None = None) -> Iterator[Mesh]:
    """Run a mesh for the length of a block, healthy at its start, stopped at its end."""
    mesh = start_mesh(state, *arguments, extra=extra)
    try:
        mesh.wait_healthy()
        yield mesh
    finally:
        stop_mesh(mesh)
        EmbeddedPostgres(state / "postgres").remove()  # as root its data lies outside of the state directory


def key() -> str:
    """Return an idempotency key that nobody used before."""
    return uuid.uuid4().hex
