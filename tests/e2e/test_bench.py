"""`make bench` in small: it measures, checks what it measured, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from holdfast.local.postgres import orphans
from tests.support.mesh import mesh_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
BENCH_SECONDS = 120
SMALL = ["--runs", "1", "--seconds", "1", "--warm-seconds", "0.2", "--connections", "8", "--principals", "20"]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = set(orphans())
    yield
    assert set(orphans()) <= before


def test_a_short_measurement_is_right_and_is_cleared_away(tmp_path: Path) -> None:
    state, output = tmp_path / "stack", tmp_path / "latest.json"
    where = ["--state-dir", str(state), "--output", str(output)]
    done = subprocess.run(  # noqa: S603 — our own program
        [sys.executable, "-m", "benchmarks", *SMALL, *where, "rest_hold_hot", "database_batched"],
        cwd=REPOSITORY,
        env=mesh_environment(tmp_path / "nobodys"),
        capture_output=True,
        text=True,
        timeout=BENCH_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    measured = {each["case"]: each for each in json.loads(output.read_text())}
    assert list(measured) == ["rest_hold_hot", "database_batched"]
    for each in measured.values():
        assert set(each) == {"case", "unit", "value", "p50_ms", "p99_ms", "errors", "runs"}
        assert (each["unit"], each["errors"], each["runs"]) == ("holds/s", 0, 1)
        assert each["value"] > 0
        assert 0 < each["p50_ms"] <= each["p99_ms"]
    assert "fsync = on, full_page_writes = on, synchronous_commit = on" in done.stdout
    assert done.stdout.count("counters = acknowledged") == 2
    assert not state.exists()
