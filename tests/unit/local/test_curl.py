"""The command line that a newcomer copies."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from holdfast.local import seed
from holdfast.local.state import Demo

if TYPE_CHECKING:
    from pathlib import Path

DEMO = Demo(organization_id="o", event_id="e", section_id="section-1", price_tier_id="tier-1")


def test_it_is_one_line_that_places_and_confirms() -> None:
    line = seed.curl("http://127.0.0.1:8080", DEMO, "a.b.c")
    assert "\n" not in line
    assert line.startswith("token=a.b.c; ")
    assert line.count("curl -sS") == 2
    assert "http://127.0.0.1:8080/api/v1/capacity/section-1/reserve" in line
    assert "http://127.0.0.1:8080/api/v1/holds/$hold/confirm" in line


def shell(directory: Path, answer: str) -> subprocess.CompletedProcess[str]:
    """Run the line with a curl that says what it was asked and answers what it is told."""
    fake = directory / "curl"
    fake.write_text(f"#!/bin/sh\nfor last; do :; done\necho \"$last $3\" >> {directory}/asked\necho '{answer}'\n")
    fake.chmod(0o755)
    python = directory / "python3"
    python.symlink_to(sys.executable)
    return subprocess.run(  # noqa: S603 - the line is ours
        ["/bin/sh", "-c", seed.curl("http://gateway", DEMO, "a.b.c")],
        env={"PATH": f"{directory}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_plain_shell_passes_the_holds_id_from_one_call_to_the_other(tmp_path: Path) -> None:
    run = shell(tmp_path, '{"hold": {"id": "h-1"}}')
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "asked").read_text().splitlines() == [
        "http://gateway/api/v1/capacity/section-1/reserve Authorization: Bearer a.b.c",
        "http://gateway/api/v1/holds/h-1/confirm Authorization: Bearer a.b.c",
    ]


def test_a_refusal_is_shown_and_nothing_is_confirmed(tmp_path: Path) -> None:
    run = shell(tmp_path, '{"code": "INSUFFICIENT_CAPACITY"}')
    assert run.returncode != 0
    assert "INSUFFICIENT_CAPACITY" in run.stderr
    assert len((tmp_path / "asked").read_text().splitlines()) == 1
