"""What `make bench` can be told."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure. `cases` empty = all; seconds are per run, the warm-up before each run is not counted in them."""

    cases: tuple[str, ...]
    runs: int
    seconds: float
    warm_seconds: float
    connections: int
    principals: int
    live_holds: int
    minutes_max: float
    state_dir: Path
    output: Path
    profile: bool


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench",
        description="Measure a whole mesh of its own on this machine, and print what was measured on.",
    )
    parser.add_argument("cases", nargs="*", help="case ids; all without any")
    parser.add_argument("--runs", type=int, default=3, help="how often each case is measured (3)")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long a run is measured (5)")
    parser.add_argument("--warm-seconds", type=float, default=2.0, help="how long it runs before that (2)")
    parser.add_argument("--connections", type=int, default=128, help="connections, or calls in flight (128)")
    parser.add_argument("--principals", type=int, default=2000, help="buyers, each with a token of their own (2000)")
    parser.add_argument("--live-holds", type=int, default=1_000_000, help="live holds of hold_at_1m (1000000)")
    parser.add_argument("--minutes-max", type=float, default=45.0, help="everything ends after so long (45)")
    parser.add_argument("--state-dir", type=Path, default=ROOT / ".bench" / "stack", help="where the mesh lives")
    parser.add_argument("--output", type=Path, default=ROOT / ".bench" / "latest.json", help="where figures go")
    parser.add_argument("--profile", action="store_true", help="record the last run of each case with py-spy")
    return parser


def parse(arguments: Sequence[str], known: Sequence[str]) -> Options:
    """Read the command line. Ends the process, with a message, for a case that is not `known` or a figure below 1."""
    parser = _parser()
    values = parser.parse_args(list(arguments))
    for name in values.cases:
        if name not in known:
            parser.error(f"there is no case {name!r}; cases are {' '.join(known)}")
    for name in ("runs", "seconds", "connections", "principals", "live_holds", "minutes_max"):
        if getattr(values, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    return Options(
        cases=tuple(name for name in known if name in values.cases) if values.cases else tuple(known),
        runs=values.runs,
        seconds=values.seconds,
        warm_seconds=max(0.0, values.warm_seconds),
        connections=values.connections,
        principals=values.principals,
        live_holds=values.live_holds,
        minutes_max=values.minutes_max,
        state_dir=values.state_dir.absolute(),
        output=values.output.absolute(),
        profile=values.profile,
    )
