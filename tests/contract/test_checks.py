"""The checks of `make lint` on the contracts pass on what is committed, and fail on what they are there to refuse."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from .conftest import planted_copy
from .contracts import PROTOS, REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

HOLD = "capacity/v1/hold.proto"
LAST = "string sale_id = 14;"
ONE_MORE = f"{LAST}\n  // A note.\n  string note = 99;"
GENERATED = REPOSITORY / "libs" / "api"


def check(name: str, **directories: Path) -> subprocess.CompletedProcess[str]:
    """Run `.ci/contracts <name>`, with the directories that it shall look at instead of the repository's."""
    return subprocess.run(  # noqa: S603 — the repository's own script
        [str(REPOSITORY / ".ci" / "contracts"), name],
        env={**os.environ, **{key: str(value) for key, value in directories.items()}},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    """A copy of the generated code."""
    return shutil.copytree(GENERATED, tmp_path / "api", ignore=shutil.ignore_patterns("__pycache__"))


def git(directory: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True)  # noqa: S603, S607 — whichever git there is


@pytest.mark.parametrize("name", ["check", "lint", "breaking"])
def test_what_is_committed_passes(name: str) -> None:
    result = check(name)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("string customer_id = 4", "string CustomerId = 4", "CustomerId"),
        ("  // Whom limits count and who pays.\n", "", "customer_id"),
        ("message HoldLine {", "message hold_line {", "hold_line"),
        ("STATE_UNSPECIFIED = 0", "NO_STATE = 0", "NO_STATE"),
    ],
)
def test_lint_refuses_a_planted_fault(old: str, new: str, named: str, tmp_path: Path) -> None:
    copy = planted_copy(tmp_path, HOLD, old, new)
    if named == "hold_line":
        target = copy / "holdfast" / "api" / HOLD
        target.write_text(target.read_text().replace("repeated HoldLine ", "repeated hold_line "))
    result = check("lint", PROTO_DIR=copy)
    assert result.returncode != 0
    assert named in result.stdout


def test_generated_code_that_was_edited_is_refused(generated: Path) -> None:
    edited = generated / "holdfast" / "api" / "capacity" / "v1" / "hold_pb2.pyi"
    edited.write_text(edited.read_text() + "\n# by hand\n")
    result = check("check", API_DIR=generated)
    assert result.returncode != 0
    assert "hold_pb2.pyi" in result.stdout


def test_generated_code_of_a_contract_that_is_gone_is_refused(generated: Path) -> None:
    (generated / "holdfast" / "api" / "capacity" / "v1" / "turnstile_pb2.py").touch()
    result = check("check", API_DIR=generated)
    assert result.returncode != 0
    assert "turnstile_pb2.py" in result.stdout


def test_a_contract_that_was_changed_without_generating_is_refused(tmp_path: Path) -> None:
    copy = planted_copy(tmp_path, HOLD, LAST, ONE_MORE)
    result = check("check", PROTO_DIR=copy)
    assert result.returncode != 0
    assert "hold_pb2.py" in result.stdout
    assert "make proto" in result.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (LAST, ""),
        (LAST, "string sale = 14;"),
        (LAST, "int64 sale_id = 14;"),
        ("    VOIDED = 6;", "    ENDED = 6;"),
    ],
)
def test_a_change_that_breaks_callers_is_refused(old: str, new: str, tmp_path: Path) -> None:
    result = check("breaking", PROTO_DIR=planted_copy(tmp_path, HOLD, old, new))
    assert result.returncode != 0, result.stdout + result.stderr
    assert "hold.proto" in result.stdout


def test_a_field_may_be_added(tmp_path: Path) -> None:
    copy = planted_copy(tmp_path, HOLD, LAST, ONE_MORE)
    assert check("breaking", PROTO_DIR=copy).returncode == 0


def test_a_tag_is_what_later_contracts_are_compared_with(tmp_path: Path) -> None:
    history = tmp_path / "history"
    shutil.copytree(PROTOS, history / "protos")
    target = history / "protos" / "holdfast" / "api" / HOLD
    git(history, "init", "--quiet")
    git(history, "add", "protos")
    git(history, "commit", "--quiet", "--message", "First")
    target.write_text(target.read_text().replace(LAST, ONE_MORE))
    git(history, "commit", "--quiet", "--all", "--message", "Second")
    assert check("breaking", HISTORY_DIR=history).returncode == 0, "without a tag, the first contracts count"
    git(history, "tag", "v1")
    result = check("breaking", HISTORY_DIR=history)
    assert result.returncode != 0
    assert "note" in result.stdout


def test_a_shallow_history_is_said(tmp_path: Path) -> None:
    history, shallow = tmp_path / "history", tmp_path / "shallow"
    shutil.copytree(PROTOS, history / "protos")
    git(history, "init", "--quiet")
    for message in ("First", "Second"):
        (history / "note").write_text(message)
        git(history, "add", ".")
        git(history, "commit", "--quiet", "--message", message)
    git(tmp_path, "clone", "--quiet", "--depth", "1", history.as_uri(), str(shallow))
    result = check("breaking", HISTORY_DIR=shallow)
    assert result.returncode == 0
    assert "shallow" in result.stderr


def test_no_history_is_said(tmp_path: Path) -> None:
    result = check("breaking", HISTORY_DIR=tmp_path)
    assert result.returncode == 0
    assert "SKIPPED" in result.stderr
