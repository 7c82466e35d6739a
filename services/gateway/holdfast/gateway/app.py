"""The gateway's composition root: build, start, stop — the one place where its parts meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from holdfast.common.contracts import contract_services
from holdfast.common.mesh_identity import MeshIdentity
from holdfast.common.metrics import Metrics
from holdfast.common.operations_server import OperationsServer
from holdfast.common.tasks import Background, pause
from holdfast.common.telemetry import Telemetry
from holdfast.gateway.api import Api
from holdfast.gateway.auth import Authenticator
from holdfast.gateway.clients import Clients
from holdfast.gateway.cors import Cors
from holdfast.gateway.gcra import Limit
from holdfast.gateway.keys import KeySource
from holdfast.gateway.limits import RateLimiter
from holdfast.gateway.measures import Measures
from holdfast.gateway.openapi import openapi_document
from holdfast.gateway.operational import Readiness, operational_app
from holdfast.gateway.routes import Routes
from holdfast.gateway.server import HttpServer
from holdfast.gateway.settings import origins

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import SpanProcessor

    from holdfast.common.settings import MeshSettings
    from holdfast.gateway.settings import GatewaySettings

NAME: Final = "gateway"
LOOK_SECONDS: Final = 1.0
OPERATIONAL: Final = frozenset(
    {b"/health", b"/health/live", b"/health/ready", b"/health/startup", b"/metrics", b"/openapi.json", b"/docs"}
)

logger = structlog.get_logger(__name__)


class GatewayApp:
    """The gateway as a process runs it. Make it inside the event loop."""

    def __init__(
        self, mesh: MeshSettings, settings: GatewaySettings, *, span_processors: Sequence[SpanProcessor] = ()
    ) -> None:
        metrics = Metrics(NAME)
        measures = Measures(metrics)
        self.telemetry = Telemetry(
            service=NAME,
            endpoint=mesh.trace_endpoint,
            ratio=mesh.trace_sample_ratio,
            processors=span_processors,
        )
        self._clients = Clients(
            targets={
                "events": mesh.events_address,
                "capacity": mesh.capacity_address,
                "pricing": mesh.pricing_address,
            },
            identity=MeshIdentity.load(mesh.identity_dir, NAME),
            metrics=metrics,
            measures=measures,
        )
        self._keys = KeySource(settings.jwks)
        on = settings.rate_limits == "on"
        self.limiter = RateLimiter(
            url=mesh.cache_url,
            organization=Limit(settings.organization_requests_per_second * on, settings.organization_burst),
            principal=Limit(settings.principal_requests_per_second * on, settings.principal_burst),
            on_fallback=measures.limits_local,
        )
        routes = Routes(contract_services())
        self._api = Api(
            routes=routes,
            clients=self._clients,
            authenticator=Authenticator(keys=self._keys, issuer=settings.issuer, audience=settings.audience),
            limiter=self.limiter,
            telemetry=self.telemetry,
            measures=measures,
            cors=Cors(origins(settings.cors_origins)),
            request_seconds_max=settings.request_seconds_max,
            read_seconds_max=settings.read_seconds_max,
            body_bytes_max=settings.body_bytes_max,
        )
        self.readiness = Readiness(health=self._clients.health, keys_ready=lambda: self._keys.ready)
        docs = openapi_document(self._api.endpoints.values()) if settings.docs == "on" else None
        self._http = HttpServer(
            self._api,
            beside=operational_app(
                readiness=self.readiness,
                registry=metrics.registry if settings.metrics == "on" else None,
                openapi=docs,
            ),
            paths_beside=OPERATIONAL,
            listen=settings.listen,
            read_seconds_max=settings.read_seconds_max,
            idle_seconds_max=settings.idle_seconds_max,
            connections_max=settings.connections_max,
            drain_seconds=settings.drain_seconds,
            certificate=settings.tls_certificate,
            key=settings.tls_key,
        )
        self._operations = OperationsServer(
            metrics=metrics, listen=settings.metrics_listen, ready=lambda: self.readiness.ready
        )
        self._watch = Background("service-health", self._watch_services, metrics=metrics)

    @property
    def ready(self) -> bool:
        """Whether the gateway takes requests."""
        return self.readiness.ready

    @property
    def port(self) -> int:
        """The port that HTTP listens on, once started."""
        return self._http.port

    @property
    def metrics_port(self) -> int:
        """The port that operators ask, once started."""
        return self._operations.port

    async def start(self) -> None:
        """Open everything, in order; StartRefused says why the gateway must not run."""
        self.telemetry.start()
        await self._operations.start()
        await self._keys.start()
        await self._clients.start(self._api.endpoints.values())
        await self.limiter.start()
        self._watch.start()
        await self._http.start()
        logger.info("serving", service=NAME, port=self.port)

    async def stop(self) -> None:
        """Drain and close everything in reverse; also after a start that failed half-way."""
        self.readiness.stopping = True
        await self._http.stop()
        await self._watch.stop()
        await self.limiter.stop()
        await self._clients.close()
        await self._operations.stop()
        await self.telemetry.stop()

    async def _watch_services(self, stop: asyncio.Event) -> None:
        while not await pause(stop, LOOK_SECONDS):
            await self.readiness.look()
