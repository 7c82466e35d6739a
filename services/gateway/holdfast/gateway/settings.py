"""The gateway's variables, `HOLDFAST_GATEWAY_…`."""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - pydantic reads it at run time
from typing import TYPE_CHECKING, Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_settings import NoDecode, SettingsConfigDict

from holdfast.common.settings import ListenAddress, Settings, is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY_BYTES_MAX: Final = 1024 * 1024

_ORIGIN: Final = re.compile(r"https?://[a-z0-9.-]+(?::[0-9]{1,5})?|\*")


def _jwks(text: str) -> str:
    if "://" in text and (urlsplit(text).scheme not in {"http", "https"} or not urlsplit(text).hostname):
        raise ValueError("must be a file, or an http:// or https:// URL")
    return text


def _origins(text: str) -> str:
    for part in origins(text):
        if not _ORIGIN.fullmatch(part):
            raise ValueError("must be origins such as https://shop.example separated by commas, or *")
    return text


def origins(text: str) -> tuple[str, ...]:
    """Split a list of origins."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


class GatewaySettings(Settings):
    """What only the gateway has. It has no database."""

    model_config = SettingsConfigDict(env_prefix="HOLDFAST_GATEWAY_")

    listen: ListenAddress = Field(
        default="127.0.0.1:8080", description="Where HTTP listens; port 0 lets the system choose."
    )
    metrics_listen: ListenAddress = Field(
        default="127.0.0.1:9100", description="Where /metrics and /health/… listen for operators, plain HTTP."
    )
    drain_seconds: float = Field(
        default=10.0,
        ge=0,
        le=300,
        description="How long requests in flight may take to end when the gateway stops, seconds.",
    )
    jwks: Annotated[str, AfterValidator(_jwks)] = Field(
        min_length=1,
        description="The token issuer's public keys: a JWKS file, read anew when it changes, or its URL.",
    )
    issuer: str = Field(min_length=1, max_length=500, description="What tokens must say in `iss`.")
    audience: str = Field(
        default="holdfast", min_length=1, max_length=500, description="What tokens must say in `aud`."
    )
    tls_certificate: Path | None = Field(default=None, description="PEM certificate chain to serve HTTPS with.")
    tls_key: Path | None = Field(default=None, description="PEM private key of that certificate.")
    tls_terminated: bool = Field(
        default=False, description="Whether something in front of the gateway terminates TLS; production needs one."
    )
    request_seconds_max: float = Field(
        default=5.0,
        gt=0,
        le=300,
        description="Deadline of a request, seconds. A client may ask for less with the header Request-Timeout.",
    )
    read_seconds_max: float = Field(
        default=10.0,
        gt=0,
        le=300,
        description="How long a client may take to send a request's head, and its body, seconds each.",
    )
    idle_seconds_max: int = Field(
        default=75, ge=1, le=3600, description="How long a connection may stay open between requests, seconds."
    )
    body_bytes_max: int = Field(
        default=BODY_BYTES_MAX, ge=1024, le=4 * 1024 * 1024, description="Largest body of a request, bytes."
    )
    connections_max: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Connections at once; more are answered 503."
    )
    cors_origins: Annotated[str, NoDecode, AfterValidator(_origins)] = Field(
        default="",
        description="Origins whose pages may call the API from a browser, separated by commas; empty: none.",
    )
    rate_limits: Literal["on", "off"] = Field(default="on", description="Whether calls are counted and limited.")
    organization_requests_per_second: float = Field(
        default=5000, ge=0, le=1_000_000, description="What one organization may ask in the long run; 0: no limit."
    )
    organization_burst: int = Field(
        default=10_000, ge=1, le=1_000_000, description="What one organization may ask at once."
    )
    principal_requests_per_second: float = Field(
        default=200, ge=0, le=1_000_000, description="What one principal may ask in the long run; 0: no limit."
    )
    principal_burst: int = Field(default=400, ge=1, le=1_000_000, description="What one principal may ask at once.")
    docs: Literal["on", "off"] = Field(default="on", description="Whether /docs and /openapi.json are served.")
    metrics: Literal["on", "off"] = Field(
        default="on",
        description="Whether /metrics is also served beside the API, and not only where metrics_listen says.",
    )

    def production_faults(self) -> Iterator[tuple[str, str]]:
        """Refuse plaintext and keys that come over plaintext."""
        if (self.tls_certificate is None) != (self.tls_key is None):
            yield "tls_key", "certificate and key are given together"
        if self.tls_certificate is None and not self.tls_terminated:
            yield "tls_terminated", "production needs tls_certificate and tls_key, or tls_terminated=true"
        location = urlsplit(self.jwks)
        if location.scheme == "http" and not is_loopback(location.hostname or ""):
            yield "jwks", "must be https:// or a file in production"
        if "*" in origins(self.cors_origins):
            yield "cors_origins", "must name its origins in production"
