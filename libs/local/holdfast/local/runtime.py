"""What runs now, written down so that another command sees it and the next start can clear up after a crash."""

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil

from holdfast.local.children import POLL_SECONDS, kill_tree, running
from holdfast.local.state import Layout, write_private

START_TIME_TOLERANCE_SECONDS = 0.05
LEFTOVER_GRACE_SECONDS = 10.0


class AlreadyRunningError(Exception):
    """Another supervisor holds the state directory; the message names it."""


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """One process of the mesh. `pid` 0 when none runs; `start_time` is the system's, seconds since the epoch."""

    name: str
    pid: int
    state: str
    restarts: int
    start_time: float
    command: Sequence[str]

    def is_it(self) -> bool:
        """Tell whether the recorded process runs: the same id, started at the same time, with the same command."""
        if self.pid <= 0:
            return False
        try:
            process = psutil.Process(self.pid)
            same_time = abs(process.create_time() - self.start_time) < START_TIME_TOLERANCE_SECONDS
            return same_time and bool(self.command) and process.cmdline()[: len(self.command)] == list(self.command)
        except psutil.Error:
            return False


@dataclass(frozen=True, slots=True)
class Runtime:
    """A running mesh. `phase` is starting, running or stopping; addresses are how to reach it."""

    supervisor: ProcessRecord
    phase: str
    gateway: str
    grpc: Mapping[str, str]
    metrics: Mapping[str, str]
    processes: Sequence[ProcessRecord] = field(default_factory=tuple)


def save(layout: Layout, runtime: Runtime) -> None:
    """Write it down, whole or not at all."""
    write_private(layout.runtime, json.dumps(asdict(runtime), indent=2) + "\n")


def load(layout: Layout) -> Runtime | None:
    """Read what was written last; None when nothing was, or nothing that can be read."""
    try:
        content: dict[str, Any] = json.loads(layout.runtime.read_text())
        processes = tuple(ProcessRecord(**record) for record in content.pop("processes"))
        return Runtime(supervisor=ProcessRecord(**content.pop("supervisor")), processes=processes, **content)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def myself() -> ProcessRecord:
    """Return the record of this process."""
    me = psutil.Process()
    return ProcessRecord(
        name="supervisor", pid=me.pid, state="running", restarts=0, start_time=me.create_time(), command=me.cmdline()
    )


@contextlib.contextmanager
def only_one(layout: Layout) -> Iterator[None]:
    """Hold the state directory for a block. Raises AlreadyRunningError with the holder's process id.

    The kernel lets go when the holder dies, however it dies; the file itself says nothing but who it was.
    """
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = stream.read(32).strip() or "unknown"
            raise AlreadyRunningError(
                f"process {holder} already uses the state directory {layout.root}; "
                "`holdfast stop` ends it, HOLDFAST_STATE_DIR chooses another directory"
            ) from None
        stream.seek(0)
        stream.truncate()
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        yield


def held(layout: Layout) -> int | None:
    """Return the process id of who holds the state directory now; None when nobody does."""
    try:
        with layout.lock.open("r+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                text = stream.read(32).strip()
                return int(text) if text.isdigit() else 0
    except FileNotFoundError:
        pass
    return None


def end_leftovers(layout: Layout) -> list[ProcessRecord]:
    """End what a supervisor that crashed left running; returns what was ended. Call it holding the lock.

    Only processes that are provably the recorded ones are touched; a process id that was given to another is not.
    """
    runtime = load(layout)
    if runtime is None:
        return []
    leftovers = [record for record in runtime.processes if record.is_it()]
    for record in leftovers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGINT if record.name == "postgres" else signal.SIGTERM)
    deadline = time.monotonic() + LEFTOVER_GRACE_SECONDS
    while any(running(record.pid) for record in leftovers) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for record in leftovers:
        if record.is_it():
            kill_tree(record.pid)
    layout.runtime.unlink(missing_ok=True)
    return leftovers
