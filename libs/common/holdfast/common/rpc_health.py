"""grpc.health.v1 for a server and each of its services; watchers end when the server does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc_health.v1 import health_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SERVICE_NAME: Final = "grpc.health.v1.Health"
WATCHERS_MAX: Final = 1000

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN: Final = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

_Context = grpc.aio.ServicerContext[Any, Any]


class Health:
    """Whether services take calls. The empty name stands for the server as a whole."""

    def __init__(self) -> None:
        self._states: dict[str, health_pb2.HealthCheckResponse.ServingStatus] = {"": _NOT_SERVING}
        self._changed = asyncio.Condition()
        self._closed = False
        self._watchers = 0

    def add(self, service: str) -> None:
        """Know a service, not serving yet."""
        self._states[service] = _NOT_SERVING

    async def set_serving(self, serving: bool) -> None:  # noqa: FBT001 - the one thing that it says
        """Change the state of all services, and tell who watches."""
        async with self._changed:
            for service in self._states:
                self._states[service] = _SERVING if serving else _NOT_SERVING
            self._changed.notify_all()

    async def close(self) -> None:
        """End all watches: they would hold up the server's stop."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def check(self, request: health_pb2.HealthCheckRequest, context: _Context) -> health_pb2.HealthCheckResponse:
        """Answer the state of a service; NOT_FOUND for one that is not here."""
        state = self._states.get(request.service)
        if state is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service here")
        return health_pb2.HealthCheckResponse(status=state)

    async def watch(
        self, request: health_pb2.HealthCheckRequest, context: _Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Answer the state of a service now and whenever it changes."""
        if self._watchers >= WATCHERS_MAX:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watchers")
        self._watchers += 1
        told = None
        try:
            while not self._closed:
                state = self._states.get(request.service, _UNKNOWN)
                if state != told:
                    told = state
                    yield health_pb2.HealthCheckResponse(status=state)
                async with self._changed:
                    if self._states.get(request.service, _UNKNOWN) == told and not self._closed:
                        await self._changed.wait()
        finally:
            self._watchers -= 1

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Give the handlers to register under `SERVICE_NAME`."""
        return {
            "Check": grpc.unary_unary_rpc_method_handler(
                self.check,
                request_deserializer=health_pb2.HealthCheckRequest.FromString,
                response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                self.watch,
                request_deserializer=health_pb2.HealthCheckRequest.FromString,
                response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
            ),
        }
