"""What a case gives: the figure, and what it took."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.load.outcome import Outcome


class AbsentError(Exception):
    """The case cannot be measured here; the message says why."""


class WrongError(Exception):
    """What was measured is not right: counters do not agree with what was acknowledged."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: what the load did, and the CPU seconds of each part of the mesh meanwhile."""

    outcome: Outcome
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """A case's figures. `value` is the median of the runs, so are the latencies; errors are their sum."""

    case: str
    unit: str
    value: float
    p50_ms: float
    p99_ms: float
    errors: Mapping[str, int]
    runs: Sequence[Run]
    remarks: Sequence[str] = ()
    size_bytes: int = 0
    """The largest answer, where a case looks at that."""

    def as_json(self) -> dict[str, Any]:
        """Give what the file says of it."""
        return {
            "case": self.case,
            "unit": self.unit,
            "value": round(self.value, 3),
            "p50_ms": round(self.p50_ms, 3),
            "p99_ms": round(self.p99_ms, 3),
            "errors": sum(self.errors.values()),
            "runs": len(self.runs),
        }

    def cpu_per_thousand(self) -> dict[str, float]:
        """Give CPU seconds per 1,000 operations, by part; `generator` is the load itself."""
        operations = sum(run.outcome.operations for run in self.runs)
        if not operations:
            return {}
        taken: Counter[str] = Counter({"generator": sum(run.outcome.cpu_seconds for run in self.runs)})
        for run in self.runs:
            taken.update(run.cpu_seconds)
        return {name: seconds / operations * 1000 for name, seconds in taken.items()}


def summarize(case: str, unit: str, runs: Sequence[Run], *, remarks: Sequence[str] = ()) -> Result:
    """Give a case's result from its runs. Raises ValueError without any."""
    if not runs:
        raise ValueError("a case without runs has no figure")
    errors: Counter[str] = Counter()
    for run in runs:
        errors.update(run.outcome.errors)
    return Result(
        case=case,
        unit=unit,
        value=statistics.median(run.outcome.rate for run in runs),
        p50_ms=statistics.median(run.outcome.p50_ms for run in runs),
        p99_ms=statistics.median(run.outcome.p99_ms for run in runs),
        errors=dict(errors),
        runs=tuple(runs),
        remarks=tuple(remarks),
    )


def write(path: Path, results: Sequence[Result]) -> None:
    """Write the figures as a JSON list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([result.as_json() for result in results], indent=2) + "\n")
