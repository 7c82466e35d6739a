"""Settings come from the environment, whole and right, or the start ends with the variables' names."""

from __future__ import annotations

import os
from typing import Any

import pytest
from pydantic_settings import SettingsConfigDict

from holdfast.common.settings import MeshSettings, ServiceSettings, describe, host_port, load
from holdfast.common.settings_reference import render

KEY = "0123456789abcdefghijklmnopqrstuv"
DSN = "postgresql://holdfast_events_service:s3cr3t-w0rd@127.0.0.1:54329/holdfast"
MESH = {"HOLDFAST_IDENTITY_DIR": "/nowhere", "HOLDFAST_PAGE_TOKEN_KEY": KEY}
EVENTS = {
    "HOLDFAST_EVENTS_LISTEN": "127.0.0.1:0",
    "HOLDFAST_EVENTS_METRICS_LISTEN": "127.0.0.1:0",
    "HOLDFAST_EVENTS_DATABASE_DSN": DSN,
    "HOLDFAST_EVENTS_RELAY_DSN": DSN,
}
SECURE = {
    "HOLDFAST_MODE": "production",
    "HOLDFAST_NATS_URL": "tls://nats.example:4222",
    "HOLDFAST_CACHE_URL": "rediss://cache.example:6379/0",
    "HOLDFAST_EVENTS_DATABASE_DSN": f"{DSN}?sslmode=verify-full",
    "HOLDFAST_EVENTS_RELAY_DSN": f"{DSN}?sslmode=verify-full",
}


class SomeSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="HOLDFAST_EVENTS_")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in tuple(os.environ):
        if name.startswith("HOLDFAST_"):
            monkeypatch.delenv(name)
    for name, value in {**MESH, **EVENTS}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def faults(capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as ended:
        load(MeshSettings, SomeSettings)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_what_is_set_is_read(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HOLDFAST_RPC_IN_FLIGHT_MAX", "7")
    mesh, events = load(MeshSettings, SomeSettings)
    assert (mesh.rpc_in_flight_max, mesh.mode, mesh.events_address) == (7, "development", "127.0.0.1:50051")
    assert events.database_dsn.get_secret_value() == DSN
    assert "s3cr3t" not in repr(events)


def test_a_missing_variable_is_named(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    environment.delenv("HOLDFAST_EVENTS_DATABASE_DSN")
    environment.setenv("HOLDFAST_PAGE_TOKEN_KEY", "")
    assert set(faults(capsys)) == {"HOLDFAST_EVENTS_DATABASE_DSN: missing", "HOLDFAST_PAGE_TOKEN_KEY: missing"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOLDFAST_EVENTS_DATABASE_DSN", "mysql://user:hunter2@host/db"),
        ("HOLDFAST_EVENTS_DATABASE_DSN", "postgresql://user:hunter2@host:99999/db"),
        ("HOLDFAST_EVENTS_DATABASE_DSN", "hunter2"),
        ("HOLDFAST_EVENTS_LISTEN", "hunter2"),
        ("HOLDFAST_EVENTS_LISTEN", "127.0.0.1:65536"),
        ("HOLDFAST_EVENTS_DRAIN_SECONDS", "hunter2"),
        ("HOLDFAST_EVENTS_DRAIN_SECONDS", "-1"),
        ("HOLDFAST_EVENTS_DATABASE_POOL_SIZE", "0"),
        ("HOLDFAST_CAPACITY_ADDRESS", "127.0.0.1:50052,hunter2"),
        ("HOLDFAST_PAGE_TOKEN_KEY", "hunter2"),
        ("HOLDFAST_NATS_URL", "http://hunter2"),
        ("HOLDFAST_MODE", "hunter2"),
        ("HOLDFAST_TRACE_SAMPLE_RATIO", "1.5"),
        ("HOLDFAST_LOG_FORMAT", "hunter2"),
    ],
)
def test_a_wrong_value_is_named_and_never_shown(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    environment.setenv(name, value)
    lines = faults(capsys)
    assert len(lines) == 1
    assert lines[0].startswith(f"{name}: ")
    assert "hunter2" not in lines[0]


def test_a_misspelt_variable_is_refused(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    environment.setenv("HOLDFAST_EVENTS_DATABSE_DSN", DSN)
    environment.setenv("HOLDFAST_TRACE_ENDPONT", "127.0.0.1:4317")
    assert set(faults(capsys)) == {
        "HOLDFAST_EVENTS_DATABSE_DSN: unknown, is it HOLDFAST_EVENTS_DATABASE_DSN?",
        "HOLDFAST_TRACE_ENDPONT: unknown, is it HOLDFAST_TRACE_ENDPOINT?",
    }


def test_other_services_variables_are_left_to_them(environment: pytest.MonkeyPatch) -> None:
    for name in ("HOLDFAST_CAPACITY_DATABASE_DSN", "HOLDFAST_GATEWAY_LISTEN", "HOLDFAST_STATE_DIR"):
        environment.setenv(name, "x")
    load(MeshSettings, SomeSettings)


def test_production_accepts_what_is_encrypted(environment: pytest.MonkeyPatch) -> None:
    for name, value in SECURE.items():
        environment.setenv(name, value)
    assert load(MeshSettings, SomeSettings)[0].mode == "production"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOLDFAST_NATS_URL", "nats://nats.example:4222"),
        ("HOLDFAST_NATS_URL", "tls://a.example:4222,nats://b.example:4222"),
        ("HOLDFAST_CACHE_URL", "redis://cache.example:6379/0"),
        ("HOLDFAST_TRACE_ENDPOINT", "collector.example:4317"),
        ("HOLDFAST_PAGE_TOKEN_KEY", "x" * 32),
        ("HOLDFAST_LOG_LEVEL", "debug"),
        ("HOLDFAST_EVENTS_DATABASE_DSN", DSN),
        ("HOLDFAST_EVENTS_RELAY_DSN", f"{DSN}?sslmode=prefer"),
        ("HOLDFAST_EVENTS_MIGRATION_DSN", "postgresql://owner:holdfast@host/db?sslmode=verify-full"),
    ],
)
def test_production_refuses_plaintext_and_leftovers(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    for each, secure in {**SECURE, name: value}.items():
        environment.setenv(each, secure)
    lines = faults(capsys)
    assert [line.partition(":")[0] for line in lines] == [name]
    assert value not in lines[0]


def test_host_and_port() -> None:
    assert host_port("127.0.0.1:80") == ("127.0.0.1", 80)
    assert host_port("[::1]:80") == ("::1", 80)


def test_the_reference_names_every_variable() -> None:
    text = render([("Shared", MeshSettings), ("events", SomeSettings)])
    variables: list[Any] = [*describe(MeshSettings), *describe(SomeSettings)]
    assert len(variables) > 20
    assert all(f"| `{each.name}` |" in text for each in variables)
    assert all(each.description for each in variables)
    by_name = {each.name: each for each in variables}
    assert by_name["HOLDFAST_EVENTS_DATABASE_DSN"].required
    assert by_name["HOLDFAST_EVENTS_DATABASE_DSN"].secret
    assert by_name["HOLDFAST_EVENTS_MIGRATION_DSN"].default is None
    assert by_name["HOLDFAST_REFLECTION"].default == "false"
