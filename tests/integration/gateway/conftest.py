"""A real gateway on loopback, in front of real RPC servers."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio

from holdfast.common.authority import create_authority, issue
from holdfast.common.ids import new_id
from holdfast.common.mesh_identity import MeshIdentity
from holdfast.common.metrics import Metrics
from holdfast.common.rpc_server import RpcServer
from holdfast.common.settings import MeshSettings
from holdfast.gateway.app import GatewayApp
from holdfast.gateway.settings import GatewaySettings
from holdfast.local.valkey import EmbeddedValkey
from tests.integration.gateway.services import Behind
from tests.support.tokens import ISSUER, Issuer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from opentelemetry.sdk.trace import SpanProcessor


@dataclass
class Stack:
    """A gateway, what is behind it, and who signs its tokens."""

    directory: Path
    issuer: Issuer
    behind: Behind
    servers: dict[str, RpcServer]
    mesh: MeshSettings
    app: GatewayApp
    organization_id: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.app.port}"

    def token(self, *roles: str, subject: str = "buyer-1", **claims: Any) -> str:
        claims.setdefault("organization_id", self.organization_id)
        return self.issuer.token(*(roles or ("buyer",)), subject=subject, **claims)

    def client(self, *roles: str, subject: str = "buyer-1", **headers: str) -> httpx.AsyncClient:
        token = self.token(*roles, subject=subject)
        return httpx.AsyncClient(base_url=self.url, headers={"Authorization": f"Bearer {token}", **headers}, timeout=20)


def gateway_settings(issuer: Issuer, **changes: Any) -> GatewaySettings:
    settings = {
        "listen": "127.0.0.1:0",
        "metrics_listen": "127.0.0.1:0",
        "jwks": str(issuer.jwks),
        "issuer": ISSUER,
        "drain_seconds": 1,
    }
    return GatewaySettings(**{**settings, **changes})


@asynccontextmanager
async def running_stack(
    directory: Path,
    *,
    cache_url: str,
    span_processors: tuple[SpanProcessor, ...] = (),
    trace_sample_ratio: float = 0.0,
    **settings: Any,
) -> AsyncIterator[Stack]:
    identities = directory / "identity"
    create_authority(identities)
    for name in ("gateway", "events", "capacity", "pricing"):
        issue(identities, name)
    behind = Behind()
    mesh = MeshSettings(
        identity_dir=identities,
        page_token_key="0123456789abcdef0123456789abcdef",  # type: ignore[arg-type]  # pydantic makes it a secret
        cache_url=cache_url,
        trace_sample_ratio=trace_sample_ratio,
    )
    servers: dict[str, RpcServer] = {}
    for name in ("events", "capacity", "pricing"):
        server = RpcServer(
            service=name,
            listen="127.0.0.1:0",
            identity=MeshIdentity.load(identities, name),
            mesh=mesh,
            metrics=Metrics(name),
            drain_seconds=1,
            notice_seconds=0,
        )
        behind.add_to(name, server)
        await server.start()
        servers[name] = server
    mesh = mesh.model_copy(update={f"{name}_address": server.address for name, server in servers.items()})
    issuer = Issuer(directory / "jwks.json")
    app = GatewayApp(mesh, gateway_settings(issuer, **settings), span_processors=span_processors)
    try:
        await app.start()
        yield Stack(directory, issuer, behind, servers, mesh, app, new_id())
    finally:
        await app.stop()
        for server in servers.values():
            await server.stop()


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory, valkey: EmbeddedValkey) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path_factory.mktemp("gateway"), cache_url=valkey.url) as running:
        yield running
