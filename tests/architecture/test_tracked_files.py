"""What no file of the repository may say: where somebody's machine keeps things, and where packages come from."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from .sources import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

# Written in pieces, so that this file may be read too.
HOSTS = (
    "pypi" + ".org",
    "pypi" + ".python.org",
    "python" + "hosted.org",
    "npmjs" + ".org",
    "npmjs" + ".com",
    "crates" + ".io",
)
HOMES = ("/ho" + "me/", "/ro" + "ot/", "/Us" + "ers/", "/wo" + "rk/")
FORBIDDEN = re.compile(
    "|".join(
        (
            *(re.escape(host) for host in HOSTS),
            *(rf"(?<![\w.~/-]){re.escape(home)}(?=[\w.])" for home in HOMES),
            r"[A-Z]:\\\\?" + "Users",
        )
    )
)


def tracked(root: Path) -> list[Path]:
    """Files that are committed or would be; without git (a source archive), every file that is not built."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607 — whichever git there is
        cwd=root,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        return [root / name for name in listed.stdout.decode().split("\0") if name and (root / name).is_file()]
    built = {".venv", ".git", ".holdfast", "__pycache__"}
    return [file for file in root.rglob("*") if file.is_file() and built.isdisjoint(file.relative_to(root).parts)]


def mentions(file: Path) -> list[str]:
    """Every line of a text file that says what no file may."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return []
    return [
        f"{file}:{n}: {line.strip()[:160]}" for n, line in enumerate(text.splitlines(), 1) if FORBIDDEN.search(line)
    ]


def test_no_file_names_a_home_directory_or_a_package_index() -> None:
    found = [mention for file in tracked(REPOSITORY) for mention in mentions(file)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line", [*(f"see https://{host}/simple" for host in HOSTS), *(f"cd {home}me/x" for home in HOMES)]
)
def test_a_planted_mention_is_found(line: str, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text(f"fine\n{line}\n")
    assert [m for file in tracked(tmp_path) for m in mentions(file)]


@pytest.mark.parametrize("line", ["docs/ho" + "me/index.md", "http://127.0.0.1/ho" + "me/x", "the ro" + "ot of it"])
def test_what_only_looks_like_it_is_left_alone(line: str, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text(line)
    assert not mentions(tmp_path / "notes.md")
