# ruff: noqa: INP001 - a script beside what it writes, not a module
"""Writes docs/reference from protos/; with `--check`, fails if a page says anything else or belongs to nothing.

`.venv/bin/python -m docs.generate_reference [--check]`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

from docs.generating.messages import messages_page
from docs.generating.services import service_page
from docs.generating.tables import PACKAGES, errors_page, index_page, permissions_page
from tests.contract.contracts import PROTOS, load

ROOT: Final = Path(__file__).resolve().parent.parent
REFERENCE: Final = ROOT / "docs" / "reference"
NOT_BUILT: Final = ROOT / "tests" / "contract" / "not_built.txt"
COMMAND: Final = ".venv/bin/python -m docs.generate_reference"


def pages() -> dict[str, str]:
    """Give every page by its name."""
    not_built = frozenset(NOT_BUILT.read_text(encoding="utf-8").splitlines())
    with tempfile.TemporaryDirectory() as scratch:
        contracts = load(PROTOS, Path(scratch))
    return {
        "index.md": index_page(contracts, not_built),
        **{f"{name}.md": service_page(contracts, name, not_built) for name in (*PACKAGES, "common")},
        "messages.md": messages_page(contracts),
        "errors.md": errors_page(contracts),
        "permissions.md": permissions_page(contracts),
    }


def main() -> int:
    """Write or check; give the exit code."""
    wanted = pages()
    present = (
        {path.name: path.read_text(encoding="utf-8") for path in REFERENCE.glob("*")} if REFERENCE.is_dir() else {}
    )
    drifted = sorted(name for name in {*wanted, *present} if wanted.get(name) != present.get(name))
    if "--check" in sys.argv[1:]:
        if drifted:
            sys.stderr.write(f"docs/reference is not what protos/ says ({', '.join(drifted)}); run {COMMAND}\n")
        return 1 if drifted else 0
    REFERENCE.mkdir(exist_ok=True)
    for name in drifted:
        if name in wanted:
            (REFERENCE / name).write_text(wanted[name], encoding="utf-8")
        else:
            (REFERENCE / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
