"""A service's gRPC server: mutual TLS, one front door for every RPC, health, reflection, graceful drain."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog
from grpc_reflection.v1alpha import reflection

from holdfast.common.contracts import contract_services
from holdfast.common.errors import StartRefused
from holdfast.common.rpc_call import Call, current_call
from holdfast.common.rpc_health import SERVICE_NAME as HEALTH_SERVICE
from holdfast.common.rpc_health import Health
from holdfast.common.rpc_item import ItemDoor
from holdfast.common.rpc_lasting import LastingStreams, RpcLastingStream, seconds_max
from holdfast.common.rpc_method import Admission, RpcMethod, snake_case
from holdfast.common.rpc_stream import RpcStream
from holdfast.common.telemetry import Telemetry

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

    from holdfast.common.mesh_identity import MeshIdentity
    from holdfast.common.metrics import Metrics
    from holdfast.common.settings import MeshSettings

__all__ = ["Call", "RpcServer", "current_call"]

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
"""Answers may be larger than requests: a batch's outcomes are longer than its lines."""
METADATA_BYTES_MAX: Final = 16 * 1024
NOTICE_SECONDS: Final = 0.5
_STOP_SLACK_SECONDS: Final = 2.0
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", ANSWER_BYTES_MAX),
    ("grpc.max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.so_reuseport", 0),  # Two services on one port are a mistake, not a load balancer.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)

logger = structlog.get_logger(__name__)


class RpcServer:
    """The gRPC server of one service.

    `listen` is host:port; with port 0 the system chooses, see `port`. `drain_seconds` bounds how long calls in flight
    may take to end in `stop`, `notice_seconds` how long clients have to notice that it is not serving.
    """

    def __init__(  # noqa: PLR0913 - a composition root names its parts
        self,
        *,
        service: str,
        listen: str,
        identity: MeshIdentity,
        mesh: MeshSettings,
        metrics: Metrics,
        telemetry: Telemetry | None = None,
        drain_seconds: float = 10.0,
        notice_seconds: float = NOTICE_SECONDS,
    ) -> None:
        self.service = service
        self.port = 0
        self.health: Health | None = None
        self._listen = listen
        self._identity = identity
        self._mesh = mesh
        self._metrics = metrics
        self._telemetry = telemetry or Telemetry(service=service)
        self._drain_seconds = drain_seconds
        self._notice_seconds = notice_seconds
        self._admission = Admission(mesh.rpc_in_flight_max)
        self._lasting = LastingStreams(streams_max=mesh.rpc_streams_max, of_caller_max=mesh.rpc_streams_of_caller_max)
        self._services: dict[str, dict[str, RpcMethod]] = {}
        self._server: grpc.aio.Server | None = None
        metrics.rpc_in_flight.set_function(lambda: float(self._admission.in_flight))

    @property
    def address(self) -> str:
        """The host and port that it listens on, once started."""
        return f"{self._listen.rpartition(':')[0]}:{self.port}"

    @property
    def not_built(self) -> tuple[str, ...]:
        """The RPCs that are served and answer NOT_BUILT_YET, as `<full name of the service>/<RPC>`."""
        return tuple(rpc.full_name for rpcs in self._services.values() for rpc in rpcs.values() if not rpc.built)

    @property
    def services(self) -> tuple[str, ...]:
        """The full names of the services that are served."""
        return tuple(self._services)

    def add(self, service_descriptor: ServiceDescriptor, *implementations: object) -> None:
        """Serve a service by objects with a coroutine `place_hold(request, call)` for `PlaceHold`, and so on.

        An RPC that answers a stream has an asynchronous generator of that form instead, which is pulled as fast as the
        caller reads; where its contract says so, its streams go on until their callers leave. An RPC for which no
        object has a method answers NOT_BUILT_YET. ValueError for an RPC without a policy, for one that takes a stream,
        and for a method that two objects have.
        """
        if self._server is not None:
            raise RuntimeError("services are added before the server starts")
        self._services[service_descriptor.full_name] = {
            method.name: self._served(method, _handler_of(method, implementations))
            for method in service_descriptor.methods
        }

    def _served(self, method: MethodDescriptor, handler: Any) -> RpcMethod:
        arguments = {
            "method": method,
            "handler": handler,
            "admission": self._admission,
            "deadline_seconds_default": self._mesh.rpc_deadline_seconds_default,
            "metrics": self._metrics,
            "telemetry": self._telemetry,
        }
        if not method.server_streaming:
            return RpcMethod(**arguments)
        if not seconds_max(method):
            return RpcStream(**arguments)
        return RpcLastingStream(**{**arguments, "admission": self._lasting.admission}, lasting=self._lasting)

    def item_door(self, method: MethodDescriptor) -> ItemDoor:
        """Give the door for items of a batch, each of which is a call of this RPC and counts as one."""
        return ItemDoor(method=method, admission=self._admission, metrics=self._metrics, telemetry=self._telemetry)

    def add_missing(self) -> None:
        """Serve what the contract gives this service and nobody has added: each of its RPCs answers NOT_BUILT_YET."""
        for descriptor in contract_services(self.service):
            if descriptor.full_name not in self._services:
                self.add(descriptor)

    async def start(self) -> None:
        """Listen and serve. StartRefused when the address cannot be had."""
        server = grpc.aio.server(
            options=_OPTIONS,
            # Admission refuses first, with a reason; this bounds what waits for admission.
            maximum_concurrent_rpcs=2 * self._mesh.rpc_in_flight_max + self._mesh.rpc_streams_max + 100,
        )
        health = self.health = Health()
        for name, methods in self._services.items():
            health.add(name)
            handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
                method_name: (
                    grpc.unary_stream_rpc_method_handler(method.serve)
                    if method.answers_a_stream
                    else grpc.unary_unary_rpc_method_handler(method.serve)
                )
                for method_name, method in methods.items()
            }
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(HEALTH_SERVICE, health.handlers()),))
        if self._mesh.reflection:
            reflection.enable_server_reflection((*self._services, HEALTH_SERVICE, reflection.SERVICE_NAME), server)
        try:
            self.port = server.add_secure_port(self._listen, self._identity.server_credentials())
        except RuntimeError:
            raise StartRefused(f"{self.service} cannot listen on {self._listen}: is it in use?") from None
        await server.start()
        self._server = server
        await health.set_serving(True)
        logger.info("serving", service=self.service, address=self.address)

    async def stop(self) -> None:
        """Say NOT_SERVING, give clients time to notice, let calls in flight end, close. Bounded; safe to call twice."""
        server, health = self._server, self.health
        if server is None or health is None:
            return
        self._server = None
        await health.set_serving(False)
        if self._notice_seconds:
            await asyncio.sleep(self._notice_seconds)
        await health.close()
        self._lasting.end()
        try:
            async with asyncio.timeout(self._drain_seconds + _STOP_SLACK_SECONDS):
                await server.stop(self._drain_seconds)
        except TimeoutError:
            logger.warning("stopped before all calls ended", service=self.service, in_flight=self._admission.in_flight)


def _handler_of(method: MethodDescriptor, implementations: tuple[object, ...]) -> Any:
    name = snake_case(method.name)
    found = [getattr(each, name) for each in implementations if hasattr(each, name)]
    if len(found) > 1:
        raise ValueError(f"{method.full_name} is served by more than one object")
    return found[0] if found else None
