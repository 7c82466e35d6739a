"""One process that we start, watch and end, and that cannot outlive us."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from holdfast.local.accounts import Account

LAUNCHER = Path(__file__).with_name("launch.py")
POLL_SECONDS = 0.02
KILL_SECONDS = 10.0
START_SECONDS = 30.0


def running(pid: int) -> bool:
    """Tell whether a process exists and is not merely waiting to be reaped."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def kill_tree(pid: int) -> None:
    """SIGKILL a process and all its descendants; returns when all are gone or after KILL_SECONDS.

    The root is frozen first so that it cannot start another one while they are listed. PostgreSQL needs this: each of
    its processes is a session of its own, which no signal to a process group reaches.
    """
    try:
        root = psutil.Process(pid)
        root.suspend()
        victims = [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        return
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
    deadline = time.monotonic() + KILL_SECONDS
    while any(victim.is_running() and running(victim.pid) for victim in victims) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


class Child:
    """A process of ours. Start it once; make another Child to start it again.

    A thread of its own starts the process and waits for it. That is not only for reaping it at once: Linux counts the
    *thread* that forked as the parent whose death is reported, so it must live as long as the child does.
    """

    def __init__(  # noqa: PLR0913 - a process has so many properties
        self,
        *,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        log: Path,
        directory: Path = Path("/"),
        account: Account | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        """`environment` is all that the process gets; its output is appended to `log`."""
        self.name = name
        self.log = log
        self.exit_code: int | None = None
        self.start_time: float | None = None
        self._command = [str(part) for part in command]
        self._environment = dict(environment)
        self._directory = directory
        self._account = account
        self._stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: OSError | None = None
        self._started = threading.Event()
        self._ended = threading.Event()

    @property
    def pid(self) -> int:
        """The process id; raises RuntimeError before start."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    @property
    def command(self) -> list[str]:
        """What runs."""
        return list(self._command)

    @property
    def alive(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and not self._ended.is_set()

    def start(self) -> None:
        """Start the process; raises OSError if there is no such program or no memory."""
        if self._started.is_set():
            raise RuntimeError(f"{self.name} was started before")
        threading.Thread(target=self._run, name=f"child-{self.name}", daemon=True).start()
        if not self._started.wait(START_SECONDS):
            raise TimeoutError(f"{self.name} could not be forked within {START_SECONDS:.0f} s")
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        account = self._account
        identity = [str(account.uid), str(account.gid)] if account else ["-1", "-1"]
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(int(self._stop_signal)), *identity]
        try:
            with self.log.open("ab") as output:
                self._process = subprocess.Popen(  # noqa: S603 - the command is ours, no shell is involved
                    [*launcher, *self._command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                    cwd=self._directory,
                    start_new_session=True,  # a terminal's Ctrl-C is for the supervisor alone, which stops in order
                )
            with contextlib.suppress(psutil.NoSuchProcess):
                self.start_time = psutil.Process(self._process.pid).create_time()
        except OSError as error:
            self._failure = error
            self._ended.set()
            self._started.set()
            return
        self._started.set()
        self.exit_code = self._process.wait()
        self._ended.set()

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for the end; False if it still runs after the timeout."""
        return self._ended.wait(timeout_seconds)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process itself; nothing happens if it has ended."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def stop(self, grace_seconds: float, *, number: signal.Signals | None = None) -> bool:
        """Ask it to end and wait; what still runs after the grace is killed. True if it ended by itself."""
        self.send(number or self._stop_signal)
        if not self.alive or self.wait(grace_seconds):
            return True
        self.kill()
        return False

    def kill(self) -> None:
        """SIGKILL it and its descendants; returns when they are gone."""
        if self.alive:
            kill_tree(self.pid)
            self.wait(KILL_SECONDS)

    def log_tail(self, lines: int = 20) -> str:
        """Return the end of its log, for a message about why it failed."""
        try:
            with self.log.open("rb") as stream:
                stream.seek(0, os.SEEK_END)
                stream.seek(max(0, stream.tell() - 64 * 1024))
                text = stream.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])
