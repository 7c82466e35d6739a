"""Figures of runs become those of a case, and a case's become a verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks.load.outcome import Outcome
from benchmarks.report import figures, targets
from benchmarks.results import Run, summarize, write
from benchmarks.targets import Target

if TYPE_CHECKING:
    from pathlib import Path


def outcome(measured: int, *, p99_ms: float = 9.0, errors: dict[str, int] | None = None) -> Outcome:
    return Outcome(
        operations=measured + 10,
        held=measured + 10,
        sold=0,
        measured=measured,
        seconds=2.0,
        p50_ms=3.0,
        p99_ms=p99_ms,
        errors=errors or {},
        cpu_seconds=0.5,
    )


def test_the_median_of_the_runs_counts_and_errors_add_up() -> None:
    runs = [
        Run(outcome(600)),
        Run(outcome(200, p99_ms=40.0, errors={"503 X": 2})),
        Run(outcome(400, errors={"503 X": 1})),
    ]
    result = summarize("rest_hold_hot", "holds/s", runs)
    assert (result.value, result.p99_ms, result.errors) == (200.0, 9.0, {"503 X": 3})


def test_a_case_without_runs_has_no_figure() -> None:
    with pytest.raises(ValueError, match="without runs"):
        summarize("rest_hold_hot", "holds/s", [])


def test_the_file_says_of_each_case_exactly_this(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "latest.json"
    write(path, [summarize("grpc_echo", "calls/s", [Run(outcome(7)), Run(outcome(9)), Run(outcome(8))])])
    assert json.loads(path.read_text()) == [
        {"case": "grpc_echo", "unit": "calls/s", "value": 4.0, "p50_ms": 3.0, "p99_ms": 9.0, "errors": 0, "runs": 3}
    ]


def test_cpu_is_given_for_a_thousand_operations_by_part() -> None:
    run = Run(outcome(990), cpu_seconds={"capacity": 2.0, "gateway": 1.0})
    assert summarize("grpc_echo", "calls/s", [run, run]).cpu_per_thousand() == {
        "generator": 0.5,
        "capacity": 2.0,
        "gateway": 1.0,
    }


def test_targets_are_bounds_shares_and_percentiles() -> None:
    results = {
        "hot": summarize("hot", "holds/s", [Run(outcome(2000, p99_ms=60.0))]),
        "base": summarize("base", "holds/s", [Run(outcome(250))]),
    }
    verdicts = [
        target.judge(results)
        for target in (
            Target("hot", 1000),
            Target("hot", 50, p99=True, most=True),
            Target("hot", 5, of="base"),
            Target("hot", 9, of="base"),
            Target("hot", 0.7, of="absent"),
            Target("absent", 1),
        )
    ]
    assert [verdict and verdict.met for verdict in verdicts] == [True, False, True, False, None, None]


def test_the_size_of_an_answer_can_be_a_target() -> None:
    result = replace(summarize("map", "ms", [Run(outcome(10))]), size_bytes=46_785)
    verdict = Target("map", 100_000, size=True, most=True).judge({"map": result})
    assert verdict is not None
    assert (verdict.met, verdict.wanted, verdict.measured) == (True, "≤ 100,000 bytes", "46,785")


def test_tables_have_a_line_for_each_case_and_for_each_target_that_was_measured() -> None:
    results = [summarize("rest_hold_hot", "holds/s", [Run(outcome(12_000))])]
    assert [line.split()[0] for line in figures(results).splitlines()[2:]] == ["rest_hold_hot"]
    verdicts = targets(results).splitlines()[2:]
    assert [line.split()[-1] for line in verdicts] == ["met", "met"]  # the share of the baseline was not measured
