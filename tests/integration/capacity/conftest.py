"""The capacity service on real PostgreSQL and NATS, spoken to over mutual TLS."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import pytest_asyncio
from google.protobuf import json_format
from psycopg import sql
from pydantic import SecretStr

from holdfast.api.capacity.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    hold_pb2,
    hold_service_pb2,
    hold_service_pb2_grpc,
    inventory_service_pb2,
    inventory_service_pb2_grpc,
    messages_pb2,
    section_pb2,
    section_service_pb2,
    section_service_pb2_grpc,
)
from holdfast.api.events.v1 import event_pb2
from holdfast.capacity.app import CapacityApp
from holdfast.capacity.domain.placing import LineRequest, PlaceRequest
from holdfast.capacity.engine.batches import Engine
from holdfast.capacity.engine.layouts import Layouts
from holdfast.capacity.operations import holds as operations
from holdfast.capacity.operations.tidying import Tidy
from holdfast.capacity.settings import CapacitySettings
from holdfast.common.authority import create_authority, issue
from holdfast.common.database import Database
from holdfast.common.errors import DomainError
from holdfast.common.ids import new_id
from holdfast.common.mesh_identity import MeshIdentity, Principal
from holdfast.common.metrics import Metrics
from holdfast.common.protobuf import to_timestamp
from holdfast.common.rpc_client import Peer
from holdfast.common.settings import MeshSettings
from tests.integration.capacity.neighbours import Tier, World, servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

    from holdfast.capacity.engine.unit import Command
    from holdfast.common.rpc_server import RpcServer
    from holdfast.local.nats import EmbeddedNats
    from tests.support.postgres import TestDatabase

DEADLINE_SECONDS = 15.0
WAIT_SECONDS = 20.0
_REQUESTS = (audit_service_pb2, section_service_pb2, hold_service_pb2, inventory_service_pb2)
_STUBS = (
    audit_service_pb2_grpc.AuditServiceStub,
    section_service_pb2_grpc.SectionServiceStub,
    hold_service_pb2_grpc.HoldServiceStub,
    inventory_service_pb2_grpc.InventoryServiceStub,
)


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


def state_of(hold: hold_pb2.Hold) -> str:
    """Name a hold's state."""
    return hold_pb2.Hold.State.Name(hold.state)


@dataclass
class Capacity:
    """A running capacity service, and callers of it."""

    app: CapacityApp
    world: World
    peers: dict[str, Peer]
    database: TestDatabase
    mesh: MeshSettings
    neighbours: tuple[RpcServer, RpcServer]
    organization_id: str = field(default_factory=new_id)

    async def call(
        self,
        rpc: str,
        *,
        role: str = "owner",
        subject: str = "",
        organization_id: str | None = None,
        peer: str = "gateway",
        **fields: Any,
    ) -> Any:
        answer, _ = await self.call_with_metadata(
            rpc, role=role, subject=subject, organization_id=organization_id, peer=peer, **fields
        )
        return answer

    async def call_with_metadata(
        self,
        rpc: str,
        *,
        role: str = "owner",
        subject: str = "",
        organization_id: str | None = None,
        peer: str = "gateway",
        **fields: Any,
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
        principal = Principal(subject or f"user:{role}", organization_id, frozenset({role}))
        return await caller.call_with_metadata(method, request, principal=principal, deadline_seconds=DEADLINE_SECONDS)

    def controls(self, **fields: Any) -> event_pb2.EventControls:
        """Make controls of an event on sale without dates at a venue for 5,000; times are moments."""
        given = {
            "event_id": new_id(),
            "organization_id": self.organization_id,
            "version": 1,
            "state": event_pb2.Event.State.ON_SALE,
            "venue_max_capacity": 5000,
            "hold_ttl_seconds_default": 900,
            "hold_ttl_seconds_max": 3600,
            **fields,
        }
        if isinstance(given["state"], str):
            given["state"] = event_pb2.Event.State.Value(given["state"])
        for name in ("sales_start_time", "sales_end_time"):
            if name in given:
                given[name] = to_timestamp(given[name])
        return event_pb2.EventControls(**given)

    async def apply(self, controls: event_pb2.EventControls) -> inventory_service_pb2.ApplyEventControlsResponse:
        """Tell controls as events does."""
        self.world.controls[controls.event_id] = controls
        request = inventory_service_pb2.ApplyEventControlsRequest(controls=controls)
        events = self.peers["events"]
        answer: inventory_service_pb2.ApplyEventControlsResponse = await events.call(
            inventory_service_pb2_grpc.InventoryServiceStub(events.channel).ApplyEventControls,
            request,
            principal=Principal("service:events", controls.organization_id, frozenset({"service"})),
            deadline_seconds=DEADLINE_SECONDS,
        )
        return answer

    async def event(self, **fields: Any) -> str:
        """Make an event on sale and tell capacity of it."""
        controls = self.controls(**fields)
        await self.apply(controls)
        return controls.event_id

    async def change_event(self, event_id: str, **fields: Any) -> inventory_service_pb2.ApplyEventControlsResponse:
        """Tell the next version of an event's controls, with some fields changed."""
        controls = event_pb2.EventControls()
        controls.CopyFrom(self.world.controls[event_id])
        controls.version += 1
        if "state" in fields:
            controls.state = event_pb2.Event.State.Value(fields.pop("state"))
        if "schedules" in fields:
            del controls.schedules[:]
            controls.schedules.extend(fields.pop("schedules"))
        for name, value in fields.items():
            setattr(controls, name, value)
        return await self.apply(controls)

    async def section(self, event_id: str, total: int, **fields: Any) -> section_pb2.Section:
        given = {"name": f"Section {new_id()}", "total": total, **fields}
        made: section_pb2.Section = (await self.call("CreateSection", event_id=event_id, section=given)).section
        return made

    async def on_sale(self, total: int, **fields: Any) -> section_pb2.Section:
        """Make an event on sale with one section."""
        return await self.section(await self.event(), total, **fields)

    async def place(
        self, section_id: str, quantity: int = 1, *, buyer: str = "user:buyer", **fields: Any
    ) -> hold_pb2.Hold:
        answer = await self.call(
            "PlaceHold", role="buyer", subject=buyer, section_id=section_id, quantity=quantity, **fields
        )
        hold: hold_pb2.Hold = answer.hold
        return hold

    async def fill(self, section: section_pb2.Section, count: int, *, hold_ttl_seconds: int = 900) -> list[str]:
        """Place very many holds of one place each, by an engine of its own, as many in a commit as fit."""
        requests = [
            PlaceRequest(
                hold_id=new_id(),
                event_id=section.event_id,
                customer_id="user:buyer",
                placed_by="user:buyer",
                lines=(LineRequest(section.id, None, 1),),
                hold_ttl_seconds=hold_ttl_seconds,
            )
            for _ in range(count)
        ]
        async with self.engine_of_the_service() as submit:
            for start in range(0, count, 1000):
                some = requests[start : start + 1000]
                await asyncio.gather(*(submit(section.event_id, operations.PlaceHold(request)) for request in some))
        return [request.hold_id for request in requests]

    @asynccontextmanager
    async def database_of_the_service(self, **limits: float) -> AsyncIterator[Database]:
        """Open the database as the service's role."""
        database = Database(
            dsn=self.database.dsn("capacity_service"),
            pool_size=1,
            application_name="test",
            schema="capacity",
            **limits,  # type: ignore[arg-type]  # each is a number of seconds
        )
        await database.start()
        try:
            yield database
        finally:
            await database.close()

    @asynccontextmanager
    async def engine_of_the_service(self) -> AsyncIterator[Callable[[str, Command[Any]], Awaitable[Any]]]:
        """Give what submits a command on an event to an engine apart from the service's, as a replica's would be."""
        async with self.database_of_the_service() as database:
            engine = Engine(
                database=database, layouts=Layouts(), metrics=Metrics("capacity"), workers_max=1, tidying=Tidy
            )

            async def submit(event_id: str, command: Command[Any]) -> Any:
                deadline = asyncio.get_running_loop().time() + DEADLINE_SECONDS
                return await engine.submit(self.organization_id, event_id, command, deadline=deadline)

            yield submit
            await engine.close()

    async def read(self, section_id: str) -> section_pb2.Section:
        shown: section_pb2.Section = (await self.call("GetSection", section_id=section_id)).section
        return shown

    async def hold(self, hold_id: str) -> hold_pb2.Hold:
        shown: hold_pb2.Hold = (await self.call("GetHold", hold_id=hold_id)).hold
        return shown

    async def journal(self, event_id: str) -> list[messages_pb2.InventoryChanged]:
        """Read the whole journal of an event."""
        changes: list[messages_pb2.InventoryChanged] = []
        for _ in range(1_000):
            after = changes[-1].version if changes else 0
            answer = await self.call("ListInventoryChanges", event_id=event_id, after_version=after, page_size=200)
            changes.extend(answer.changes)
            if not answer.changes:
                return changes
        raise AssertionError("the journal has no end")

    async def check(self, event_id: str) -> None:
        """Verify an event, and that its journal has no gaps."""
        found = await self.call("VerifyInventory", event_id=event_id)
        assert found.consistent, found.differences
        versions = [change.version for change in await self.journal(event_id)]
        assert versions == list(range(1, len(versions) + 1))
        assert len(versions) >= found.inventory_version

    def tier(self, **fields: Any) -> str:
        """Add a price tier to the stand-in of pricing."""
        tier_id = new_id()
        self.world.tiers[tier_id] = Tier(**fields)
        return tier_id

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Look into the database as its superuser."""
        with psycopg.connect(self.database.dsn("admin")) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def change(self, query: str, *values: Any) -> int:
        """Change the database as its superuser, behind the service's back; tells how many rows."""
        with psycopg.connect(self.database.dsn("admin")) as connection:
            return connection.execute(query.encode(), values).rowcount

    @contextmanager
    def undoing(self, query: str, *values: Any) -> Iterator[None]:
        """Change rows of a table as `change` does, and put the table back afterwards as it was."""
        table = query[query.index("capacity.") :].split(maxsplit=1)[0]
        with psycopg.connect(self.database.dsn("admin"), autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")  # no foreign key minds
            name = sql.Identifier(*table.split("."))
            connection.execute(sql.SQL("CREATE TEMP TABLE kept AS TABLE {}").format(name))
            assert connection.execute(query.encode(), values).rowcount > 0
            yield
            with connection.transaction():
                connection.execute(sql.SQL("DELETE FROM {}").format(name))
                connection.execute(sql.SQL("INSERT INTO {} OVERRIDING SYSTEM VALUE TABLE kept").format(name))

    @contextmanager
    def holding(self, event_id: str) -> Iterator[None]:
        """Hold an event's row, so that nothing which is done to its inventory gets on meanwhile."""
        with psycopg.connect(self.database.dsn("admin")) as connection:
            connection.execute(
                "SELECT 1 FROM capacity.event_inventories WHERE event_id = %s FOR NO KEY UPDATE", (event_id,)
            )
            yield
            connection.rollback()

    async def until_in_flight(self, calls: int) -> None:
        """Wait until the service works on so many calls, items of batches among them."""

        async def there() -> bool:
            return self.app.metrics.registry.get_sample_value("holdfast_rpc_in_flight") == calls

        await until(there)

    def deadlocks(self) -> int:
        """Count the deadlocks that PostgreSQL has seen in this database."""
        rows = self.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = %s", self.database.name)
        return int(rows[0][0])


def schedule(*, days: float = 10, state: str = "SCHEDULED", **fields: Any) -> event_pb2.ScheduleControls:
    """Make a date in so many days that lasts three hours."""
    start = datetime.now(UTC) + timedelta(days=days)
    given = {
        "schedule_id": new_id(),
        "state": state,
        "start_time": to_timestamp(start),
        "end_time": to_timestamp(start + timedelta(hours=3)),
        **fields,
    }
    return event_pb2.ScheduleControls(**given)


@pytest.fixture(scope="session")
def identity_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("identity")
    create_authority(directory)
    for name in ("gateway", "events", "capacity", "pricing", "orders"):
        issue(directory, name)
    return directory


@asynccontextmanager
async def running(  # noqa: PLR0913 (what may be otherwise, each with its default)
    database: TestDatabase,
    nats_url: str,
    identity_dir: Path,
    *,
    neighbours: bool = True,
    world: World | None = None,
    pricing_address: str = "",
    mesh_settings: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Capacity]:
    """Run the service; without neighbours, nobody listens where events and pricing should be.

    `pricing_address` is where a real pricing is, or is to be, in the place of the stand-in.
    """
    mesh = MeshSettings(
        identity_dir=identity_dir, page_token_key=SecretStr("k" * 40), nats_url=nats_url, **(mesh_settings or {})
    )
    world = world or World()
    others = servers(world, identity_dir=identity_dir, mesh=mesh)
    addresses = ["127.0.0.1:1", "127.0.0.1:1"]
    if neighbours:
        for server in others:
            await server.start()
        addresses = [server.address for server in others]
    mesh = mesh.model_copy(update={"events_address": addresses[0], "pricing_address": pricing_address or addresses[1]})
    app = CapacityApp(
        mesh,
        CapacitySettings(
            **{
                "listen": "127.0.0.1:0",
                "metrics_listen": "127.0.0.1:0",
                "database_dsn": SecretStr(database.dsn("capacity_service")),
                "relay_dsn": SecretStr(database.dsn("capacity_relay")),
                "sweeper_dsn": SecretStr(database.dsn("capacity_sweeper")),
                "drain_seconds": 1,
                "reaper": "off",
                **settings,
            }
        ),
    )
    await app.start()
    peers = {
        name: Peer(name="capacity", target=app.server.address, identity=MeshIdentity.load(identity_dir, name))
        for name in ("gateway", "events", "pricing", "orders")
    }
    for peer in peers.values():
        await peer.start()
    try:
        yield Capacity(app=app, world=world, peers=peers, database=database, mesh=mesh, neighbours=others)
    finally:
        for peer in peers.values():
            await peer.close()
        await app.stop()
        for server in others:
            await server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def capacity(database: TestDatabase, nats_server: EmbeddedNats, identity_dir: Path) -> AsyncIterator[Capacity]:
    """The service with its reaper off, so that nothing which a test sees depends on it."""
    async with running(database, nats_server.url, identity_dir) as service:
        yield service
