"""The gateway's variables: what is refused, by name."""

from __future__ import annotations

import os

import pytest

from holdfast.common.settings import MeshSettings, load
from holdfast.gateway.settings import GatewaySettings, origins

NEEDED = {
    "HOLDFAST_IDENTITY_DIR": "/somewhere",
    "HOLDFAST_PAGE_TOKEN_KEY": "0123456789abcdefghijklmnopqrstuvwxyz",
    "HOLDFAST_GATEWAY_JWKS": "/somewhere/jwks.json",
    "HOLDFAST_GATEWAY_ISSUER": "https://issuer.test",
}
PRODUCTION = {
    **NEEDED,
    "HOLDFAST_MODE": "production",
    "HOLDFAST_NATS_URL": "tls://nats.internal:4222",
    "HOLDFAST_CACHE_URL": "rediss://cache.internal:6379/0",
}
TLS = {"HOLDFAST_GATEWAY_TLS_TERMINATED": "true"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in os.environ:
        if name.startswith("HOLDFAST_"):
            monkeypatch.delenv(name)
    return monkeypatch


def load_with(environment: pytest.MonkeyPatch, variables: dict[str, str]) -> GatewaySettings:
    for name, value in variables.items():
        environment.setenv(name, value)
    return load(MeshSettings, GatewaySettings)[1]


def test_the_needed_variables_suffice(environment: pytest.MonkeyPatch) -> None:
    settings = load_with(environment, NEEDED)
    assert settings.listen == "127.0.0.1:8080"
    assert settings.body_bytes_max == 1024 * 1024
    assert origins(settings.cors_origins) == ()


@pytest.mark.parametrize(
    "variables",
    [
        PRODUCTION | TLS,
        PRODUCTION | {"HOLDFAST_GATEWAY_TLS_CERTIFICATE": "/c.pem", "HOLDFAST_GATEWAY_TLS_KEY": "/k.pem"},
        PRODUCTION | TLS | {"HOLDFAST_GATEWAY_JWKS": "https://issuer.test/jwks"},
    ],
)
def test_production_starts_behind_tls(environment: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    assert load_with(environment, variables).tls_terminated is ("HOLDFAST_GATEWAY_TLS_TERMINATED" in variables)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        (PRODUCTION, "TLS_TERMINATED"),
        (PRODUCTION | {"HOLDFAST_GATEWAY_TLS_CERTIFICATE": "/c.pem"}, "TLS_KEY"),
        (PRODUCTION | TLS | {"HOLDFAST_GATEWAY_CORS_ORIGINS": "*"}, "CORS_ORIGINS"),
        (PRODUCTION | TLS | {"HOLDFAST_GATEWAY_JWKS": "http://issuer.test/jwks"}, "JWKS"),
        (NEEDED | {"HOLDFAST_GATEWAY_JWKS": "ftp://secret-host/y"}, "JWKS"),
        (NEEDED | {"HOLDFAST_GATEWAY_ISSUER": ""}, "ISSUER"),
        (NEEDED | {"HOLDFAST_GATEWAY_LISTEN": "127.0.0.1:99999"}, "LISTEN"),
        (NEEDED | {"HOLDFAST_GATEWAY_CORS_ORIGINS": "https://shop.example, secret-host"}, "CORS_ORIGINS"),
        (NEEDED | {"HOLDFAST_GATEWAY_REQUEST_SECONDS_MAX": "0"}, "REQUEST_SECONDS_MAX"),
        (NEEDED | {"HOLDFAST_GATEWAY_BODY_BYTES_MAX": "1x"}, "BODY_BYTES_MAX"),
        (NEEDED | {"HOLDFAST_GATEWAY_RATE_LIMITS": "maybe"}, "RATE_LIMITS"),
        (NEEDED | {"HOLDFAST_GATEWAY_ISSUR": "x"}, "ISSUR"),
    ],
)
def test_a_wrong_variable_stops_the_start_and_its_value_is_not_shown(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str], named: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        load_with(environment, variables)
    errors = capsys.readouterr().err
    assert ended.value.code == 2
    assert f"HOLDFAST_GATEWAY_{named}: " in errors
    assert "secret-host" not in errors
