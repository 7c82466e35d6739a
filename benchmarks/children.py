"""Programs of the benchmark as processes of their own: loads that end, servers that serve."""

from __future__ import annotations

import itertools
import json
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.load.outcome import Outcome, read_outcome
from benchmarks.options import ROOT
from holdfast.local.children import Child
from holdfast.local.settings import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

START_SECONDS_MAX = 30.0
EXTRA_SECONDS_MAX = 90.0
"""What a load may take beyond the seconds of its job: starting, connecting, the last answers."""
POLL_SECONDS = 0.05
STOP_SECONDS = 5.0


class LoadFailedError(Exception):
    """A program of the benchmark itself ended badly or did not end; the message has the end of its log."""


class Children:
    """Starts programs and waits for them, in a directory that keeps their jobs and logs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count(1)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _child(self, program: str, job: Mapping[str, Any]) -> tuple[Child, Path]:
        name = f"{program}-{next(self._numbers)}"
        job_file, result = self._directory / f"{name}.job.json", self._directory / f"{name}.result"
        job_file.write_text(json.dumps(job))
        job_file.chmod(0o600)
        child = Child(
            name=name,
            command=[sys.executable, "-m", f"benchmarks.load.{program}", str(job_file), str(result)],
            environment=environment(),
            log=self._directory / f"{name}.log",
            directory=ROOT,
        )
        child.start()
        return child, result

    def loads(self, jobs: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Outcome]:
        """Run loads beside each other, (program, job) each; give what each measured. Raises LoadFailedError."""
        started: list[tuple[Child, Path]] = []
        try:
            started.extend(self._child(program, job) for program, job in jobs)
            seconds = max(job["warm_seconds"] + job["seconds"] for _, job in jobs)
            deadline = time.monotonic() + seconds + EXTRA_SECONDS_MAX
            for child, _ in started:
                while not child.wait(POLL_SECONDS):
                    if time.monotonic() > deadline:
                        raise LoadFailedError(f"{child.name} did not end\n{child.log_tail()}")
                if child.exit_code != 0:
                    raise LoadFailedError(f"{child.name} exited with {child.exit_code}\n{child.log_tail()}")
            return [read_outcome(result) for _, result in started]
        finally:
            for child, _ in started:
                child.kill()

    @contextmanager
    def serving(self, program: str, job: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
        """Run a server for the length of a block; gives its port and its process id. Raises LoadFailedError."""
        child, port_file = self._child(program, job)
        try:
            deadline = time.monotonic() + START_SECONDS_MAX
            while not port_file.exists():
                if child.wait(POLL_SECONDS) or time.monotonic() > deadline:
                    raise LoadFailedError(f"{child.name} does not serve\n{child.log_tail()}")
            yield int(port_file.read_text()), child.pid
        finally:
            child.stop(STOP_SECONDS)
