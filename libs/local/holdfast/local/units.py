"""What a supervisor looks after: anything that can be started, asked and stopped."""

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from holdfast.local.children import Child
from holdfast.local.servers import rotate

GRACE_SECONDS = 15.0


class Unit(Protocol):
    """A process with a name. Embedded servers are units as they are."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def child(self) -> Child | None:
        """The process that runs or ran last; None before the first start."""
        ...

    @property
    def ready(self) -> bool:
        """Whether it does its work now."""
        ...

    def start(self) -> None:
        """Start it. It need not be ready on return. Raises OSError, ServerFailedError, PortTakenError."""
        ...

    def stop(self) -> None:
        """Stop it in order, within a bounded time."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


class Program:
    """A program of ours, run as a process of its own."""

    def __init__(  # noqa: PLR0913 - a process has so many properties
        self,
        *,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        log: Path,
        is_ready: Callable[[], bool],
        directory: Path = Path("/"),
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        """`is_ready` is asked while the process runs; it must answer within a few seconds and never raise."""
        self.name = name
        self.child: Child | None = None
        self._command = command
        self._environment = environment
        self._log = log
        self._is_ready = is_ready
        self._directory = directory
        self._grace_seconds = grace_seconds

    @property
    def ready(self) -> bool:
        """Whether the process runs and says that it is ready."""
        return self.child is not None and self.child.alive and self._is_ready()

    def start(self) -> None:
        """Start the process; its log of the time before is kept as `<log>.1`."""
        rotate(self._log)
        self.child = Child(
            name=self.name,
            command=self._command,
            environment=self._environment,
            log=self._log,
            directory=self._directory,
            stop_signal=signal.SIGTERM,
        )
        self.child.start()

    def stop(self) -> None:
        """Send SIGTERM and wait; it is killed after the grace."""
        if self.child is not None:
            self.child.stop(self._grace_seconds)

    def kill(self) -> None:
        """SIGKILL it and its descendants."""
        if self.child is not None:
            self.child.kill()
