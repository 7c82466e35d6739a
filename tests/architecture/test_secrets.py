"""`make audit` finds a secret in a file."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from .sources import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path


def check(*files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 — the repository's own script
        [str(REPOSITORY / ".ci" / "secrets"), *(str(file) for file in files)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "line",
    [
        "key = 'AKI" + "AIOSFODNN7EXAMPLX'",
        "-----BEGIN EC PRIVATE" + " KEY-----",
        "url = 'postgresql://holdfast:mP4x9" + "Tq2Lw@database/holdfast'",
    ],
)
def test_a_planted_secret_is_found(line: str, tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text(f"{line}\n")
    result = check(planted)
    assert result.returncode != 0
    assert "planted.py" in result.stdout


def test_a_file_without_secrets_passes(tmp_path: Path) -> None:
    plain = tmp_path / "plain.py"
    plain.write_text("listen = '127.0.0.1:8080'\n")
    assert check(plain).returncode == 0
