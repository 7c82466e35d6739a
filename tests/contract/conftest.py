from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from .contracts import PROTOS, Contracts, load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def contracts(tmp_path_factory: pytest.TempPathFactory) -> Contracts:
    """The repository's contracts."""
    return load(PROTOS, tmp_path_factory.mktemp("contracts"))


@pytest.fixture
def with_planted(tmp_path: Path) -> Callable[[str, str, str], Contracts]:
    """Contracts in which one text of one file is another: `with_planted("capacity/v1/hold.proto", old, new)`."""

    def plant(file: str, old: str, new: str) -> Contracts:
        return load(planted_copy(tmp_path, file, old, new), tmp_path)

    return plant


def planted_copy(directory: Path, file: str, old: str, new: str) -> Path:
    """Copy the protos and replace a text that must be there."""
    copy = directory / "protos"
    shutil.copytree(PROTOS, copy)
    target = copy / "holdfast" / "api" / file
    text = target.read_text()
    assert old in text, f"{file} does not say {old!r} any more: plant something else"
    target.write_text(text.replace(old, new, 1))
    return copy
