"""Streams that go on until their callers leave: their number, their time, and their end when the server stops."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from holdfast.common.errors import DomainError, Reason
from holdfast.common.metrics import Metrics
from holdfast.common.status import from_rpc_error
from tests.integration.common_rpc.conftest import BUYER, OWNER, Workshop, eventually
from tests.support.little_contract import little_contract

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from google.protobuf.descriptor import ServiceDescriptor

    from holdfast.common.mesh_identity import Principal
    from holdfast.common.rpc_client import Peer
    from holdfast.common.rpc_server import Call

CONTRACT = """
message TickRequest { int32 size = 1; }
message TickResponse { int32 number = 1; bytes ballast = 2; }
service TickService {
  rpc Tick(TickRequest) returns (stream TickResponse) {
    option (holdfast.api.common.v1.policy) = {permission: "holds.read"};
    option (holdfast.api.common.v1.streaming) = {seconds_max: %d};
  }
}
"""


def made(directory: Any, name: str, seconds_max: int) -> ServiceDescriptor:
    service: ServiceDescriptor = little_contract(name, CONTRACT % seconds_max, directory).services_by_name[
        "TickService"
    ]
    return service


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> ServiceDescriptor:
    return made(tmp_path_factory.mktemp("ticking"), "ticking", 3600)


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> ServiceDescriptor:
    return made(tmp_path_factory.mktemp("brief"), "brief", 1)


class Ticking:
    """Says one number, and then waits for ever; or says numbers without end, each with so much ballast."""

    def __init__(self, service: ServiceDescriptor) -> None:
        self._answer = GetMessageClass(service.methods_by_name["Tick"].output_type)
        self.calls: list[Call] = []
        self.closed = 0

    async def tick(self, request: Any, call: Call) -> AsyncGenerator[Any]:
        self.calls.append(call)
        try:
            number = 0
            while True:
                yield self._answer(number=number, ballast=b"." * request.size)
                number += 1
                if not request.size:
                    await asyncio.Event().wait()
        finally:
            self.closed += 1


def tick(peer: Peer, service: ServiceDescriptor, *, principal: Principal = BUYER, size: int = 0, **fields: Any) -> Any:
    method = service.methods_by_name["Tick"]
    call = peer.channel.unary_stream(
        f"/{service.full_name}/Tick",
        request_serializer=GetMessageClass(method.input_type).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    return call(GetMessageClass(method.input_type)(size=size), metadata=(principal.to_metadata(),), **fields)


async def refused(answers: Any) -> DomainError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await anext(aiter(answers))
    error = from_rpc_error(failed.value)
    assert error is not None
    return error


async def test_a_stream_without_a_deadline_goes_on_and_ends_well_when_the_server_stops(
    workshop: Workshop, lasting: ServiceDescriptor
) -> None:
    ticking = Ticking(lasting)
    server = await workshop.server(lasting, ticking, settings={"rpc_deadline_seconds_default": 0.2})
    answers = aiter(tick(await workshop.peer(server.address), lasting))
    assert (await anext(answers)).number == 0
    assert ticking.calls[0].remaining() > 3000
    more = asyncio.ensure_future(anext(answers, None))
    done, _ = await asyncio.wait([more], timeout=0.5)  # longer than other calls may last
    assert not done
    async with asyncio.timeout(5):
        await server.stop()
        assert await more is None
    assert ticking.closed == 1


async def test_a_streams_time_is_over_without_an_error(workshop: Workshop, brief: ServiceDescriptor) -> None:
    ticking = Ticking(brief)
    peer = await workshop.peer((await workshop.server(brief, ticking)).address)
    assert [answer.number async for answer in tick(peer, brief)] == [0]
    assert ticking.closed == 1


async def test_a_callers_own_deadline_holds(workshop: Workshop, lasting: ServiceDescriptor) -> None:
    ticking = Ticking(lasting)
    peer = await workshop.peer((await workshop.server(lasting, ticking)).address)
    answers = aiter(tick(peer, lasting, timeout=0.5))
    assert (await anext(answers)).number == 0
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await anext(answers)
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: ticking.closed == 1)


async def test_a_caller_that_does_not_read_does_not_keep_the_server_from_stopping(
    workshop: Workshop, lasting: ServiceDescriptor
) -> None:
    ticking = Ticking(lasting)
    server = await workshop.server(lasting, ticking, drain_seconds=0.5)
    call = tick(await workshop.peer(server.address), lasting, size=100_000)
    assert (await call.read()).number == 0
    async with asyncio.timeout(8):
        await server.stop()
    await eventually(lambda: ticking.closed == 1)


async def test_streams_are_bounded_by_caller_and_in_all_and_apart_from_calls(
    workshop: Workshop, lasting: ServiceDescriptor
) -> None:
    ticking, metrics = Ticking(lasting), Metrics("capacity")
    settings = {"rpc_in_flight_max": 1, "rpc_streams_max": 3, "rpc_streams_of_caller_max": 2}
    server = await workshop.server(lasting, ticking, metrics=metrics, settings=settings)
    peer = await workshop.peer(server.address)
    open_ones = [aiter(tick(peer, lasting)) for _ in range(2)]
    assert [(await anext(each)).number for each in open_ones] == [0, 0]
    third = await refused(tick(peer, lasting))
    assert (third.reason, third.metadata, third.retry_after_seconds) == (Reason.OVERLOADED, {"queue": "streams"}, 5)
    others = tick(peer, lasting, principal=OWNER)
    assert (await anext(aiter(others))).number == 0
    assert (await refused(tick(peer, lasting, principal=OWNER))).reason is Reason.OVERLOADED
    value = metrics.registry.get_sample_value
    rpc = f"{lasting.full_name}/Tick"
    assert value("holdfast_rpc_streams_open", {"rpc": rpc}) == 3
    assert value("holdfast_rpc_in_flight") == 0
    others.cancel()
    await eventually(lambda: value("holdfast_rpc_streams_open", {"rpc": rpc}) == 2)
    await eventually(lambda: ticking.closed == 1)
    assert (await anext(aiter(tick(peer, lasting, principal=OWNER)))).number == 0
