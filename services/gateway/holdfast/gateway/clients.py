"""The gateway's way to the services: one channel each, and every bound RPC as a method on it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast.common.rpc_client import Peer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from google.protobuf.message import Message

    from holdfast.common.mesh_identity import MeshIdentity, Principal
    from holdfast.common.metrics import Metrics
    from holdfast.gateway.transcoder import Endpoint

HEALTH_SECONDS_MAX: Final = 0.5
HEALTH_REMEMBERED_SECONDS: Final = 1.0
REPLAYED: Final = "holdfast-replayed"


class Clients:
    """Peers by service name. `targets` are gRPC addresses by service name."""

    def __init__(self, *, targets: Mapping[str, str], identity: MeshIdentity, metrics: Metrics | None) -> None:
        self._peers = {
            name: Peer(name=name, target=target, identity=identity, metrics=metrics) for name, target in targets.items()
        }
        self._methods: dict[tuple[str, str], tuple[Peer, Any]] = {}
        self._health: dict[str, str] = {}
        self._health_until = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def start(self, endpoints: Iterable[Endpoint]) -> None:
        """Open the channels; nothing waits for a service to answer. KeyError for a service without an address."""
        for peer in self._peers.values():
            await peer.start()
        for endpoint in endpoints:
            peer = self._peers[endpoint.binding.peer]
            path = f"/{endpoint.rpc.containing_service.full_name}/{endpoint.rpc.name}"
            method = peer.channel.unary_unary(
                path,
                request_serializer=endpoint.request_class.SerializeToString,
                response_deserializer=endpoint.response_class.FromString,
            )
            self._methods[endpoint.binding.method, endpoint.binding.template] = (peer, method)

    async def close(self) -> None:
        """Close the channels."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        for peer in reversed(self._peers.values()):
            await peer.close()

    async def call(
        self, endpoint: Endpoint, request: Message, *, principal: Principal, deadline_seconds: float
    ) -> tuple[Any, bool]:
        """Make an endpoint's call; gives the response and whether it answers a request that had its effect before."""
        peer, method = self._methods[endpoint.binding.method, endpoint.binding.template]
        response, trailing = await peer.call_with_metadata(
            method, request, principal=principal, deadline_seconds=deadline_seconds
        )
        return response, trailing.get(REPLAYED) == "true"

    async def health(self) -> Mapping[str, str]:
        """Give what each service says of itself: SERVING, NOT_SERVING or UNREACHABLE. Asked once a second at most."""
        if time.monotonic() >= self._health_until:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask())
            await asyncio.shield(self._asking)
        return dict(self._health)

    async def _ask(self) -> None:
        answers = await asyncio.gather(*(_serving(peer) for peer in self._peers.values()))
        self._health = dict(zip(self._peers, answers, strict=True))
        self._health_until = time.monotonic() + HEALTH_REMEMBERED_SECONDS


async def _serving(peer: Peer) -> str:
    stub = health_pb2_grpc.HealthStub(peer.channel)
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_SECONDS_MAX)
    except grpc.aio.AioRpcError:
        return "UNREACHABLE"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
