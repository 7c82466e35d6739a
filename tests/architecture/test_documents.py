"""The documents point at what exists, and `make help` lists what they tell people to type."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from .sources import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)[^)]*\)")
TARGETS = [
    "setup",
    "run",
    "stop",
    "test",
    "lint",
    "format",
    "proto",
    "proto-check",
    "docs",
    "wheel",
    "bench",
    "faults",
    "faults-long",
    "audit",
    "clean",
    "lock",
]


def broken_links(document: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [link for link in LINK.findall(text) if not (document.parent / link).exists()]


def listed() -> set[str]:
    """The targets that `make help` lists."""
    make = shutil.which("make")
    assert make
    result = subprocess.run(  # noqa: S603 — make, with arguments of this file
        [make, "--no-print-directory", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return {line.split()[0] for line in result.stdout.splitlines()}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_somewhere(document: Path) -> None:
    assert not broken_links(document)


def test_a_planted_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("fine")
    document = tmp_path / "page.md"
    document.write_text("[a](there.md) [b](gone.md) [c](https://example.com) [d](there.md#part)")
    assert broken_links(document) == ["gone.md"]


def test_decisions_are_numbered_and_listed() -> None:
    names = sorted(path.name for path in (REPOSITORY / "docs" / "adr").glob("*.md"))
    assert [int(name[:4]) for name in names] == list(range(len(names)))
    index = (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8")
    assert not [name for name in names if f"adr/{name}" not in index]


def test_decisions_fit_a_page() -> None:
    long = [path.name for path in (REPOSITORY / "docs" / "adr").glob("*.md") if path.read_text().count("\n") > 70]
    assert not long


def test_make_help_lists_every_target_for_people() -> None:
    assert listed() == {*TARGETS, "help"}


def test_documents_name_targets_that_exist() -> None:
    named = {
        (document.name, target)
        for document in DOCUMENTS
        for target in re.findall(r"(?:`|^)make ([a-z][a-z-]*)", document.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named
    assert not {(document, target) for document, target in named if target not in listed()}
