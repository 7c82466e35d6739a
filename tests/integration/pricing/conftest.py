"""The pricing service on real PostgreSQL and NATS, spoken to over mutual TLS."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import pytest_asyncio
from google.protobuf import json_format
from pydantic import SecretStr

from holdfast.api.pricing.v1 import (
    price_tier_pb2,
    price_tier_service_pb2,
    price_tier_service_pb2_grpc,
    quote_service_pb2,
    quote_service_pb2_grpc,
)
from holdfast.common.authority import create_authority, issue
from holdfast.common.ids import new_id
from holdfast.common.mesh_identity import MeshIdentity, Principal
from holdfast.common.rpc_client import Peer
from holdfast.common.settings import MeshSettings
from holdfast.pricing.app import PricingApp
from holdfast.pricing.settings import PricingSettings
from tests.integration.pricing.neighbours import World, capacity_server, events_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from holdfast.common.rpc_server import RpcServer
    from holdfast.local.nats import EmbeddedNats
    from tests.support.postgres import TestDatabase

DEADLINE_SECONDS = 5.0


@dataclass
class Pricing:
    """A running pricing service, and callers of it."""

    app: PricingApp
    world: World
    peers: dict[str, Peer]
    database: TestDatabase
    neighbours: tuple[RpcServer, ...]
    nats_url: str
    organization_id: str = field(default_factory=new_id)

    def principal(self, role: str, organization_id: str = "") -> Principal:
        return Principal(f"user:{role}", organization_id or self.organization_id, frozenset({role}))

    def event(self) -> str:
        return self.world.add_event(self.organization_id)

    async def call(
        self, rpc: str, request: Any, *, role: str = "organizer", organization_id: str = "", peer: str = "gateway"
    ) -> Any:
        response, _ = await self.call_with_metadata(rpc, request, role=role, organization_id=organization_id, peer=peer)
        return response

    async def call_with_metadata(
        self, rpc: str, request: Any, *, role: str = "organizer", organization_id: str = "", peer: str = "gateway"
    ) -> tuple[Any, dict[str, Any]]:
        caller = self.peers[peer]
        tiers = price_tier_service_pb2_grpc.PriceTierServiceStub(caller.channel)
        quotes = quote_service_pb2_grpc.QuoteServiceStub(caller.channel)
        method = getattr(tiers if hasattr(tiers, rpc) else quotes, rpc)
        return await caller.call_with_metadata(
            method, request, principal=self.principal(role, organization_id), deadline_seconds=DEADLINE_SECONDS
        )

    async def create(self, event_id: str, *, request_id: str = "", **fields: Any) -> price_tier_pb2.PriceTier:
        request = price_tier_service_pb2.CreatePriceTierRequest(
            event_id=event_id, price_tier=tier_of(**fields), request_id=request_id
        )
        response = await self.call("CreatePriceTier", request)
        tier: price_tier_pb2.PriceTier = response.price_tier
        return tier

    async def update(
        self, price_tier_id: str, *, mask: str = "", etag: str = "", request_id: str = "", **fields: Any
    ) -> price_tier_pb2.PriceTier:
        request = price_tier_service_pb2.UpdatePriceTierRequest(
            price_tier_id=price_tier_id,
            price_tier=json_format.ParseDict(fields, price_tier_pb2.PriceTier()),
            etag=etag,
            request_id=request_id,
        )
        if mask:
            request.update_mask.paths.extend(mask.split(","))
        tier: price_tier_pb2.PriceTier = (await self.call("UpdatePriceTier", request)).price_tier
        return tier

    async def lock(self, *lines: quote_service_pb2.LockPriceLine) -> list[quote_service_pb2.LockPriceOutcome]:
        response = await self.call(
            "LockPrices", quote_service_pb2.LockPricesRequest(lines=lines), role="service", peer="capacity"
        )
        return list(response.outcomes)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Look into the database as its superuser."""
        with psycopg.connect(self.database.dsn("admin")) as connection:
            return connection.execute(query.encode(), values).fetchall()


def usd(amount: str) -> dict[str, str]:
    return {"currency_code": "USD", "amount": amount}


def tier_of(**fields: Any) -> price_tier_pb2.PriceTier:
    given = {"name": "Standard", "base_price": usd("100.00"), **fields}
    return json_format.ParseDict(given, price_tier_pb2.PriceTier())


@pytest.fixture(scope="module")
def identity_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("identity")
    create_authority(directory)
    for name in ("gateway", "events", "capacity", "pricing", "orders"):
        issue(directory, name)
    return directory


@asynccontextmanager
async def running(database: TestDatabase, nats_url: str, identity_dir: Path) -> AsyncIterator[Pricing]:
    mesh = MeshSettings(identity_dir=identity_dir, page_token_key=SecretStr("k" * 40), nats_url=nats_url)
    world = World()
    events = events_server(world, identity_dir=identity_dir, mesh=mesh)
    capacity = capacity_server(world, identity_dir=identity_dir, mesh=mesh)
    await events.start()
    await capacity.start()
    mesh = mesh.model_copy(update={"events_address": events.address, "capacity_address": capacity.address})
    settings = PricingSettings(
        listen="127.0.0.1:0",
        metrics_listen="127.0.0.1:0",
        database_dsn=SecretStr(database.dsn("pricing_service")),
        relay_dsn=SecretStr(database.dsn("pricing_relay")),
        drain_seconds=1,
    )
    app = PricingApp(mesh, settings)
    await app.start()
    peers = {
        name: Peer(name="pricing", target=app.server.address, identity=MeshIdentity.load(identity_dir, name))
        for name in ("gateway", "capacity", "orders")
    }
    for peer in peers.values():
        await peer.start()
    try:
        yield Pricing(
            app=app, world=world, peers=peers, database=database, neighbours=(events, capacity), nats_url=nats_url
        )
    finally:
        for peer in peers.values():
            await peer.close()
        await app.stop()
        await capacity.stop()
        await events.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pricing(database: TestDatabase, nats_server: EmbeddedNats, identity_dir: Path) -> AsyncIterator[Pricing]:
    async with running(database, nats_server.url, identity_dir) as service:
        yield service
