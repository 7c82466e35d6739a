"""A certificate authority, and servers and peers on loopback, closed after each test."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from holdfast.common.authority import create_authority, issue
from holdfast.common.mesh_identity import MeshIdentity, Principal
from holdfast.common.metrics import Metrics
from holdfast.common.rpc_client import Peer
from holdfast.common.rpc_server import RpcServer
from holdfast.common.settings import MeshSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from google.protobuf.descriptor import ServiceDescriptor

ORGANIZATION = "0190163d-8694-739b-aea5-966c26f8ad90"
ID = "0190163d-8694-739b-aea5-966c26f8ad91"
BUYER = Principal(subject="buyer-1", organization_id=ORGANIZATION, roles=frozenset({"buyer"}))
OWNER = Principal(subject="owner-1", organization_id=ORGANIZATION, roles=frozenset({"owner"}))
SERVICES = ("gateway", "events", "capacity", "pricing", "orders")


async def eventually(condition: Callable[[], bool], *, seconds_max: float = 10.0) -> None:
    """Wait until something that another task brings about is so; TimeoutError if it is not in time."""
    async with asyncio.timeout(seconds_max):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority and the certificates of all services."""
    directory = tmp_path_factory.mktemp("certificates")
    create_authority(directory)
    for name in SERVICES:
        issue(directory, name)
    return directory


@dataclass
class Workshop:
    """Starts servers and peers, and closes them in reverse."""

    certificates: Path
    stack: AsyncExitStack

    def settings(self, **fields: Any) -> MeshSettings:
        return MeshSettings(identity_dir=self.certificates, page_token_key=SecretStr("k" * 32), **fields)

    async def server(
        self,
        descriptor: ServiceDescriptor,
        implementation: object,
        *,
        service: str = "capacity",
        directory: Path | None = None,
        settings: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> RpcServer:
        arguments = {"metrics": Metrics(service), "listen": "127.0.0.1:0", "notice_seconds": 0.0, **arguments}
        server = RpcServer(
            service=service,
            identity=MeshIdentity.load(directory or self.certificates, service),
            mesh=self.settings(**(settings or {})),
            **arguments,
        )
        server.add(descriptor, implementation)
        await server.start()
        self.stack.push_async_callback(server.stop)
        return server

    async def peer(
        self,
        address: str,
        *,
        me: str = "gateway",
        name: str = "capacity",
        directory: Path | None = None,
        **arguments: Any,
    ) -> Peer:
        identity = MeshIdentity.load(directory or self.certificates, me)
        peer = Peer(name=name, target=address, identity=identity, **arguments)
        await peer.start()
        self.stack.push_async_callback(peer.close)
        return peer


@pytest.fixture
async def workshop(certificates: Path) -> AsyncIterator[Workshop]:
    async with AsyncExitStack() as stack:
        yield Workshop(certificates=certificates, stack=stack)
