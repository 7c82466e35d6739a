"""What is printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

from benchmarks.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.results import Result, Run

PARTS = ("generator", "gateway", "capacity", "pricing", "events", "postgres", "nats", "valkey", "echo")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table: the first column to the left, figures to the right."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    laid = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([laid[0], "-" * sum((*widths, 2 * len(widths) - 2)), *laid[1:]])


def figures(results: Sequence[Result]) -> str:
    """Give the main table."""
    rows = [
        (
            result.case,
            result.unit,
            _value(result.value),
            f"{result.p50_ms:.1f}",
            f"{result.p99_ms:.1f}",
            str(sum(result.errors.values())),
            str(len(result.runs)),
        )
        for result in results
    ]
    return table(("case", "unit", "value", "p50 ms", "p99 ms", "errors", "runs"), rows)


def cpu(results: Sequence[Result]) -> str:
    """Give CPU seconds per 1,000 operations of each case, by part, and what all processors would do at this price.

    That last figure is no measurement: it is what other work on the machine, and waiting, keep the rate below.
    """
    rows = []
    for result in results:
        taken = result.cpu_per_thousand()
        total = sum(taken.values())
        affordable = _value(psutil.cpu_count() * 1000 / total) if total else "-"
        parts = (f"{taken[part]:.3f}" if part in taken else "-" for part in PARTS)
        rows.append((result.case, *parts, f"{total:.3f}", affordable))
    return table(("CPU s per 1,000", *PARTS, "total", "afford/s"), rows)


def targets(results: Sequence[Result]) -> str:
    """Give every target beside what was measured."""
    measured = {result.case: result for result in results}
    verdicts = [verdict for target in TARGETS if (verdict := target.judge(measured)) is not None]
    return table(
        ("target", "wanted", "measured", ""),
        [(each.case, each.wanted, each.measured, "met" if each.met else "MISSED") for each in verdicts],
    )


def run_line(number: int, unit: str, run: Run) -> str:
    """Give what is printed when a run ended."""
    outcome = run.outcome
    errors = f"   errors: {told(outcome.errors)}" if outcome.errors else ""
    busy = ", ".join(
        f"{name} {seconds / outcome.operations * 1000:.3f}"
        for name, seconds in {"generator": outcome.cpu_seconds, **run.cpu_seconds}.items()
        if outcome.operations
    )
    return (
        f"  run {number}: {outcome.rate:>10,.1f} {unit}   p50 {outcome.p50_ms:.1f} ms   p99 {outcome.p99_ms:.1f} ms"
        f"{errors}\n         CPU s per 1,000: {busy}"
    )


def at_rest(shares: Mapping[str, float]) -> str:
    """Give what the parts take while nobody asks them anything."""
    return ", ".join(f"{name} {share * 100:.0f} %" for name, share in shares.items())


def told(errors: Mapping[str, int]) -> str:
    """Give errors in words."""
    return ", ".join(f"{times} of {why}" for why, times in sorted(errors.items()))


def _value(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"  # noqa: PLR2004 (where decimals stop to matter)
