"""Stopping a server: it says so, its calls end, nothing takes longer than it may; and its health meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from holdfast.api.capacity.v1 import hold_service_pb2, hold_service_pb2_grpc
from holdfast.common.errors import DomainError, Reason, StartRefused
from tests.integration.common_rpc.conftest import BUYER, ID, Workshop, eventually
from tests.integration.common_rpc.handlers import HOLDS, Holds, forever, until

if TYPE_CHECKING:
    from holdfast.common.rpc_client import Peer

GET_HOLD = hold_service_pb2.GetHoldRequest(hold_id=ID)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def get_hold(peer: Peer, seconds: float = 20) -> Any:
    stub = hold_service_pb2_grpc.HoldServiceStub(peer.channel)
    return await peer.call(stub.GetHold, GET_HOLD, principal=BUYER, deadline_seconds=seconds)


def health_check(peer: Peer) -> Any:
    return peer.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )


def health_watch(peer: Peer) -> Any:
    return peer.channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )


async def test_calls_in_flight_end_and_new_ones_are_not_taken(workshop: Workshop) -> None:
    gate = asyncio.Event()
    holds = Holds(until(gate))
    server = await workshop.server(HOLDS, holds)
    peer = await workshop.peer(server.address)
    running = asyncio.create_task(get_hold(peer))
    await eventually(lambda: len(holds.calls) == 1)
    stopping = asyncio.create_task(server.stop())
    late = await workshop.peer(server.address)
    with pytest.raises(DomainError) as refused:
        await get_hold(late, 0.5)
    assert refused.value.reason is Reason.DEPENDENCY_UNAVAILABLE
    assert not stopping.done()
    gate.set()
    assert (await running).hold.id == ID
    async with asyncio.timeout(5):
        await stopping
    assert len(holds.calls) == 1


async def test_a_stop_is_bounded(workshop: Workshop) -> None:
    holds = Holds(forever)
    server = await workshop.server(HOLDS, holds, drain_seconds=0.2)
    peer = await workshop.peer(server.address)
    running = asyncio.create_task(get_hold(peer))
    await eventually(lambda: len(holds.calls) == 1)
    async with asyncio.timeout(5):
        await server.stop()
        await holds.cancelled.wait()
    with pytest.raises(DomainError) as refused:
        await running
    assert refused.value.reason is Reason.DEPENDENCY_UNAVAILABLE
    await server.stop()


async def test_health_is_told_for_the_server_and_each_service(workshop: Workshop) -> None:
    server = await workshop.server(HOLDS, Holds())
    peer = await workshop.peer(server.address)
    for service in ("", HOLDS.full_name):
        response = await health_check(peer)(health_pb2.HealthCheckRequest(service=service), timeout=5)
        assert response.status == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await health_check(peer)(health_pb2.HealthCheckRequest(service="other"), timeout=5)
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND


async def test_watchers_hear_of_the_drain_and_do_not_hold_it_up(workshop: Workshop) -> None:
    server = await workshop.server(HOLDS, Holds(), drain_seconds=30, notice_seconds=0.2)
    peer = await workshop.peer(server.address)
    heard = []
    watch = health_watch(peer)(health_pb2.HealthCheckRequest(service=HOLDS.full_name), timeout=20)
    stopping: asyncio.Task[None] | None = None
    async with asyncio.timeout(10):
        async for response in watch:
            heard.append(response.status)
            if stopping is None:
                stopping = asyncio.create_task(server.stop())
        assert stopping is not None
        await stopping
    assert heard == [SERVING, NOT_SERVING]


async def test_clients_leave_a_replica_that_does_not_serve(workshop: Workshop) -> None:
    first, second = Holds(), Holds()
    draining = await workshop.server(HOLDS, first)
    staying = await workshop.server(HOLDS, second)
    peer = await workshop.peer(f"{draining.address},{staying.address}")

    async def both_used() -> None:
        async with asyncio.timeout(10):
            while not (first.calls and second.calls):
                await get_hold(peer)

    await both_used()
    assert draining.health is not None
    await draining.health.set_serving(False)
    async with asyncio.timeout(10):
        while True:  # Until the client has heard of it.
            before = len(first.calls)
            for _ in range(6):
                await get_hold(peer)
            if len(first.calls) == before:
                break
    await draining.health.set_serving(True)
    second.calls.clear()
    first.calls.clear()
    await both_used()


async def test_two_servers_cannot_have_one_port(workshop: Workshop) -> None:
    server = await workshop.server(HOLDS, Holds())
    with pytest.raises(StartRefused, match=server.address):
        await workshop.server(HOLDS, Holds(), listen=server.address)


@pytest.mark.parametrize("switched_on", [True, False])
async def test_reflection_has_a_switch(workshop: Workshop, *, switched_on: bool) -> None:
    server = await workshop.server(HOLDS, Holds(), settings={"reflection": switched_on})
    peer = await workshop.peer(server.address)
    method: Any = peer.channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    call = method(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=5)
    if switched_on:
        services = [each.name async for response in call for each in response.list_services_response.service]
        assert HOLDS.full_name in services
    else:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            [response async for response in call]
        assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
