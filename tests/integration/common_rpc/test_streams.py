"""RPCs that answer a stream: the same front door as every other call, and a handler that is pulled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from holdfast.common.errors import DomainError, Reason
from holdfast.common.metrics import Metrics
from holdfast.common.status import from_rpc_error
from holdfast.common.telemetry import Telemetry
from tests.integration.common_rpc.conftest import BUYER, ORGANIZATION, Workshop, eventually
from tests.support.little_contract import little_contract

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from google.protobuf.descriptor import ServiceDescriptor

    from holdfast.common.rpc_client import Peer
    from holdfast.common.rpc_server import Call

CONTRACT = """
message CountRequest { string name = 1 [(buf.validate.field).string.min_len = 1]; }
message CountResponse { int32 number = 1; bytes ballast = 2; }
service CountService {
  rpc Count(CountRequest) returns (stream CountResponse) {
    option (holdfast.api.common.v1.policy) = {permission: "holds.read"};
  }
}
"""
RPC = "holdfast.api.counting.v1.CountService/Count"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> ServiceDescriptor:
    file = little_contract("counting", CONTRACT, tmp_path_factory.mktemp("counting"))
    found: ServiceDescriptor = file.services_by_name["CountService"]
    return found


class Answer(Protocol):
    number: int


class Counting:
    """Counts up; `step` may do something before each number."""

    def __init__(self, service: ServiceDescriptor, *, upto: int, step: Callable[[int], Any] | None = None) -> None:
        self._answer = GetMessageClass(service.methods_by_name["Count"].output_type)
        self._upto = upto
        self._step = step
        self.calls: list[Call] = []
        self.given = 0
        self.closed = asyncio.Event()

    async def count(self, _request: Any, call: Call) -> AsyncGenerator[Any]:
        self.calls.append(call)
        try:
            for number in range(self._upto):
                if self._step is not None:
                    await self._step(number)
                yield self._answer(number=number, ballast=b"." * 100_000 if self._upto > 100 else b"")
                self.given += 1
        finally:
            self.closed.set()


def count(peer: Peer, service: ServiceDescriptor, *, seconds: float = 20, **fields: Any) -> Any:
    method = service.methods_by_name["Count"]
    call = peer.channel.unary_stream(
        f"/{RPC}",
        request_serializer=GetMessageClass(method.input_type).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    request = GetMessageClass(method.input_type)(**({"name": "x"} | fields))
    return call(request, metadata=(BUYER.to_metadata(),), timeout=seconds)


async def ended(answers: Any) -> tuple[grpc.StatusCode, DomainError | None]:
    """How a stream ended that did not end well."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        async for _ in answers:
            pass
    return failed.value.code(), from_rpc_error(failed.value)


async def test_answers_come_in_order_and_the_call_is_the_handlers(
    workshop: Workshop, service: ServiceDescriptor
) -> None:
    counting, metrics = Counting(service, upto=5), Metrics("capacity")
    server = await workshop.server(service, counting, metrics=metrics)
    peer = await workshop.peer(server.address)
    assert [answer.number async for answer in count(peer, service)] == [0, 1, 2, 3, 4]
    assert counting.calls[0].principal == BUYER
    assert counting.calls[0].organization_id == ORGANIZATION
    assert counting.calls[0].peer == "gateway"
    assert counting.closed.is_set()
    value = metrics.registry.get_sample_value
    assert value("holdfast_rpc_requests_total", {"rpc": RPC, "code": "OK"}) == 1
    assert value("holdfast_rpc_duration_seconds_count", {"rpc": RPC}) == 1
    assert value("holdfast_rpc_streams_open", {"rpc": RPC}) == 0
    assert value("holdfast_rpc_in_flight") == 0


async def test_the_door_refuses_before_the_handler(workshop: Workshop, service: ServiceDescriptor) -> None:
    counting = Counting(service, upto=5)
    server = await workshop.server(service, counting)
    peer = await workshop.peer(server.address)
    code, error = await ended(count(peer, service, name=""))
    assert (code, error and error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, Reason.VALIDATION_FAILED)
    assert error is not None
    assert [violation.field for violation in error.violations] == ["name"]
    assert not counting.calls


async def test_a_stream_counts_as_a_call_and_one_too_many_is_refused_at_once(
    workshop: Workshop, service: ServiceDescriptor
) -> None:
    gate = asyncio.Event()
    counting, metrics = Counting(service, upto=1, step=lambda _: gate.wait()), Metrics("capacity")
    server = await workshop.server(service, counting, metrics=metrics, settings={"rpc_in_flight_max": 1})
    peer = await workshop.peer(server.address)
    first = count(peer, service)
    await eventually(lambda: len(counting.calls) == 1)
    assert metrics.registry.get_sample_value("holdfast_rpc_streams_open", {"rpc": RPC}) == 1
    code, error = await ended(count(peer, service))
    assert (code, error and error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.OVERLOADED)
    gate.set()
    assert [answer.number async for answer in first] == [0]


async def test_a_fault_in_the_middle_ends_the_stream_with_its_error(
    workshop: Workshop, service: ServiceDescriptor
) -> None:
    async def step(number: int) -> None:
        if number == 2:
            raise DomainError(Reason.SECTION_NOT_FOUND, "there is no such section", metadata={"section_id": "s"})
        if number == 3:
            raise RuntimeError("secret")

    counting = Counting(service, upto=9, step=step)
    peer = await workshop.peer((await workshop.server(service, counting)).address)
    answers = aiter(count(peer, service))
    assert [(await anext(answers)).number for _ in range(2)] == [0, 1]
    code, error = await ended(answers)
    assert code is grpc.StatusCode.NOT_FOUND
    assert error is not None
    assert (error.reason, dict(error.metadata)) == (Reason.SECTION_NOT_FOUND, {"section_id": "s"})


async def test_what_nobody_foresaw_is_internal_and_tells_a_trace_id_only(
    workshop: Workshop, service: ServiceDescriptor
) -> None:
    async def step(number: int) -> None:
        if number == 1:
            raise RuntimeError("secret")

    peer = await workshop.peer((await workshop.server(service, Counting(service, upto=9, step=step))).address)
    code, error = await ended(count(peer, service))
    assert code is grpc.StatusCode.INTERNAL
    assert error is not None
    assert error.reason is Reason.INTERNAL
    assert list(error.metadata) == ["trace_id"]
    assert "secret" not in error.message


async def test_a_caller_that_leaves_closes_the_handler(workshop: Workshop, service: ServiceDescriptor) -> None:
    forever = asyncio.Event()

    async def step(number: int) -> None:
        if number:
            await forever.wait()

    counting, metrics = Counting(service, upto=2, step=step), Metrics("capacity")
    server = await workshop.server(service, counting, metrics=metrics)
    call = count(await workshop.peer(server.address), service)
    assert (await call.read()).number == 0
    call.cancel()
    async with asyncio.timeout(5):
        await counting.closed.wait()
    value = metrics.registry.get_sample_value
    await eventually(lambda: value("holdfast_rpc_streams_open", {"rpc": RPC}) == 0)
    await eventually(lambda: value("holdfast_rpc_in_flight") == 0)
    await eventually(lambda: value("holdfast_rpc_requests_total", {"rpc": RPC, "code": "CANCELLED"}) == 1)


async def test_the_deadline_ends_a_stream_with_a_status_that_says_so(
    workshop: Workshop, service: ServiceDescriptor
) -> None:
    forever = asyncio.Event()

    async def step(number: int) -> None:
        if number:
            await forever.wait()

    counting = Counting(service, upto=2, step=step)
    peer = await workshop.peer((await workshop.server(service, counting)).address)
    answers = aiter(count(peer, service, seconds=0.5))
    assert (await anext(answers)).number == 0
    code, error = await ended(answers)
    assert (code, error and error.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED)
    assert counting.closed.is_set()


async def test_a_caller_that_does_not_read_stops_the_handler(workshop: Workshop, service: ServiceDescriptor) -> None:
    counting = Counting(service, upto=2_000)
    peer = await workshop.peer((await workshop.server(service, counting)).address)
    answers = aiter(count(peer, service))
    assert (await anext(answers)).number == 0
    given = -1
    while given != counting.given:  # Until nothing fits into the connection any more.
        given = counting.given
        for _ in range(200):
            await asyncio.sleep(0.001)
    assert given < 1_000  # 100 kB each: of 200 MB only what the windows of HTTP/2 and of TCP hold.
    numbers = [answer.number async for answer in answers]
    assert numbers == list(range(1, 2_000))


async def test_a_caller_that_leaves_while_an_answer_is_written_is_no_fault(
    workshop: Workshop, service: ServiceDescriptor
) -> None:
    counting, metrics = Counting(service, upto=2_000), Metrics("capacity")
    server = await workshop.server(service, counting, metrics=metrics)
    peer = await workshop.peer(server.address)
    value = metrics.registry.get_sample_value
    for calls in range(1, 11):
        call = count(peer, service)
        assert (await anext(aiter(call))).number == 0
        call.cancel()
        await eventually(lambda: value("holdfast_rpc_in_flight") == 0)
        assert value("holdfast_rpc_requests_total", {"rpc": RPC, "code": "CANCELLED"}) == calls


async def test_an_answer_of_another_kind_is_a_fault(workshop: Workshop, service: ServiceDescriptor) -> None:
    class Confused:
        async def count(self, request: Any, _call: Call) -> AsyncGenerator[Any]:
            yield request

    peer = await workshop.peer((await workshop.server(service, Confused())).address)
    code, error = await ended(count(peer, service))
    assert (code, error and error.reason) == (grpc.StatusCode.INTERNAL, Reason.INTERNAL)


async def test_streams_end_within_the_drain(workshop: Workshop, service: ServiceDescriptor) -> None:
    gate = asyncio.Event()
    counting = Counting(service, upto=1, step=lambda _: gate.wait())
    server = await workshop.server(service, counting)
    call = count(await workshop.peer(server.address), service)
    await eventually(lambda: len(counting.calls) == 1)
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0)
    assert not stopping.done()
    gate.set()
    assert [answer.number async for answer in call] == [0]
    async with asyncio.timeout(5):
        await stopping


async def test_a_stream_that_goes_on_is_closed_at_the_end_of_the_drain(
    workshop: Workshop, service: ServiceDescriptor
) -> None:
    counting = Counting(service, upto=1, step=lambda _: asyncio.Event().wait())
    server = await workshop.server(service, counting, drain_seconds=0.2)
    call = count(await workshop.peer(server.address), service)
    await eventually(lambda: len(counting.calls) == 1)
    async with asyncio.timeout(5):
        await server.stop()
        await counting.closed.wait()
    assert (await ended(call))[0] in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


async def test_a_recorded_stream_is_one_span(workshop: Workshop, service: ServiceDescriptor) -> None:
    exporter = InMemorySpanExporter()
    telemetry = Telemetry(service="capacity", ratio=1.0, processors=[SimpleSpanProcessor(exporter)])
    telemetry.start(make_global=False)
    server = await workshop.server(service, Counting(service, upto=3), telemetry=telemetry)
    assert len([answer async for answer in count(await workshop.peer(server.address), service)]) == 3
    await eventually(lambda: bool(exporter.get_finished_spans()))
    spans = exporter.get_finished_spans()
    assert [each.name for each in spans] == [RPC]
    assert (spans[0].attributes or {})["rpc.grpc.status_code"] == 0
    await telemetry.stop()
