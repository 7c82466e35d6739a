"""What is aimed at, and whether it was met. A miss is a figure, not a failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.results import Result


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on a case: on its value, on its value as a share of another case's, on its 99th percentile or size."""

    case: str
    bound: float
    of: str = ""
    """The other case that `bound` is a share of."""
    p99: bool = False
    size: bool = False
    """Whether the bound is on the bytes of the largest answer."""
    most: bool = False
    """Whether the bound must not be exceeded; otherwise it must be reached."""

    def judge(self, results: Mapping[str, Result]) -> Verdict | None:
        """Compare with what was measured; None where one of the cases was not."""
        mine, other = results.get(self.case), results.get(self.of)
        if mine is None or (self.of and (other is None or not other.value)):
            return None
        if self.p99:
            measured, unit = mine.p99_ms, "ms p99"
        elif self.size:
            measured, unit = mine.size_bytes, "bytes"
        elif other is not None:
            measured, unit = mine.value / other.value, f"of {self.of}"
        else:
            measured, unit = mine.value, mine.unit
        met = measured <= self.bound if self.most else measured >= self.bound
        sign = "≤" if self.most else "≥"
        return Verdict(
            case=self.case, wanted=f"{sign} {_figure(self.bound)} {unit}", measured=_figure(measured), met=met
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target beside what was measured."""

    case: str
    wanted: str
    measured: str
    met: bool


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"  # noqa: PLR2004 (where decimals stop to matter)


TARGETS = (
    Target("rest_hold_hot", 5_116),
    Target("rest_hold_hot", 50, p99=True, most=True),
    Target("rest_hold_hot", 5, of="baseline_for_update"),
    Target("rest_hold_hot_priced", 0.7, of="rest_hold_hot"),
    Target("rest_hold_spread", 0.6, of="rest_hold_hot"),
    Target("rest_hold_seats", 0.6, of="rest_hold_hot"),
    Target("rest_hold_best", 0.6, of="rest_hold_hot"),
    Target("grpc_hold_batch", 20_000),
    Target("grpc_hold_batch", 0.8, of="database_batched"),
    Target("grpc_hold_unary", 0.75, of="grpc_echo"),
    Target("rest_lifecycle", 2_000),
    Target("hold_at_1m", 1.2, most=True),
    Target("rest_availability", 20, p99=True, most=True),
    Target("seating_50k", 1_000, most=True),
    Target("seatmap_50k", 100, most=True),
    Target("seatmap_50k", 100_000, size=True, most=True),
)
