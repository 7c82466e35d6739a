"""Each import contract of pyproject.toml fails on the import that it is there to refuse."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from typing import TYPE_CHECKING

import pytest

from .sources import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

ROOTS = (
    "libs/api",
    "libs/common",
    "libs/local",
    "services/events",
    "services/capacity",
    "services/pricing",
    "services/gateway",
)

# contract, a module, an import in it that the contract refuses
PLANTED = [
    ("distributions", "holdfast.common.clock", "import holdfast.local"),
    ("distributions", "holdfast.common.clock", "import holdfast.events"),
    ("distributions", "holdfast.gateway", "import holdfast.local"),
    ("services", "holdfast.events", "import holdfast.capacity"),
    ("rooms", "holdfast.events.domain", "import holdfast.events.store"),
    ("rooms", "holdfast.pricing.store", "import holdfast.pricing.operations"),
    ("rooms", "holdfast.capacity.operations", "import holdfast.capacity.rpc"),
    ("convert", "holdfast.capacity.convert", "import holdfast.capacity.store"),
    ("domain", "holdfast.pricing.domain", "import holdfast.api.common.v1.money_pb2"),
    ("domain", "holdfast.pricing.domain", "import holdfast.common.status"),
    ("grpc", "holdfast.events.operations", "import grpc.aio"),
    ("grpc", "holdfast.capacity.store", "import holdfast.common.rpc_client"),
    ("sql", "holdfast.capacity.operations", "import sqlalchemy"),
    ("sql", "holdfast.events.app", "import psycopg"),
    ("gateway", "holdfast.gateway", "import holdfast.common.database"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's Python files without their contents' distribution: import-linter reads, it does not run them."""
    root = tmp_path_factory.mktemp("repository")
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    for folder in ROOTS:
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "*.pyi"))
    return root


def check(root: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    """Run import-linter on a copy, whose packages, not the installed ones, are the namespace's."""
    paths = [*(str(root / folder) for folder in ROOTS), sysconfig.get_path("purelib")]
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(  # noqa: S603 — our own interpreter with arguments of this file
        # -S: without site, so that the installed packages' .pth files do not bring in the originals.
        [sys.executable, "-S", "-c", command, "--no-logo", "--no-cache", *(f"--contract={name}" for name in contracts)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_repository_keeps_its_contracts(copy: Path) -> None:
    result = check(copy)
    assert result.returncode == 0, result.stdout


def file_of(module: str, root: Path) -> Path:
    """Where a module of the copy is, or would be: a package where there is one, else a file."""
    distribution = next(folder for folder in ROOTS if folder.endswith(f"/{module.split('.')[1]}"))
    path = root / distribution / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.mark.parametrize(("contract", "module", "line"), PLANTED)
def test_a_planted_import_is_refused(contract: str, module: str, line: str, copy: Path) -> None:
    planted = file_of(module, copy)
    before = planted.read_text() if planted.exists() else None
    planted.write_text(f"{before or ''}\n{line}\n")
    try:
        result = check(copy, contract)
    finally:
        if before is None:
            planted.unlink()
        else:
            planted.write_text(before)
    assert result.returncode != 0, result.stdout
    assert "BROKEN" in result.stdout, result.stdout + result.stderr
    assert line.split()[1].partition(".aio")[0] in result.stdout


def test_every_contract_has_a_planted_import() -> None:
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert {contract["id"] for contract in declared} == {contract for contract, _, _ in PLANTED}
