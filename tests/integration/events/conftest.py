"""The events service on real PostgreSQL and NATS, spoken to over mutual TLS."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import pytest_asyncio
from google.protobuf import json_format
from pydantic import SecretStr

from holdfast.api.events.v1 import (
    event_pb2,
    event_service_pb2,
    event_service_pb2_grpc,
    messages_pb2,
    organization_service_pb2,
    organization_service_pb2_grpc,
    schedule_service_pb2,
    schedule_service_pb2_grpc,
    venue_pb2,
    venue_service_pb2,
    venue_service_pb2_grpc,
)
from holdfast.common.authority import create_authority, issue
from holdfast.common.errors import DomainError
from holdfast.common.ids import new_id
from holdfast.common.mesh_identity import MeshIdentity, Principal
from holdfast.common.rpc_client import Peer
from holdfast.common.settings import MeshSettings
from holdfast.events.app import EventsApp
from holdfast.events.settings import EventsSettings
from tests.integration.events.neighbours import World, servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from holdfast.local.nats import EmbeddedNats
    from tests.support.postgres import TestDatabase

DEADLINE_SECONDS = 8.0
WAIT_SECONDS = 20.0
_REQUESTS = (event_service_pb2, venue_service_pb2, schedule_service_pb2, organization_service_pb2)
_STUBS = (
    event_service_pb2_grpc.EventServiceStub,
    venue_service_pb2_grpc.VenueServiceStub,
    schedule_service_pb2_grpc.ScheduleServiceStub,
    organization_service_pb2_grpc.OrganizationServiceStub,
)


class SettableClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.moment = datetime.now(UTC).replace(microsecond=0)

    def now(self) -> datetime:
        return self.moment


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return once `condition` holds; fail when it does not in time."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not await condition():  # noqa: ASYNC110 - it looks into other processes
            await asyncio.sleep(0.02)  # between two looks at a state that others change


async def refused(answer: Awaitable[Any]) -> DomainError:
    """Give the refusal of a call that must be refused."""
    with pytest.raises(DomainError) as caught:
        await answer
    return caught.value


@dataclass
class Events:
    """A running events service, and callers of it."""

    app: EventsApp
    world: World
    peers: dict[str, Peer]
    database: TestDatabase
    clock: SettableClock
    mesh: MeshSettings
    organization_id: str = ""
    names: Iterator[int] = field(default_factory=lambda: iter(range(10_000)))

    async def call(
        self, rpc: str, *, role: str = "owner", organization_id: str | None = None, peer: str = "gateway", **fields: Any
    ) -> Any:
        return (await self.call_with_metadata(rpc, role=role, organization_id=organization_id, peer=peer, **fields))[0]

    async def call_with_metadata(
        self, rpc: str, *, role: str = "owner", organization_id: str | None = None, peer: str = "gateway", **fields: Any
    ) -> tuple[Any, dict[str, Any]]:
        """Call an RPC with a request of the fields given as JSON, `mask` = the update mask's paths."""
        mask = fields.pop("mask", None)
        module = next(one for one in _REQUESTS if hasattr(one, f"{rpc}Request"))
        request = json_format.ParseDict(fields, getattr(module, f"{rpc}Request")())
        if mask is not None:
            request.update_mask.paths.extend(mask)
        caller = self.peers[peer]
        method = next(getattr(stub(caller.channel), rpc) for stub in _STUBS if hasattr(stub(caller.channel), rpc))
        organization_id = self.organization_id if organization_id is None else organization_id
        principal = Principal(f"user:{role}", organization_id, frozenset({role}))
        return await caller.call_with_metadata(method, request, principal=principal, deadline_seconds=DEADLINE_SECONDS)

    async def organization(self, **fields: Any) -> str:
        response = await self.call(
            "CreateOrganization",
            role="platform_admin",
            organization_id="",
            organization={"name": f"Organization {new_id()}", **fields},
        )
        return str(response.organization.id)

    async def venue(self, **fields: Any) -> venue_pb2.Venue:
        given = {"name": f"Hall {next(self.names)}", "max_capacity": 1000, **fields}
        made: venue_pb2.Venue = (await self.call("CreateVenue", venue=given)).venue
        return made

    async def event(self, *, days: float | None = 10, venue_id: str = "", **fields: Any) -> event_pb2.Event:
        """Create an event with one date in so many days, None = without, at a venue of its own."""
        given = {"name": "Jazz Night", "venue_id": venue_id or (await self.venue()).id, **fields}
        if days is not None:
            given.setdefault("starts_at", self.after(days=days))
        made: event_pb2.Event = (await self.call("CreateEvent", event=given)).event
        return made

    async def on_sale(self, **fields: Any) -> event_pb2.Event:
        event = await self.event(**fields)
        self.world.ready(event.id)
        await self.call("PublishEvent", event_id=event.id)
        started: event_pb2.Event = (await self.call("StartSales", event_id=event.id)).event
        return started

    async def read(self, event_id: str) -> event_pb2.Event:
        shown: event_pb2.Event = (await self.call("GetEvent", event_id=event_id)).event
        return shown

    async def dates(self, event_id: str) -> list[Any]:
        return list((await self.call("GetEvent", event_id=event_id)).schedules)

    async def history(self, event_id: str) -> list[Any]:
        return list((await self.call("ListEventTransitions", event_id=event_id)).transitions)

    async def wait_state(self, event_id: str, state: str) -> event_pb2.Event:
        async def there() -> bool:
            return event_pb2.Event.State.Name((await self.read(event_id)).state) == state

        await until(there)
        return await self.read(event_id)

    def after(self, **delta: float) -> str:
        return (self.clock.now() + timedelta(**delta)).isoformat()

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Look into the database as its superuser."""
        with psycopg.connect(self.database.dsn("admin")) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def messages(self, aggregate_id: str) -> list[tuple[int, str, Any]]:
        """Give version, type and body of everything that was said of an aggregate, in order."""
        rows = self.rows(
            "SELECT version, type, body FROM events.outbox WHERE aggregate_id = %s ORDER BY version", aggregate_id
        )
        return [(version, kind, _body(kind, body)) for version, kind, body in rows]


def _body(kind: str, body: bytes) -> Any:
    return getattr(messages_pb2, "".join(word.capitalize() for word in kind.split("_"))).FromString(body)


@pytest.fixture(scope="session")
def identity_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("identity")
    create_authority(directory)
    for name in ("gateway", "events", "capacity", "pricing"):
        issue(directory, name)
    return directory


@asynccontextmanager
async def running(
    database: TestDatabase, nats_url: str, identity_dir: Path, *, neighbours: bool = True
) -> AsyncIterator[Events]:
    """Run the service; without neighbours, nobody listens where capacity and pricing should be."""
    mesh = MeshSettings(identity_dir=identity_dir, page_token_key=SecretStr("k" * 40), nats_url=nats_url)
    world, clock = World(), SettableClock()
    others = servers(world, identity_dir=identity_dir, mesh=mesh)
    addresses = ["127.0.0.1:1", "127.0.0.1:1"]
    if neighbours:
        for server in others:
            await server.start()
        addresses = [server.address for server in others]
    mesh = mesh.model_copy(update={"capacity_address": addresses[0], "pricing_address": addresses[1]})
    settings = EventsSettings(
        listen="127.0.0.1:0",
        metrics_listen="127.0.0.1:0",
        database_dsn=SecretStr(database.dsn("events_service")),
        relay_dsn=SecretStr(database.dsn("events_relay")),
        drain_seconds=1,
    )
    app = EventsApp(mesh, settings, clock=clock)
    await app.start()
    peers = {
        name: Peer(name="events", target=app.server.address, identity=MeshIdentity.load(identity_dir, name))
        for name in ("gateway", "capacity", "pricing")
    }
    for peer in peers.values():
        await peer.start()
    service = Events(app=app, world=world, peers=peers, database=database, clock=clock, mesh=mesh)
    try:
        service.organization_id = await service.organization()
        yield service
    finally:
        for peer in peers.values():
            await peer.close()
        await app.stop()
        for server in others:
            await server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def events(database: TestDatabase, own_nats: EmbeddedNats, identity_dir: Path) -> AsyncIterator[Events]:
    async with running(database, own_nats.url, identity_dir) as service:
        yield service
