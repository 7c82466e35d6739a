"""The composition root: the one place where the pricing service's parts meet."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from holdfast.api.pricing.v1 import price_tier_service_pb2, quote_service_pb2
from holdfast.common.database import Database
from holdfast.common.mesh_identity import MeshIdentity
from holdfast.common.metrics import Metrics
from holdfast.common.outbox import OutboxSource
from holdfast.common.pagination import PageTokens
from holdfast.common.relay_app import RelayApp
from holdfast.common.rpc_client import Peer
from holdfast.common.rpc_server import RpcServer
from holdfast.common.telemetry import Telemetry
from holdfast.pricing.rpc.belonging import Belonging
from holdfast.pricing.rpc.price_tiers import PriceTierServicer
from holdfast.pricing.rpc.quotes import QuoteServicer
from holdfast.pricing.rpc.seating_prices import SeatingPriceServicer

if TYPE_CHECKING:
    from holdfast.common.settings import MeshSettings
    from holdfast.pricing.settings import PricingSettings

SERVICE: Final = "pricing"
SCHEMA: Final = "pricing"


def outbox_source(_metrics: Metrics) -> OutboxSource:
    """Make what the relay publishes."""
    return OutboxSource(SCHEMA)


class PricingApp:
    """The service: its RPCs, and the relay beside them."""

    def __init__(self, mesh: MeshSettings, settings: PricingSettings, *, telemetry: Telemetry | None = None) -> None:
        self._settings = settings
        self.metrics = Metrics(SERVICE)
        self._telemetry = telemetry or Telemetry(
            service=SERVICE, endpoint=mesh.trace_endpoint, ratio=mesh.trace_sample_ratio
        )
        self._identity = MeshIdentity.load(mesh.identity_dir, SERVICE)
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
        self._events = Peer(name="events", target=mesh.events_address, identity=self._identity, metrics=self.metrics)
        self._capacity = Peer(
            name="capacity", target=mesh.capacity_address, identity=self._identity, metrics=self.metrics
        )
        self.server = RpcServer(
            service=SERVICE,
            listen=settings.listen,
            identity=self._identity,
            mesh=mesh,
            metrics=self.metrics,
            telemetry=self._telemetry,
            drain_seconds=settings.drain_seconds,
        )
        self.server.add(
            price_tier_service_pb2.DESCRIPTOR.services_by_name["PriceTierService"],
            PriceTierServicer(
                database=self._database,
                belonging=Belonging(events=self._events, capacity=self._capacity),
                page_tokens=PageTokens(mesh.page_token_key),
            ),
            SeatingPriceServicer(database=self._database),
        )
        self.server.add(
            quote_service_pb2.DESCRIPTOR.services_by_name["QuoteService"], QuoteServicer(database=self._database)
        )
        self.server.add_missing()
        self._opened = AsyncExitStack()
        self._serving = False

    @property
    def ready(self) -> bool:
        """Whether the service takes work. It does while NATS is down: messages wait in the outbox."""
        return self._serving

    async def start(self) -> None:
        """Open everything, the server last. StartRefused says why it must not run."""
        self._telemetry.start()
        self._opened.push_async_callback(self._telemetry.stop)
        operations = await self.metrics.serve(self._settings.metrics_listen, ready=lambda: self.ready)
        self._opened.push_async_callback(operations.stop)
        self._opened.push_async_callback(self._database.close)
        await self._database.start()
        for peer in (self._events, self._capacity):
            self._opened.push_async_callback(peer.close)
            await peer.start()
        self._opened.push_async_callback(self._relay.stop)
        await self._relay.start()
        self._opened.push_async_callback(self.server.stop)
        await self.server.start()
        self._serving = True

    async def stop(self) -> None:
        """Refuse new work, drain, close what `start` opened, in reverse."""
        self._serving = False
        await self._opened.aclose()
