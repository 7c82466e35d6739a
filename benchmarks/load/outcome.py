"""What a load measured, from its first operation to the file that the benchmark reads."""

from __future__ import annotations

import gc
import json
import math
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.percentiles import percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WARM_SECONDS_MAX = 30.0
"""A warm-up of operations ends after so long, done or not."""

ERRORS_MAX = 1_000
"""A load that failed so often stops: its figure would mean nothing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a load did.

    `operations`, `held` and `sold` (places) count everything that was acknowledged, warm-up included: counters must
    agree with them. `measured` operations ended within the `seconds` after the warm-up; only they have a latency here.
    """

    operations: int
    held: int
    sold: int
    measured: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: Mapping[str, int]
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Measured operations a second."""
        return self.measured / self.seconds if self.seconds else 0.0


class Measurement:
    """Collects what one load does. Times are of `time.perf_counter`."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        """`job` says `warm_seconds` and `seconds`; `warm_operations` makes the warm-up last until so many are done."""
        self._warm_operations = int(job.get("warm_operations", 0))
        self._warm_seconds = float(job["warm_seconds"])
        self._seconds = float(job["seconds"])
        self._operations = self._held = self._sold = 0
        self._latencies: list[float] = []
        self._errors: Counter[str] = Counter()
        self._failures = 0
        self._cpu = 0.0
        self._warm_after = self._warm_before = 0.0
        self._warm_end = self._end = math.inf

    def start(self) -> None:
        """Begin now."""
        gc.collect()
        gc.disable()  # answers make no cycles, and a pause of the generator would look like one of the product
        self._cpu = time.process_time()
        now = time.perf_counter()
        self._warm_after, self._warm_before = now + self._warm_seconds, now + max(self._warm_seconds, WARM_SECONDS_MAX)
        self._look(now)

    def over(self, now: float) -> bool:
        """Tell whether nothing new shall be begun."""
        self._look(now)
        return now >= self._end or self._failures >= ERRORS_MAX

    def _look(self, now: float) -> None:
        """Begin to measure when everything is warm."""
        if self._warm_end < math.inf or now < self._warm_after:
            return
        if self._operations >= self._warm_operations or now >= self._warm_before:
            self._warm_end, self._end = now, now + self._seconds

    def done(self, began: float, now: float, *, held: int = 0, sold: int = 0) -> None:
        """Count an operation that was acknowledged."""
        self._operations += 1
        self._held += held
        self._sold += sold
        if self._warm_end <= now < self._end:
            self._latencies.append(now - began)

    def failed(self, why: str, *, times: int = 1) -> None:
        """Count operations that were not answered as they must be."""
        self._failures += times
        self._errors[why] += times

    def outcome(self) -> Outcome:
        """Give the result."""
        ordered = sorted(self._latencies)
        return Outcome(
            operations=self._operations,
            held=self._held,
            sold=self._sold,
            measured=len(ordered),
            seconds=self._seconds,
            p50_ms=percentile(ordered, 50) * 1000,
            p99_ms=percentile(ordered, 99) * 1000,
            errors=dict(self._errors),
            cpu_seconds=time.process_time() - self._cpu,
        )


def read_outcome(path: Path) -> Outcome:
    """Read what a load wrote."""
    return Outcome(**json.loads(path.read_text()))


def work(run: Callable[[Mapping[str, Any]], Outcome]) -> None:
    """Be a load program: read the job that the first argument names, run it, write the outcome to the second."""
    job, outcome = Path(sys.argv[1]), Path(sys.argv[2])
    outcome.write_text(json.dumps(asdict(run(json.loads(job.read_text())))))
