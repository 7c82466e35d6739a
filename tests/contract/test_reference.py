"""docs/reference says everything that the contracts have, leads where it points, and is what is generated."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from docs import generate_reference
from docs.generating.text import anchor
from holdfast.common.contracts import contract_services
from holdfast.common.errors import Reason
from holdfast.common.permissions import ALL

from .contracts import bindings

if TYPE_CHECKING:
    from pathlib import Path

LINK = re.compile(r"\]\(([a-z_]*(?:\.md)?)#([a-z0-9_-]+)\)")


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return generate_reference.pages()


def headings(page: str) -> list[str]:
    return [anchor(heading) for heading in re.findall(r"^#+ (.+)$", page, re.MULTILINE)]


def test_every_link_leads_to_a_heading(pages: dict[str, str]) -> None:
    known = {name: set(headings(page)) for name, page in pages.items()}
    broken = [
        f"{name}: {target}#{where}"
        for name, page in pages.items()
        for target, where in LINK.findall(page)
        if where not in known.get(target or name, set())
    ]
    assert sum(len(LINK.findall(page)) for page in pages.values()) > 500
    assert not broken


def test_no_two_headings_of_a_page_share_an_anchor(pages: dict[str, str]) -> None:
    for name, page in pages.items():
        found = headings(page)
        assert len(found) == len(set(found)), (name, sorted(each for each in found if found.count(each) > 1))


def test_the_index_has_every_rpc_with_every_path(pages: dict[str, str]) -> None:
    rows = pages["index.md"].splitlines()
    for service in contract_services():
        page = f"{service.full_name.split('.')[2]}.md"
        for rpc in service.methods:
            [row] = [row for row in rows if f"[{rpc.name}]({page}#" in row]
            assert all(f"`{each.verb} {each.path}`" in row for each in bindings(rpc))
            assert f"### {rpc.name}\n" in pages[page]


def test_every_reason_and_permission_has_its_place(pages: dict[str, str]) -> None:
    assert all(f"### {reason}\n" in pages["errors.md"] for reason in Reason)
    assert all(f"### {permission}\n" in pages["permissions.md"] for permission in ALL)


def test_tables_are_whole(pages: dict[str, str]) -> None:
    """Every row of a table has as many cells as its head."""
    for name, page in pages.items():
        for block in page.split("\n\n"):
            rows = [re.sub(r"`[^`]*`", lambda cell: cell[0].replace("\\|", ""), row) for row in block.splitlines()]
            if rows[0].startswith("|"):
                counts = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
                assert len(counts) == 1, (name, rows[0], counts)


def test_drift_is_found(
    pages: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate_reference, "REFERENCE", tmp_path)
    monkeypatch.setattr(generate_reference, "pages", lambda: pages)
    monkeypatch.setattr("sys.argv", ["generate_reference"])
    (tmp_path / "gone.md").write_text("left over")
    assert generate_reference.main() == 0
    monkeypatch.setattr("sys.argv", ["generate_reference", "--check"])
    assert generate_reference.main() == 0
    (tmp_path / "capacity.md").write_text(pages["capacity.md"].replace("hold", "told", 1))
    assert generate_reference.main() == 1
    assert "(capacity.md)" in capsys.readouterr().err
    (tmp_path / "capacity.md").write_text(pages["capacity.md"])
    (tmp_path / "gone.md").write_text("left over")
    assert generate_reference.main() == 1
