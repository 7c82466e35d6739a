"""What compose.yaml gives each container is what its program takes."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from holdfast.common.settings import MeshSettings, load

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
EXAMPLE = dict(
    line.split("=", 1) for line in (ROOT / ".env.example").read_text().splitlines() if line and not line.startswith("#")
)
REFERENCE = re.compile(r"\$\{(\w+)(?:(:\?|:-)([^}]*))?\}")
SERVICES = ("gateway", "events", "capacity", "pricing")
OURS = {name: each for name, each in COMPOSE["services"].items() if str(each["image"]).startswith("holdfast-")}


def filled_in(text: str, values: Mapping[str, str]) -> str:
    return REFERENCE.sub(lambda match: values.get(match[1], match[3] if match[2] == ":-" else ""), text)


def environment_of(container: str) -> dict[str, str]:
    given = COMPOSE["services"][container]["environment"]
    return {name: filled_in(value, EXAMPLE) for name, value in given.items()}


def settings_of(service: str) -> Any:
    module = importlib.import_module(f"holdfast.{service}.settings")
    return getattr(module, f"{service.capitalize()}Settings")


def take(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("HOLDFAST_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_given_all_that_it_needs_and_nothing_unknown(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = environment_of(service)
    take(monkeypatch, environment)
    mesh, settings = load(MeshSettings, settings_of(service))
    assert settings.metrics_listen == "0.0.0.0:9100"
    known = {f"HOLDFAST_{name}" for name in MeshSettings.model_fields} | {
        f"HOLDFAST_{service}_{name}" for name in type(settings).model_fields
    }
    assert {name for name in environment if name.startswith("HOLDFAST_")} <= {name.upper() for name in known}
    for peer in ("events", "capacity", "pricing"):
        host, _, port = getattr(mesh, f"{peer}_address").rpartition(":")
        assert host == peer
        assert environment_of(peer)[f"HOLDFAST_{peer.upper()}_LISTEN"].endswith(f":{port}")


@pytest.mark.parametrize("service", SERVICES[1:])
def test_migrating_is_given_the_owner_an_administrator_and_every_role(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(monkeypatch, environment_of(f"migrate-{service}"))
    (settings,) = load(settings_of(service))
    assert settings.migration_dsn is not None
    assert settings.admin_dsn is not None
    dsns = [name for name in type(settings).model_fields if name.endswith("_dsn")]
    assert all(getattr(settings, name) is not None for name in dsns)


def test_every_value_that_compose_asks_for_is_in_the_example() -> None:
    text = (ROOT / "compose.yaml").read_text()
    asked = {match[1] for match in REFERENCE.finditer(text)}
    assert asked == set(EXAMPLE)
    for name, operator, _ in REFERENCE.findall(text):
        assert operator == (":-" if name in {"MESH_GATEWAY_PORT", "MESH_TOKEN_AUDIENCE"} else ":?"), name


def test_no_secret_is_written_into_compose() -> None:
    secret = re.compile(r"password|_KEY|secret", re.IGNORECASE)
    for container in COMPOSE["services"].values():
        for name, value in container.get("environment", {}).items():
            if secret.search(name):
                assert REFERENCE.fullmatch(value), name
            for password in re.findall(r"://[^:/@]*:([^@]*)@", value):
                assert REFERENCE.fullmatch(password), name


def test_only_the_gateway_is_published_and_on_loopback() -> None:
    published = {name: each["ports"] for name, each in COMPOSE["services"].items() if "ports" in each}
    assert list(published) == ["gateway"]
    assert all(str(port).startswith("127.0.0.1:") for port in published["gateway"])


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_container_is_confined(name: str) -> None:
    container = COMPOSE["services"][name]
    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert name in OURS or container["user"] in {"postgres", "10001:10001"}
    assert "user" not in OURS.get(name, {})


def test_the_image_runs_as_a_user_and_refuses_other_services() -> None:
    recipe = (ROOT / "Dockerfile").read_text()
    last_stage = recipe[recipe.rindex("\nFROM ") :]
    assert re.findall(r"^USER (.+)$", last_stage, re.MULTILINE) == ["10001:10001"]
    assert f"in {'|'.join(SERVICES)})" in recipe
    assert "--require-hashes" in recipe
    assert {each["build"]["args"]["SERVICE"] for each in OURS.values()} == set(SERVICES)
