"""Calls to other services: deadlines passed on, bounded repetition, the breaker, traces."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from holdfast.api.capacity.v1 import hold_pb2, hold_service_pb2, hold_service_pb2_grpc
from holdfast.common.circuit_breaker import BreakerPolicy, State
from holdfast.common.contracts import contract_services
from holdfast.common.errors import DomainError, Reason
from holdfast.common.mesh_identity import MeshIdentity
from holdfast.common.metrics import Metrics
from holdfast.common.rpc_channel import service_config, target_uri
from holdfast.common.rpc_server import Call, current_call
from holdfast.common.telemetry import Telemetry, current_traceparent
from tests.integration.common_rpc.conftest import BUYER, ID, Workshop, eventually
from tests.integration.common_rpc.handlers import HOLDS, Holds, forever

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from holdfast.common.rpc_client import Peer

GET_HOLD = hold_service_pb2.GetHoldRequest(hold_id=ID)
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"


class Flaky:
    """A bare gRPC service that answers UNAVAILABLE so many times, without a reason of the mesh, before it answers."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    async def answer(self, _request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        self.calls += 1
        if self.calls <= self.failures:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return hold_service_pb2.PlaceHoldResponse(hold=hold_pb2.Hold(id=ID)).SerializeToString()


async def flaky_peer(workshop: Workshop, flaky: Flaky, **arguments: Any) -> Peer:
    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        name: grpc.unary_unary_rpc_method_handler(flaky.answer) for name in ("GetHold", "PlaceHold")
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(HOLDS.full_name, handlers),))
    identity = MeshIdentity.load(workshop.certificates, "capacity")
    port = server.add_secure_port("127.0.0.1:0", identity.server_credentials())
    await server.start()
    workshop.stack.push_async_callback(server.stop, 0)
    return await workshop.peer(f"127.0.0.1:{port}", **arguments)


def state(peer: Peer) -> State:
    return peer.breaker.state


def stub_of(peer: Peer) -> Any:
    return hold_service_pb2_grpc.HoldServiceStub(peer.channel)


async def get_hold(peer: Peer, seconds: float = 5) -> Any:
    return await peer.call(stub_of(peer).GetHold, GET_HOLD, principal=BUYER, deadline_seconds=seconds)


async def place_hold(peer: Peer, request_id: str) -> Any:
    lines = [hold_service_pb2.HoldLineSelector(section_id=ID, quantity=1)]
    request = hold_service_pb2.PlaceHoldRequest(event_id=ID, lines=lines, request_id=request_id)
    return await peer.call(stub_of(peer).PlaceHold, request, principal=BUYER, deadline_seconds=5)


async def refusal(awaitable: Any) -> DomainError:
    with pytest.raises(DomainError) as refused:
        await awaitable
    return refused.value


def test_only_what_the_contract_makes_repeatable_is_repeated_by_grpc() -> None:
    names = {service.full_name for service in contract_services("capacity")}
    assert HOLDS.full_name in names
    config = service_config("capacity")
    assert '"method": "GetHold"' in config
    assert '"method": "ApplyEventControls"' in config
    assert '"method": "PlaceHold"' not in config
    assert contract_services("orders") == ()


def test_targets() -> None:
    assert target_uri("capacity.example:50052") == "dns:///capacity.example:50052"
    assert target_uri("127.0.0.1:1, 127.0.0.2:2") == "ipv4:127.0.0.1:1,127.0.0.2:2"
    assert target_uri("[::1]:1,[::1]:2") == "ipv6:[::1]:1,[::1]:2"
    with pytest.raises(ValueError, match="by address"):
        target_uri("a.example:1,b.example:2")


async def test_a_read_is_repeated_at_most_three_times_in_all(workshop: Workshop) -> None:
    recovering, hopeless = Flaky(2), Flaky(1000)
    await get_hold(await flaky_peer(workshop, recovering))
    assert recovering.calls == 3
    error = await refusal(get_hold(await flaky_peer(workshop, hopeless)))
    assert (error.reason, dict(error.metadata)) == (Reason.DEPENDENCY_UNAVAILABLE, {"dependency": "capacity"})
    assert error.retry_after_seconds is not None
    assert hopeless.calls == 3


async def test_a_mutation_is_repeated_only_with_its_request_id(workshop: Workshop) -> None:
    keyed, hopeless, bare = Flaky(2), Flaky(1000), Flaky(1)
    response = await place_hold(await flaky_peer(workshop, keyed), "order-4711")
    assert (response.hold.id, keyed.calls) == (ID, 3)
    await refusal(place_hold(await flaky_peer(workshop, hopeless), "order-4711"))
    assert hopeless.calls == 3
    await refusal(place_hold(await flaky_peer(workshop, bare), ""))
    assert bare.calls == 1


async def test_repetition_has_a_budget(workshop: Workshop) -> None:
    hopeless = Flaky(1000)
    peer = await flaky_peer(workshop, hopeless, breaker=BreakerPolicy(failures=1000))
    for _ in range(20):
        await refusal(place_hold(peer, "order-4711"))
    assert hopeless.calls == 20 + 10


async def test_the_breaker_opens_on_silence_and_closes_on_an_answer(workshop: Workshop) -> None:
    flaky = Flaky(3)
    metrics = Metrics("gateway")
    policy = BreakerPolicy(failures=3, open_seconds=0.3)
    peer = await flaky_peer(workshop, flaky, breaker=policy, metrics=metrics)
    for _ in range(3):
        await refusal(place_hold(peer, ""))
    assert state(peer) is State.OPEN
    assert metrics.registry.get_sample_value("holdfast_breaker_open", {"peer": "capacity"}) == 1
    error = await refusal(place_hold(peer, ""))
    assert error.reason is Reason.DEPENDENCY_UNAVAILABLE
    assert error.retry_after_seconds is not None
    assert 0 < error.retry_after_seconds <= 0.3
    assert flaky.calls == 3
    await asyncio.sleep(policy.open_seconds)  # The breaker's own time, not another task's.
    await place_hold(peer, "")
    assert state(peer) is State.CLOSED
    assert metrics.registry.get_sample_value("holdfast_breaker_open", {"peer": "capacity"}) == 0


async def test_refusals_do_not_open_the_breaker(workshop: Workshop) -> None:
    server = await workshop.server(HOLDS, Holds())
    peer = await workshop.peer(server.address, breaker=BreakerPolicy(failures=2))
    request = hold_service_pb2.PlaceHoldRequest(section_id=ID, quantity=4)
    for _ in range(5):
        call = peer.call(stub_of(peer).PlaceHold, request, principal=BUYER, deadline_seconds=5)
        assert (await refusal(call)).reason is Reason.INSUFFICIENT_CAPACITY
    assert state(peer) is State.CLOSED


async def test_a_peer_that_is_not_there_is_unavailable_quickly(workshop: Workshop) -> None:
    server = await workshop.server(HOLDS, Holds())
    await server.stop()
    peer = await workshop.peer(server.address)
    began = asyncio.get_running_loop().time()
    error = await refusal(get_hold(peer))
    assert error.reason is Reason.DEPENDENCY_UNAVAILABLE
    assert asyncio.get_running_loop().time() - began < 3


async def test_a_slow_peer_costs_the_deadline_and_no_more(workshop: Workshop) -> None:
    peer = await workshop.peer(
        (await workshop.server(HOLDS, Holds(forever))).address, breaker=BreakerPolicy(failures=2, open_seconds=60)
    )
    for _ in range(2):
        began = asyncio.get_running_loop().time()
        error = await refusal(get_hold(peer, 0.2))
        assert error.reason is Reason.DEADLINE_EXCEEDED
        assert asyncio.get_running_loop().time() - began < 2
    assert state(peer) is State.OPEN


async def test_a_slow_peer_of_a_call_that_has_time_left_is_unavailable(workshop: Workshop) -> None:
    slow_peer = await workshop.peer((await workshop.server(HOLDS, Holds(forever))).address, me="events")

    async def ask(_call: Call) -> None:
        await get_hold(slow_peer, 0.2)

    peer = await workshop.peer((await workshop.server(HOLDS, Holds(ask))).address)
    error = await refusal(get_hold(peer, 10))
    assert (error.reason, dict(error.metadata)) == (Reason.DEPENDENCY_UNAVAILABLE, {"dependency": "capacity"})


async def test_a_caller_in_a_hurry_does_not_open_the_breaker(workshop: Workshop) -> None:
    policy = BreakerPolicy(failures=1)
    slow_peer = await workshop.peer((await workshop.server(HOLDS, Holds(forever))).address, breaker=policy)
    loop = asyncio.get_running_loop()
    token = current_call.set(Call(principal=BUYER, peer="gateway", deadline=loop.time() + 0.2))
    try:
        error = await refusal(get_hold(slow_peer, 5))
    finally:
        current_call.reset(token)
    assert error.reason is Reason.DEADLINE_EXCEEDED
    assert state(slow_peer) is State.CLOSED


async def test_an_answer_that_something_else_is_down_is_not_repeated(workshop: Workshop) -> None:
    async def down(_call: Call) -> None:
        raise DomainError(Reason.DEPENDENCY_UNAVAILABLE, "no", metadata={"dependency": "database"})

    holds = Holds(down)
    peer = await workshop.peer((await workshop.server(HOLDS, holds)).address)
    error = await refusal(get_hold(peer))
    assert dict(error.metadata) == {"dependency": "database"}
    assert len(holds.calls) == 1
    assert state(peer) is State.CLOSED


async def test_the_present_calls_deadline_is_passed_on_less_a_margin(workshop: Workshop) -> None:
    inner = Holds()
    inner_peer = await workshop.peer((await workshop.server(HOLDS, inner)).address, me="events")

    async def forward(_call: Call) -> None:
        await get_hold(inner_peer, 60)

    outer_peer = await workshop.peer((await workshop.server(HOLDS, Holds(forward))).address)
    await get_hold(outer_peer, 3)
    loop = asyncio.get_running_loop()
    assert inner.calls[0].deadline < loop.time() + 3
    assert inner.calls[0].peer == "events"


async def test_a_call_whose_time_is_over_calls_nobody(workshop: Workshop) -> None:
    holds = Holds()
    peer = await workshop.peer((await workshop.server(HOLDS, holds)).address)
    call = Call(principal=BUYER, peer="gateway", deadline=asyncio.get_running_loop().time() + 0.01)
    token = current_call.set(call)
    try:
        error = await refusal(get_hold(peer))
    finally:
        current_call.reset(token)
    assert error.reason is Reason.DEADLINE_EXCEEDED
    assert not holds.calls


@pytest.fixture
async def spans() -> AsyncIterator[tuple[Telemetry, InMemorySpanExporter]]:
    exporter = InMemorySpanExporter()
    telemetry = Telemetry(service="capacity", ratio=0.0, processors=[SimpleSpanProcessor(exporter)])
    telemetry.start(make_global=False)
    yield telemetry, exporter
    await telemetry.stop()


def metadata(flags: str) -> tuple[tuple[str, str | bytes], ...]:
    return BUYER.to_metadata(), ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-{flags}")


async def test_a_recorded_trace_goes_on_in_the_server(
    workshop: Workshop, spans: tuple[Telemetry, InMemorySpanExporter]
) -> None:
    telemetry, exporter = spans
    peer = await workshop.peer((await workshop.server(HOLDS, Holds(), telemetry=telemetry)).address)
    await stub_of(peer).GetHold(GET_HOLD, timeout=5, metadata=metadata("01"))
    await eventually(lambda: len(exporter.get_finished_spans()) == 1)
    span = exporter.get_finished_spans()[0]
    assert span.name == "holdfast.api.capacity.v1.HoldService/GetHold"
    assert f"{span.context.trace_id:032x}" == TRACE_ID
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == SPAN_ID
    assert span.attributes is not None
    assert span.attributes["rpc.grpc.status_code"] == 0
    assert span.attributes["holdfast.organization_id"] == BUYER.organization_id
    assert span.resource.attributes["service.name"] == "holdfast-capacity"


async def test_a_refusal_is_in_the_span_and_no_fault(
    workshop: Workshop, spans: tuple[Telemetry, InMemorySpanExporter]
) -> None:
    telemetry, exporter = spans
    peer = await workshop.peer((await workshop.server(HOLDS, Holds(), telemetry=telemetry)).address)
    with pytest.raises(grpc.aio.AioRpcError):
        await stub_of(peer).GetHold(hold_service_pb2.GetHoldRequest(), timeout=5, metadata=metadata("01"))
    await eventually(lambda: len(exporter.get_finished_spans()) == 1)
    span = exporter.get_finished_spans()[0]
    assert span.attributes is not None
    assert span.attributes["holdfast.reason"] == "VALIDATION_FAILED"
    assert span.status.is_ok


async def test_an_unrecorded_trace_goes_on_without_spans(
    workshop: Workshop, spans: tuple[Telemetry, InMemorySpanExporter]
) -> None:
    telemetry, exporter = spans
    seen: list[str | None] = []

    async def look(_call: Call) -> None:
        seen.append(current_traceparent())

    inner_peer = await workshop.peer((await workshop.server(HOLDS, Holds(look), telemetry=telemetry)).address)

    async def forward(_call: Call) -> None:
        await get_hold(inner_peer)

    outer = await workshop.server(HOLDS, Holds(forward), telemetry=telemetry)
    peer = await workshop.peer(outer.address)
    await stub_of(peer).GetHold(GET_HOLD, timeout=5, metadata=metadata("00"))
    assert seen[0] is not None
    assert seen[0].startswith(f"00-{TRACE_ID}-")
    assert seen[0].endswith("-00")
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize("bad", ["", "garbage", f"00-{'0' * 32}-{SPAN_ID}-01", f"ff-{TRACE_ID}-{SPAN_ID}-01"])
async def test_a_malformed_traceparent_begins_a_trace_of_its_own(workshop: Workshop, bad: str) -> None:
    seen: list[str | None] = []

    async def look(_call: Call) -> None:
        seen.append(current_traceparent())

    peer = await workshop.peer((await workshop.server(HOLDS, Holds(look))).address)
    await stub_of(peer).GetHold(GET_HOLD, timeout=5, metadata=(BUYER.to_metadata(), ("traceparent", bad)))
    assert seen[0] is not None
    assert TRACE_ID not in seen[0]


async def test_the_ratio_decides_about_new_traces(workshop: Workshop) -> None:
    exporter = InMemorySpanExporter()
    telemetry = Telemetry(service="capacity", ratio=1.0, processors=[SimpleSpanProcessor(exporter)])
    telemetry.start(make_global=False)
    peer = await workshop.peer((await workshop.server(HOLDS, Holds(), telemetry=telemetry)).address)
    await stub_of(peer).GetHold(GET_HOLD, timeout=5, metadata=(BUYER.to_metadata(),))
    await eventually(lambda: len(exporter.get_finished_spans()) == 1)
    assert exporter.get_finished_spans()[0].parent is None
    await telemetry.stop()
