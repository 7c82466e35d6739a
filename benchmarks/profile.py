"""Where the time of a run goes: py-spy beside each Python process of the mesh, if it is installed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

SERVICES = ("gateway", "capacity", "pricing", "events")
SAMPLES_A_SECOND = 100
STOP_SECONDS = 20.0
SHOWN = 40


def recorder() -> str | None:
    """Find py-spy, beside this Python or on the path."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")


class Profile:
    """Records the services for the length of a block: `<service>.folded` has the stacks, `<service>.txt` the shares."""

    def __init__(self, pids: Mapping[str, int], directory: Path, *, on: bool) -> None:
        """Do nothing unless `on`. Entering raises FileNotFoundError when py-spy is missing."""
        self._pids = {name: pids[name] for name in SERVICES if name in pids} if on else {}
        self._directory = directory
        self._recorders: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        if not self._pids:
            return self
        program = recorder()
        if program is None:
            raise FileNotFoundError("py-spy is not installed; --profile needs it: pip install py-spy")
        self._directory.mkdir(parents=True, exist_ok=True)
        for name, pid in self._pids.items():
            output = self._directory / f"{name}.folded"
            what = ["--pid", str(pid), "--gil", "--function", "--rate", str(SAMPLES_A_SECOND)]
            self._recorders[name] = subprocess.Popen(  # noqa: S603 (found beside our own Python)
                [program, "record", *what, "--format", "raw", "--output", str(output)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._recorders.values():
            process.send_signal(signal.SIGINT)  # it writes what it has
        for name, process in self._recorders.items():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            folded = self._directory / f"{name}.folded"
            if folded.exists():
                self._directory.joinpath(f"{name}.txt").write_text(shares(folded.read_text().splitlines()))


def shares(folded: Iterable[str]) -> str:
    """Give the share of samples of each function: by itself, and with what it calls. A line is `a;b;c <count>`."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in folded:
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        own[frames[-1]] += int(count)
        for frame in set(frames):
            whole[frame] += int(count)
    total = sum(own.values()) or 1
    parts = []
    for title, counted in (("by itself", own), ("with what it calls", whole)):
        rows = [f"{count / total * 100:6.1f} %  {name}" for name, count in counted.most_common(SHOWN)]
        parts.append(f"{title}\n" + "\n".join(rows))
    return "\n\n".join(parts) + "\n"
