"""The composition root: the one place where the capacity service's parts meet."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

from holdfast.api.capacity.v1 import audit_service_pb2, hold_service_pb2, inventory_service_pb2, section_service_pb2
from holdfast.capacity.availability import Availabilities
from holdfast.capacity.consumers import ControlsConsumer
from holdfast.capacity.engine.batches import Engine
from holdfast.capacity.engine.layouts import Layouts
from holdfast.capacity.following import COMMITS
from holdfast.capacity.operations.tidying import Tidy
from holdfast.capacity.outside import Outside
from holdfast.capacity.reaper import Reaper
from holdfast.capacity.rpc.audit import AuditServicer
from holdfast.capacity.rpc.batches import BatchServicer
from holdfast.capacity.rpc.blocks import BlockServicer
from holdfast.capacity.rpc.changing import ChangeServicer
from holdfast.capacity.rpc.events_of import EventsOf
from holdfast.capacity.rpc.exchanging import ExchangeServicer
from holdfast.capacity.rpc.explaining import ExplainServicer
from holdfast.capacity.rpc.front import Front
from holdfast.capacity.rpc.holds import HoldServicer
from holdfast.capacity.rpc.inventory import InventoryServicer
from holdfast.capacity.rpc.lifecycle import LifecycleServicer
from holdfast.capacity.rpc.placing import Placing
from holdfast.capacity.rpc.sales import SaleServicer
from holdfast.capacity.rpc.seating import SeatingServicer
from holdfast.capacity.rpc.seats import SeatServicer
from holdfast.capacity.rpc.sections import SectionServicer
from holdfast.capacity.rpc.verification import VERIFIED_AT_ONCE_MAX, VerificationServicer
from holdfast.capacity.rpc.watching import WatchServicer
from holdfast.capacity.seat_maps import SeatMaps
from holdfast.capacity.seating_sagas import SeatingSagas
from holdfast.capacity.store.journal import JournalSource
from holdfast.capacity.watching import Watches
from holdfast.common.database import Database
from holdfast.common.mesh_identity import MeshIdentity
from holdfast.common.metrics import Metrics
from holdfast.common.pagination import PageTokens
from holdfast.common.relay_app import RelayApp
from holdfast.common.rpc_client import Peer
from holdfast.common.rpc_server import RpcServer
from holdfast.common.tasks import Background, watch_loop_lag
from holdfast.common.telemetry import Telemetry

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from holdfast.api.capacity.v1 import messages_pb2
    from holdfast.capacity.settings import CapacitySettings
    from holdfast.common.message import IncomingMessage
    from holdfast.common.settings import MeshSettings

SERVICE: Final = "capacity"
SCHEMA: Final = "capacity"

# Sessions of the engine: a frozen replica frees the event within seconds.
LOCK_TIMEOUT_SECONDS: Final = 1.5
IDLE_IN_TRANSACTION_TIMEOUT_SECONDS: Final = 2.0
COMMIT_TIMEOUT_SECONDS: Final = 3.0
"""A reply that does not come is given up: the event's next batch must not wait for it longer than for the lock."""


class CapacityApp:
    """The service: its RPCs, and beside them the relay, the reaper and the consumer of events' controls."""

    def __init__(self, mesh: MeshSettings, settings: CapacitySettings, *, telemetry: Telemetry | None = None) -> None:
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
            lock_timeout_seconds=LOCK_TIMEOUT_SECONDS,
            idle_in_transaction_timeout_seconds=IDLE_IN_TRANSACTION_TIMEOUT_SECONDS,
            commit_timeout_seconds=COMMIT_TIMEOUT_SECONDS,
        )
        layouts = Layouts()
        self.availabilities = Availabilities(database=self._database, metrics=self.metrics)
        self.seat_maps = SeatMaps(database=self._database, layouts=layouts, metrics=self.metrics)
        self._engine = Engine(
            database=self._database,
            layouts=layouts,
            metrics=self.metrics,
            # Reads keep connections of their own: batches never take them all.
            workers_max=max(1, settings.database_pool_size * 3 // 4),
            tidying=Tidy,
            observe=self._observe,
        )
        # Verifying an event may take one for seconds: it has its own, and nobody who sells waits for it.
        self._verifier = Database(
            dsn=settings.database_dsn.get_secret_value(),
            pool_size=VERIFIED_AT_ONCE_MAX,
            application_name=f"holdfast-{SERVICE}-verifier",
            schema=SCHEMA,
            metrics=self.metrics,
        )
        self._sweeper = Database(
            dsn=settings.sweeper_dsn.get_secret_value(),
            pool_size=1,
            application_name=f"holdfast-{SERVICE}-sweeper",
            schema=SCHEMA,
            allow_cross_organization=True,
            metrics=self.metrics,
        )
        self._relay = RelayApp(
            mesh, settings, schema=SCHEMA, source=JournalSource, metrics=self.metrics, telemetry=self._telemetry
        )
        self._events = Peer(name="events", target=mesh.events_address, identity=identity, metrics=self.metrics)
        self._pricing = Peer(name="pricing", target=mesh.pricing_address, identity=identity, metrics=self.metrics)
        self._reaper = Reaper(
            sweeper=self._sweeper,
            engine=self._engine,
            interval_seconds=settings.reaper_interval_seconds,
        )
        self.server = RpcServer(
            service=SERVICE,
            listen=settings.listen,
            identity=identity,
            mesh=mesh,
            metrics=self.metrics,
            telemetry=self._telemetry,
            drain_seconds=settings.drain_seconds,
        )
        outside = Outside(events=self._events, pricing=self._pricing)
        self._seating_sagas = SeatingSagas(
            database=self._database,
            sweeper=self._sweeper,
            engine=self._engine,
            outside=outside,
            metrics=self.metrics,
        )
        front = Front(
            database=self._database,
            engine=self._engine,
            layouts=layouts,
            outside=outside,
            tokens=PageTokens(mesh.page_token_key),
            metrics=self.metrics,
        )
        events = EventsOf(front)
        sections = section_service_pb2.DESCRIPTOR.services_by_name["SectionService"]
        self.server.add(
            sections,
            SectionServicer(front, events),
            ExplainServicer(front, events),
            SeatingServicer(front, self._seating_sagas),
            SeatServicer(front, events, seat_maps=self.seat_maps),
            BlockServicer(front, events),
        )
        holds = hold_service_pb2.DESCRIPTOR.services_by_name["HoldService"]
        holding, lifecycle = HoldServicer(front, Placing(front, events)), LifecycleServicer(front, events)
        self.server.add(
            holds,
            holding,
            lifecycle,
            BatchServicer(self.server, holding, lifecycle),
            ChangeServicer(front, events),
            SaleServicer(front, events),
            ExchangeServicer(front, events),
        )
        inventory = inventory_service_pb2.DESCRIPTOR.services_by_name["InventoryService"]
        watches = Watches(database=self._database, availabilities=self.availabilities, seat_maps=self.seat_maps)
        self.server.add(
            inventory,
            InventoryServicer(front, availabilities=self.availabilities, wake=self._reaper.wake),
            WatchServicer(front, availabilities=self.availabilities, watches=watches),
            VerificationServicer(front, database=self._verifier),
        )
        audit = audit_service_pb2.DESCRIPTOR.services_by_name["AuditService"]
        self.server.add(audit, AuditServicer(front))
        self.server.add_missing()
        self._opened = AsyncExitStack()
        self._serving = False

    @property
    def ready(self) -> bool:
        """Whether the service takes work. It does while NATS, events or pricing are away."""
        return self._serving

    async def start(self) -> None:
        """Open everything, the server last. StartRefused says why it must not run."""
        self._telemetry.start()
        self._opened.push_async_callback(self._telemetry.stop)
        operations = await self.metrics.serve(self._settings.metrics_listen, ready=lambda: self.ready)
        self._opened.push_async_callback(operations.stop)
        for database in (self._database, self._verifier, self._sweeper):
            self._opened.push_async_callback(database.close)
            await database.start()
        self._opened.push_async_callback(self.availabilities.close)
        self._opened.push_async_callback(self.seat_maps.close)
        for peer in (self._events, self._pricing):
            self._opened.push_async_callback(peer.close)
            await peer.start()
        self._opened.push_async_callback(self._engine.close)
        self._opened.push_async_callback(self._relay.stop)
        await self._relay.start()
        for background in self._backgrounds():
            self._opened.push_async_callback(background.stop)
            background.start()
        self._opened.push_async_callback(self.server.stop)
        await self.server.start()
        self._serving = True

    def _backgrounds(self) -> list[Background]:
        controls = ControlsConsumer(engine=self._engine, wake=self._reaper.wake)
        loops: dict[str, Callable[[asyncio.Event], Awaitable[None]]] = {
            "loop-lag": partial(watch_loop_lag, self.metrics),
            "controls": partial(self._relay.messaging.consume, controls.consumer()),
            "seating-sagas": self._seating_sagas.run,
            "availability": partial(self._relay.messaging.listen, COMMITS, self._hear),
        }
        if self._settings.reaper == "on":
            loops["reaper"] = self._reaper.run
        return [Background(name, run, metrics=self.metrics) for name, run in loops.items()]

    def _observe(self, change: messages_pb2.InventoryChanged) -> None:
        """Let those follow a commit of this process who keep events in memory, and the relay, which publishes it."""
        self.availabilities.observe(change)
        self.seat_maps.observe(change)
        self._relay.hint()

    def _hear(self, incoming: IncomingMessage) -> None:
        """Let them follow a commit that a message tells of."""
        self.availabilities.hear(incoming)
        self.seat_maps.hear(incoming)

    async def stop(self) -> None:
        """Refuse new work, drain, close what `start` opened, in reverse."""
        self._serving = False
        await self._opened.aclose()
