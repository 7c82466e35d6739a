"""The composition root: the one place where the events service's parts meet."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from holdfast.api.events.v1 import (
    event_service_pb2,
    organization_service_pb2,
    schedule_service_pb2,
    venue_service_pb2,
)
from holdfast.common.database import Database
from holdfast.common.mesh_identity import MeshIdentity
from holdfast.common.metrics import Metrics
from holdfast.common.outbox import OutboxSource
from holdfast.common.pagination import PageTokens
from holdfast.common.relay_app import RelayApp
from holdfast.common.rpc_client import Peer
from holdfast.common.rpc_server import RpcServer
from holdfast.common.tasks import Background, watch_loop_lag
from holdfast.common.telemetry import Telemetry
from holdfast.events.clock import DatabaseClock
from holdfast.events.consumers import InventoryConsumer
from holdfast.events.outside import SERVICE, Outside
from holdfast.events.rpc.events import EventServicer
from holdfast.events.rpc.front import Front
from holdfast.events.rpc.organizations import OrganizationServicer
from holdfast.events.rpc.schedules import ScheduleServicer
from holdfast.events.rpc.venues import VenueServicer
from holdfast.events.store.tables import SCHEMA
from holdfast.events.timers import Timers

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from holdfast.common.clock import Clock
    from holdfast.common.settings import MeshSettings
    from holdfast.events.settings import EventsSettings


def outbox_source(_metrics: Metrics) -> OutboxSource:
    """Make what the relay publishes."""
    return OutboxSource(SCHEMA)


class EventsApp:
    """The service: its RPCs, and beside them the relay, the timers and the consumer of inventories.

    `clock` is for tests; without one the service goes by the database's.
    """

    def __init__(
        self,
        mesh: MeshSettings,
        settings: EventsSettings,
        *,
        telemetry: Telemetry | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self.metrics = Metrics(SERVICE)
        self._telemetry = telemetry or Telemetry(
            service=SERVICE, endpoint=mesh.trace_endpoint, ratio=mesh.trace_sample_ratio
        )
        identity = MeshIdentity.load(mesh.identity_dir, SERVICE)
        self._database = Database(
            dsn=settings.database_dsn.get_secret_value(),
            pool_size=settings.database_pool_size,
            application_name=f"holdfast-{SERVICE}",
            schema=SCHEMA,
            metrics=self.metrics,
        )
        self._relay = RelayApp(
            mesh, settings, schema=SCHEMA, source=outbox_source, metrics=self.metrics, telemetry=self._telemetry
        )
        # The relay's role works across organizations: it also finds what is due, and reads the clock.
        self._own_clock = DatabaseClock(self._relay.database)
        self._clock: Clock = clock or self._own_clock
        self._capacity = Peer(name="capacity", target=mesh.capacity_address, identity=identity, metrics=self.metrics)
        self._pricing = Peer(name="pricing", target=mesh.pricing_address, identity=identity, metrics=self.metrics)
        self._outside = Outside(capacity=self._capacity, pricing=self._pricing)
        self.server = RpcServer(
            service=SERVICE,
            listen=settings.listen,
            identity=identity,
            mesh=mesh,
            metrics=self.metrics,
            telemetry=self._telemetry,
            drain_seconds=settings.drain_seconds,
        )
        self._add_services(PageTokens(mesh.page_token_key))
        self._opened = AsyncExitStack()
        self._serving = False

    def _add_services(self, tokens: PageTokens) -> None:
        front = Front(database=self._database, clock=self._clock, outside=self._outside, tokens=tokens)
        for descriptor, name, servicer in (
            (organization_service_pb2.DESCRIPTOR, "OrganizationService", OrganizationServicer(front)),
            (venue_service_pb2.DESCRIPTOR, "VenueService", VenueServicer(front)),
            (event_service_pb2.DESCRIPTOR, "EventService", EventServicer(front)),
            (schedule_service_pb2.DESCRIPTOR, "ScheduleService", ScheduleServicer(front)),
        ):
            self.server.add(descriptor.services_by_name[name], servicer)
        self.server.add_missing()

    @property
    def ready(self) -> bool:
        """Whether the service takes work. It does while NATS, capacity or pricing are away: messages wait."""
        return self._serving

    async def start(self) -> None:
        """Open everything, the server last. StartRefused says why it must not run."""
        self._telemetry.start()
        self._opened.push_async_callback(self._telemetry.stop)
        operations = await self.metrics.serve(self._settings.metrics_listen, ready=lambda: self.ready)
        self._opened.push_async_callback(operations.stop)
        self._opened.push_async_callback(self._database.close)
        await self._database.start()
        self._opened.push_async_callback(self._relay.stop)
        await self._relay.start()
        await self._own_clock.synchronize()
        for peer in (self._capacity, self._pricing):
            self._opened.push_async_callback(peer.close)
            await peer.start()
        for background in self._backgrounds():
            self._opened.push_async_callback(background.stop)
            background.start()
        self._opened.push_async_callback(self.server.stop)
        await self.server.start()
        self._serving = True

    def _backgrounds(self) -> list[Background]:
        timers = Timers(database=self._database, lookout=self._relay.database, clock=self._clock, outside=self._outside)
        inventories = InventoryConsumer(database=self._database, clock=self._clock, outside=self._outside)
        loops: dict[str, Callable[[asyncio.Event], Awaitable[None]]] = {
            "clock": self._own_clock.run,
            "loop-lag": partial(watch_loop_lag, self.metrics),
            "timers": timers.run,
            "inventories": partial(self._relay.messaging.consume, inventories.consumer()),
        }
        return [Background(name, run, metrics=self.metrics) for name, run in loops.items()]

    async def stop(self) -> None:
        """Refuse new work, drain, close what `start` opened, in reverse."""
        self._serving = False
        await self._opened.aclose()
