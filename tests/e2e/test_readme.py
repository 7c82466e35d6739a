"""The tour of README.md works as it stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.mesh import Mesh

REPOSITORY = Path(__file__).resolve().parents[2]
TOUR_SECONDS = 60


def tour() -> str:
    """The shell blocks of the tour, in their order, as one script."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Five minutes")[2].partition("\n## ")[0]
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL))


def test_the_tour_of_the_readme_sells_a_ticket(mesh: Mesh, tmp_path: Path) -> None:
    # In a folder of its own that looks like the clone: what the tour writes goes there.
    (tmp_path / ".venv").symlink_to(REPOSITORY / ".venv")
    (tmp_path / ".holdfast").mkdir()
    bash = shutil.which("bash")
    assert bash
    result = subprocess.run(  # noqa: S603 — the text of our own README
        [bash, "-euo", "pipefail", "-c", tour()],
        cwd=tmp_path,
        env=dict(mesh.environment),
        capture_output=True,
        text=True,
        timeout=TOUR_SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    said = result.stdout.splitlines()
    assert re.search(r"two places until 20\S+Z for \d+\.\d\d", result.stdout), said
    assert "SOLD" in said
    assert "HOLD_NOT_ACTIVE" in said
    assert "capacity says: CONFIRMED for ada" in said
