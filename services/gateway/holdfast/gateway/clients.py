"""The gateway's way to the services: a channel to each replica, and every bound RPC as a method on it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast.api.capacity.v1 import hold_service_pb2 as pb
from holdfast.gateway.lanes import SERVICE, Lanes
from holdfast.gateway.mutations import BATCH, CARRIED
from holdfast.gateway.replicas import Replicas
from holdfast.gateway.shared_reads import SharedReads

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from google.protobuf.message import Message

    from holdfast.common.mesh_identity import MeshIdentity, Principal
    from holdfast.common.metrics import Metrics
    from holdfast.common.rpc_client import Peer
    from holdfast.gateway.callers import Caller
    from holdfast.gateway.measures import Measures
    from holdfast.gateway.transcoder import Endpoint

HEALTH_SECONDS_MAX: Final = 0.5
HEALTH_REMEMBERED_SECONDS: Final = 1.0
UNREACHABLE: Final = "UNREACHABLE"
REPLAYED: Final = "holdfast-replayed"


class Clients:
    """The services' replicas, by service name. `targets` are gRPC addresses by service name."""

    def __init__(
        self, *, targets: Mapping[str, str], identity: MeshIdentity, metrics: Metrics | None, measures: Measures
    ) -> None:
        self._services = {
            name: Replicas(name=name, target=target, identity=identity, metrics=metrics)
            for name, target in targets.items()
        }
        self._lanes = Lanes(self._services[SERVICE], measures=measures)
        self._shared = SharedReads()
        self._health: dict[str, str] = {}
        self._health_until = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def start(self, endpoints: Iterable[Endpoint]) -> None:
        """Open the channels; nothing waits for a service to answer. KeyError for a service without an address."""
        for replicas in self._services.values():
            await replicas.start()
        for endpoint in endpoints:
            for replica in self._services[endpoint.binding.peer].all:
                replica.methods[endpoint.path] = replica.peer.channel.unary_unary(
                    f"/{endpoint.path}",
                    request_serializer=endpoint.request_class.SerializeToString,
                    response_deserializer=endpoint.response_class.FromString,
                )
        for replica in self._services[SERVICE].all:
            replica.methods[BATCH] = replica.peer.channel.unary_stream(
                f"/{BATCH}",
                request_serializer=pb.BatchMutateHoldsRequest.SerializeToString,
                response_deserializer=pb.BatchMutateHoldsResponse.FromString,
            )

    async def close(self) -> None:
        """Close the channels."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        await self._shared.close()
        await self._lanes.close()
        for replicas in reversed(self._services.values()):
            await replicas.close()

    async def call(
        self,
        endpoint: Endpoint,
        request: Message,
        *,
        principal: Principal,
        deadline_seconds: float,
        caller: Caller,
    ) -> tuple[Any, bool]:
        """Make an endpoint's call; gives the response and whether it answers a request that had its effect before.

        Calls that change holds travel together with others, and who asks the same at the same time shares an answer. A
        change that was not sent when its caller left is not, and raises ClientGoneError.
        """
        if endpoint.path in CARRIED:
            return await self._lanes.call(
                endpoint.path, request, principal=principal, deadline_seconds=deadline_seconds, caller=caller
            )
        replicas = self._services[endpoint.binding.peer]

        async def ask(seconds: float) -> tuple[Any, bool]:
            response, trailing = await replicas.call(
                endpoint.path, request, principal=principal, deadline_seconds=seconds
            )
            return response, trailing.get(REPLAYED) == "true"

        if endpoint.shared:
            return await self._shared.ask(
                endpoint.path, request, principal=principal, deadline_seconds=deadline_seconds, call=ask
            )
        return await ask(deadline_seconds)

    async def health(self) -> Mapping[str, str]:
        """Give what each service says of itself: SERVING, NOT_SERVING or UNREACHABLE. Asked once a second at most."""
        if time.monotonic() >= self._health_until:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask())
            await asyncio.shield(self._asking)
        return dict(self._health)

    async def _ask(self) -> None:
        answers = await asyncio.gather(*(_serving(replicas) for replicas in self._services.values()))
        self._health = dict(zip(self._services, answers, strict=True))
        self._health_until = time.monotonic() + HEALTH_REMEMBERED_SECONDS


async def _serving(replicas: Replicas) -> str:
    """Give what the best of the replicas says."""
    found = await asyncio.gather(*(_says(replica.peer) for replica in replicas.all))
    return min(found, key=lambda status: (status != "SERVING", status == UNREACHABLE))


async def _says(peer: Peer) -> str:
    stub = health_pb2_grpc.HealthStub(peer.channel)
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_SECONDS_MAX)
    except grpc.aio.AioRpcError:
        return UNREACHABLE
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
