"""What the three embedded servers have in common: a directory, a port, a process, a secret."""

import os
import secrets
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from holdfast.local import ports
from holdfast.local.accounts import Account
from holdfast.local.children import Child

READY_SECONDS = 30.0
READY_POLL_SECONDS = 0.01
STOP_SECONDS = 20.0
PORT_ATTEMPTS = 5


class ServerFailedError(Exception):
    """An embedded server did not start; the message carries the end of its log."""


def secret_file(path: Path) -> str:
    """Return the secret in a file, made on first use: 32 random bytes as URL-safe text, readable by the owner only."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as stream:
        text = secrets.token_urlsafe(32)
        stream.write(text + "\n")
    return text


def rotate(log: Path) -> None:
    """Keep a log of the start before as `<name>.1`, and begin anew."""
    if log.exists() and log.stat().st_size > 0:
        log.replace(log.with_name(log.name + ".1"))


class EmbeddedServer(ABC):
    """A server that runs as a child of this process and listens on 127.0.0.1 only.

    `start`, `stop` and `kill` are synchronous and may be called from any thread, one at a time. After `stop` or `kill`,
    `start` brings it back on the same port with the same data and password. The server ends when this process does,
    even by SIGKILL.
    """

    name = "server"

    def __init__(self, directory: Path, port: int = 0, *, log: Path | None = None) -> None:
        """`directory` keeps data and password and is made if it is missing; port 0 means any free one."""
        self.directory = Path(directory).absolute()
        self._port = port
        self._port_is_fixed = port != 0
        self._log = log or self.directory / "log"
        self._child: Child | None = None

    @property
    def port(self) -> int:
        """The TCP port; 0 until the first start when any was asked for."""
        return self._port

    @property
    def pid(self) -> int:
        """The process id of the server's main process; raises RuntimeError when it was never started."""
        return self._require_child().pid

    @property
    def child(self) -> Child | None:
        """The process, for a supervisor; None before the first start."""
        return self._child

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._child is not None and self._child.alive

    @property
    def ready(self) -> bool:
        """Whether it answers an authenticated request now."""
        try:
            return self.alive and self._answers()
        except ServerFailedError:
            return False

    def start(self) -> None:
        """Start and wait until it answers. Raises ServerFailedError, PortTakenError, ProgramMissingError."""
        if self.alive:
            return
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for attempt in range(1, PORT_ATTEMPTS + 1):
            if self._port == 0:
                self._port = ports.choose()
            elif not ports.is_free(self._port) and self._port_is_fixed:
                raise ports.taken(name=self.name, port=self._port, variable=f"HOLDFAST_{self.name.upper()}_PORT")
            self._prepare()
            rotate(self._log)
            self._child = Child(
                name=self.name,
                command=self._command(),
                environment=self._environment(),
                log=self._log,
                account=self._account(),
                stop_signal=self._stop_signal(),
            )
            self._child.start()
            try:
                is_ready = self._wait_until_ready()
            except ServerFailedError:
                self._child.kill()
                raise
            if is_ready:
                self._port_is_fixed = True
                return
            failure = self._child.log_tail()
            self._child.kill()
            if self._port_is_fixed or attempt == PORT_ATTEMPTS or ports.is_free(self._port):
                raise ServerFailedError(f"{self.name} did not start. The end of its log {self._log}:\n{failure}")
            self._port = 0  # somebody else took the port between our look and the server's start

    def stop(self) -> None:
        """Ask it to end in order, and wait; it is killed if it does not within STOP_SECONDS."""
        if self._child is not None:
            self._child.stop(STOP_SECONDS)

    def kill(self) -> None:
        """SIGKILL its whole process group, as a power cut would; returns when all of it is gone."""
        if self._child is not None:
            self._child.kill()

    def remove(self) -> None:
        """Kill it and delete its data, wherever it had to be put."""
        self.kill()

    def _require_child(self) -> Child:
        if self._child is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._child

    def _wait_until_ready(self) -> bool:
        child = self._require_child()
        deadline = time.monotonic() + READY_SECONDS
        while child.alive and time.monotonic() < deadline:
            if self._answers():
                return True
            time.sleep(READY_POLL_SECONDS)
        return False

    def _environment(self) -> Mapping[str, str]:
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

    def _account(self) -> Account | None:
        return None

    @abstractmethod
    def _prepare(self) -> None:
        """Make what the server needs on disk."""

    @abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """Return what to run."""

    @abstractmethod
    def _stop_signal(self) -> signal.Signals:
        """Return which signal ends it in order."""

    @abstractmethod
    def _answers(self) -> bool:
        """Tell whether it answers an authenticated request now; raises ServerFailedError when it never will."""
