"""What a mesh remembers, and the certificates it hands out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from holdfast.common.mesh_identity import MeshIdentity
from holdfast.local import identities, state
from holdfast.local.settings import SERVICES
from holdfast.local.state import Demo, Layout, StateUnreadableError

if TYPE_CHECKING:
    from pathlib import Path


def test_secrets_are_made_once_and_kept_for_the_owner_only(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "mesh").ready()
    first = state.load(layout)
    state.save(layout, replace(first, ports={"gateway": 8080}, demo=Demo(event_id="e")))
    again = state.load(layout)
    assert again.passwords == first.passwords
    assert again.page_token_key == first.page_token_key
    assert again.ports == {"gateway": 8080}
    assert again.demo.event_id == "e"
    assert layout.state.stat().st_mode & 0o777 == 0o600
    assert layout.root.stat().st_mode & 0o777 == 0o700
    assert len(set(first.passwords.values())) == len(state.ROLES)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1}', '{"version": 1, "demo": {"unknown": 1}}'])
def test_a_state_that_is_none_is_refused_and_not_overwritten(tmp_path: Path, content: str) -> None:
    layout = Layout(tmp_path).ready()
    layout.state.write_text(content)
    with pytest.raises(StateUnreadableError, match=r"state\.json"):
        state.load(layout)
    assert layout.state.read_text() == content


def test_a_state_of_another_version_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path).ready()
    layout.state.write_text(json.dumps({"version": 99, "demo": {}}))
    with pytest.raises(StateUnreadableError, match="version"):
        state.load(layout)


def test_every_service_and_the_operator_get_a_certificate_once(tmp_path: Path) -> None:
    assert set(identities.ensure(tmp_path)) == {*SERVICES, "operator"}
    before = (tmp_path / "events.crt").read_bytes()
    assert identities.ensure(tmp_path) == []
    assert (tmp_path / "events.crt").read_bytes() == before


def test_a_certificate_without_its_key_is_issued_again(tmp_path: Path) -> None:
    identities.ensure(tmp_path)
    (tmp_path / "pricing.key").unlink()
    assert identities.ensure(tmp_path) == ["pricing"]


def test_an_internal_service_gets_a_certificate_it_can_use(tmp_path: Path) -> None:
    identities.ensure(tmp_path / "identities")
    identities.issue_for(tmp_path / "identities", "orders", target=tmp_path / "orders")
    names = sorted(path.name for path in (tmp_path / "orders").iterdir())
    assert names == ["ca.crt", "orders.crt", "orders.key"]
    MeshIdentity.load(tmp_path / "orders", "orders")


@pytest.mark.parametrize("name", ["gateway", "events", "", "Orders", "../orders", "a" * 41, "-x", "a.b"])
def test_names_of_the_mesh_and_names_that_are_none_get_no_certificate(tmp_path: Path, name: str) -> None:
    identities.ensure(tmp_path / "identities")
    with pytest.raises(ValueError, match="service"):
        identities.issue_for(tmp_path / "identities", name, target=tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()
