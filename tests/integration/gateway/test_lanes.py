"""Holds that arrive together travel together; and nobody can tell by the answers."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.api.capacity.v1 import hold_service_pb2 as pb
from holdfast.api.capacity.v1 import hold_service_pb2_grpc
from holdfast.capacity.rpc.batches import BatchServicer
from holdfast.common.contracts import contract_services
from holdfast.common.errors import DomainError, FieldViolation, Reason
from holdfast.common.ids import new_id
from holdfast.common.mesh_identity import MeshIdentity, Principal
from holdfast.common.metrics import Metrics
from holdfast.common.rpc_client import Peer
from holdfast.common.rpc_server import RpcServer
from holdfast.gateway import lanes as gateway_lanes
from holdfast.gateway.body import ClientGoneError
from holdfast.gateway.callers import Caller
from holdfast.gateway.clients import Clients
from holdfast.gateway.measures import Measures
from holdfast.gateway.mutations import BATCH
from holdfast.gateway.problems import problem
from holdfast.gateway.routes import Routes
from holdfast.gateway.transcoder import compile_endpoints
from tests.integration.gateway.services import Holds

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from holdfast.common.rpc_call import Call
    from holdfast.gateway.answers import Answer
    from tests.integration.gateway.conftest import Stack

HOLDS = pb.DESCRIPTOR.services_by_name["HoldService"]
ENDPOINTS = compile_endpoints(Routes(contract_services()).bindings)
BY_SECTION = ENDPOINTS["POST", "/api/v1/capacity/{section_id}/reserve"]
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
REFUSALS = [
    DomainError(
        Reason.INSUFFICIENT_CAPACITY,
        "too few places",
        metadata={"available": "3", "section_id": "s", "inventory_version": "9"},
        retry_after_seconds=1.4,
    ),
    DomainError(
        Reason.VALIDATION_FAILED,
        "lines[0].quantity: odd",
        violations=[FieldViolation("lines[0].quantity", "odd"), FieldViolation("", "and more")],
    ),
    DomainError(
        Reason.DEPENDENCY_UNAVAILABLE, "no database", metadata={"dependency": "database"}, retry_after_seconds=2
    ),
    DomainError(Reason.IDEMPOTENCY_KEY_REUSED, "another body"),
    DomainError(Reason.OVERLOADED, "full", metadata={"queue": "event"}, retry_after_seconds=0.25),
    DomainError(Reason.DEADLINE_EXCEEDED, "the call's time is over; the same request_id tells what became of it"),
    DomainError(Reason.INTERNAL, "secret"),
]


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


def without_trace(body: bytes) -> bytes:
    """A problem document without the id that each request has of its own."""
    trace_id = json.loads(body).get("trace_id", "")
    return body.replace(trace_id.encode(), b"-") if trace_id else body


@asynccontextmanager
async def alone(stack: Stack) -> AsyncIterator[Callable[..., Any]]:
    """Gives what calls PlaceHold by itself, as the gateway would without lanes, and transcodes the answer."""
    peer = Peer(
        name="capacity",
        target=stack.mesh.capacity_address,
        identity=MeshIdentity.load(stack.mesh.identity_dir, "gateway"),
    )
    await peer.start()
    stub: Any = hold_service_pb2_grpc.HoldServiceStub(peer.channel)
    principal = Principal("buyer-1", stack.organization_id, frozenset({"buyer"}))

    async def place(**fields: Any) -> Answer:
        try:
            response, trailing = await peer.call_with_metadata(
                stub.PlaceHold, pb.PlaceHoldRequest(**fields), principal=principal, deadline_seconds=5
            )
        except DomainError as error:
            return problem(error, trace_id="-")
        return BY_SECTION.answer(response, replayed=trailing.get("holdfast-replayed") == "true")

    yield place
    await peer.close()


async def test_an_answer_is_byte_for_byte_what_a_call_alone_is_answered(stack: Stack) -> None:
    section, event = new_id(), new_id()
    async with alone(stack) as place, stack.client() as client:
        first = await client.post(f"/api/v1/capacity/{section}/reserve", json={"quantity": 2, "request_id": "byte"})
        assert first.status_code == 201
        expected = await place(section_id=section, quantity=2, request_id="byte")
        again = await client.post(f"/api/v1/capacity/{section}/reserve", json={"quantity": 2, "request_id": "byte"})
        assert (again.status_code, again.content) == (expected.status, expected.body)
        for name, value in expected.headers:
            assert again.headers[name.decode()] == value.decode()
        assert again.headers["idempotency-replayed"] == "true"
        by_event = {"lines": [{"section_id": section, "quantity": 1}], "request_id": "lines"}
        first = await client.post(f"/api/v1/events/{event}/holds", json=by_event)
        assert first.status_code == 201
        lines = [pb.HoldLineSelector(section_id=section, quantity=1)]
        expected = await place(event_id=event, lines=lines, request_id="lines")
        again = await client.post(f"/api/v1/events/{event}/holds", json=by_event)
        assert (again.status_code, again.content) == (expected.status, expected.body)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.reason.value)
async def test_a_refusal_is_byte_for_byte_what_a_call_alone_is_answered(stack: Stack, refusal: DomainError) -> None:
    section = new_id()
    stack.behind.holds.refusal = refusal
    try:
        async with alone(stack) as place, stack.client() as client:
            got = await client.post(f"/api/v1/capacity/{section}/reserve", json={"quantity": 2})
            expected = await place(section_id=section, quantity=2)
    finally:
        stack.behind.holds.refusal = None
    assert (got.status_code, without_trace(got.content)) == (expected.status, expected.body)
    for name, value in expected.headers:
        assert got.headers[name.decode()] == value.decode()


async def test_what_the_contract_refuses_is_byte_for_byte_the_same(stack: Stack) -> None:
    section = new_id()
    async with alone(stack) as place, stack.client() as client:
        for fields in (
            {"quantity": 0},
            {},
            {"quantity": 1, "customer_id": "c" * 200},
            {"quantity": 1, "coupon_code": "X"},
        ):
            got = await client.post(f"/api/v1/capacity/{section}/reserve", json=fields)
            expected = await place(section_id=section, **fields)
            assert (got.status_code, without_trace(got.content)) == (expected.status, expected.body)


class Gated(Holds):
    """Holds that wait for a gate if their section says so."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.stuck = new_id()

    def came(self, count: int) -> bool:
        return len(self.requests) == count

    async def place_hold(self, request: pb.PlaceHoldRequest, call: Call) -> pb.PlaceHoldResponse:
        if request.section_id == self.stuck:
            self.requests.append(request)
            await self.gate.wait()
        return await super().place_hold(request, call)


class Breaking:
    """Batches whose call ends, so many times, before all its outcomes are there."""

    def __init__(self, batches: BatchServicer, *, times: int) -> None:
        self._batches = batches
        self.times = times
        self.sizes: list[int] = []

    async def batch_mutate_holds(
        self, request: pb.BatchMutateHoldsRequest, call: Call
    ) -> AsyncGenerator[pb.BatchMutateHoldsResponse]:
        self.sizes.append(len(request.items))
        broken = len(self.sizes) <= self.times
        async for answer in self._batches.batch_mutate_holds(request, call):
            if not broken:
                yield answer


class Bench:
    """The gateway's clients in front of a capacity of handlers, without HTTP before it."""

    def __init__(self, stack: Stack, holds: Holds, *, break_times: int = 0) -> None:
        self.holds = holds
        self.server_metrics = Metrics("capacity")
        self.server = RpcServer(
            service="capacity",
            listen="127.0.0.1:0",
            identity=MeshIdentity.load(stack.mesh.identity_dir, "capacity"),
            mesh=stack.mesh.model_copy(update={"rpc_in_flight_max": 10_000}),
            metrics=self.server_metrics,
            drain_seconds=0,
            notice_seconds=0,
        )
        self.breaking = Breaking(BatchServicer(self.server, holds), times=break_times)
        self.server.add(HOLDS, holds, self.breaking)
        self.metrics = Metrics("gateway")
        self._stack = stack
        self.principal = Principal("buyer-1", stack.organization_id, frozenset({"buyer"}))

    async def start(self) -> None:
        await self.server.start()
        address = self.server.address
        self.clients = Clients(
            targets={"capacity": address, "events": address, "pricing": address},
            identity=MeshIdentity.load(self._stack.mesh.identity_dir, "gateway"),
            metrics=self.metrics,
            measures=Measures(self.metrics),
        )
        await self.clients.start(ENDPOINTS.values())

    async def stop(self) -> None:
        await self.clients.close()
        await self.server.stop()

    async def place(self, *, seconds: float = 20, gone: Callable[[], bool] = lambda: False, **fields: Any) -> Any:
        fields = {"section_id": new_id(), "quantity": 1, **fields}
        request = pb.PlaceHoldRequest(**fields)
        return await self.clients.call(
            BY_SECTION,
            request,
            principal=self.principal,
            deadline_seconds=seconds,
            caller=Caller(TRACEPARENT, recorded=False, gone=gone),
        )

    def placing(self, **arguments: Any) -> asyncio.Task[Any]:
        return asyncio.create_task(self.place(**arguments))

    def measured(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(name) or 0.0


@asynccontextmanager
async def bench(stack: Stack, holds: Holds | None = None, **arguments: Any) -> AsyncIterator[Bench]:
    made = Bench(stack, holds or Holds(), **arguments)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def test_holds_that_arrive_together_travel_together(stack: Stack) -> None:
    async with bench(stack) as running:
        answers = await asyncio.gather(*(running.place() for _ in range(500)))
        assert len({response.hold.id for response, _ in answers}) == 500
        assert sum(running.breaking.sizes) == 500
        assert max(running.breaking.sizes) == 200
        assert len(running.breaking.sizes) < 20
        assert running.measured("holdfast_lane_batch_items_sum") == 500
        count = running.server_metrics.registry.get_sample_value
        assert count("holdfast_rpc_requests_total", {"rpc": BY_SECTION.path, "code": "OK"}) == 500
        assert count("holdfast_rpc_requests_total", {"rpc": BATCH, "code": "OK"}) == len(running.breaking.sizes)


async def test_each_hold_is_placed_for_its_own_principal(stack: Stack) -> None:
    async with bench(stack) as running:

        async def place(subject: str) -> Any:
            principal = Principal(subject, stack.organization_id, frozenset({"buyer"}))
            request = pb.PlaceHoldRequest(section_id=new_id(), quantity=1)
            response, _ = await running.clients.call(
                BY_SECTION,
                request,
                principal=principal,
                deadline_seconds=5,
                caller=Caller(TRACEPARENT, recorded=False, gone=lambda: False),
            )
            return response.hold.placed_by

        subjects = [f"buyer-{number}" for number in range(50)]
        assert await asyncio.gather(*map(place, subjects)) == subjects
        assert len(running.breaking.sizes) < 50


async def test_one_that_is_stuck_stalls_nobody(stack: Stack) -> None:
    holds = Gated()
    async with bench(stack, holds) as running:
        stuck = running.placing(section_id=holds.stuck)
        await eventually(lambda: len(holds.requests) == 1)
        for _ in range(3):
            assert (await running.place())[0].hold.id
        together = [running.placing(section_id=holds.stuck), running.placing()]
        assert (await together[1])[0].hold.id
        assert not stuck.done()
        assert not together[0].done()
        holds.gate.set()
        assert (await stuck)[0].hold.id != (await together[0])[0].hold.id


async def test_priced_holds_go_their_own_way(stack: Stack) -> None:
    async with bench(stack) as running:
        await asyncio.gather(*(running.place(price_tier_id=new_id() if odd % 2 else "") for odd in range(10)))
        assert sorted(running.breaking.sizes) == [5, 5]


async def test_what_waits_is_bounded_and_more_is_refused_at_once(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_lanes, "WAITING_MAX", 3)
    monkeypatch.setattr(gateway_lanes, "CALLS_MAX", 2)
    holds = Gated()
    async with bench(stack, holds) as running:
        stuck = []
        for calls in (1, 2):
            stuck.append(running.placing(section_id=holds.stuck))
            await eventually(partial(holds.came, calls))
        waiting = [running.placing() for _ in range(3)]
        await eventually(lambda: running.measured("holdfast_lane_waiting") == 3)
        assert running.measured("holdfast_lane_calls") == 2
        with pytest.raises(DomainError) as refused:
            await running.place()
        assert (refused.value.reason, dict(refused.value.metadata)) == (Reason.OVERLOADED, {"queue": "gateway"})
        assert refused.value.retry_after_seconds
        holds.gate.set()
        assert all(response.hold.id for response, _ in await asyncio.gather(*stuck, *waiting))


async def test_what_its_client_gave_up_is_not_sent(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_lanes, "CALLS_MAX", 1)
    holds, left = Gated(), False
    async with bench(stack, holds) as running:
        stuck = running.placing(section_id=holds.stuck)
        await eventually(lambda: len(holds.requests) == 1)
        gone = running.placing(gone=lambda: left, order_reference="gone")
        late = running.placing(seconds=0.05, order_reference="late")
        staying = running.placing(order_reference="staying")
        with pytest.raises(DomainError) as over:
            await late
        assert over.value.reason is Reason.DEADLINE_EXCEEDED
        left = True
        holds.gate.set()
        await stuck
        assert (await staying)[0].hold.id
        with pytest.raises(ClientGoneError):
            await gone
        assert [request.order_reference for request in holds.requests[1:]] == ["", "staying"]


async def test_a_client_that_closes_its_connection_leaves_its_hold_unsent(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_lanes, "CALLS_MAX", 1)
    holds = stack.behind.holds
    holds.delay_seconds = 0.5
    reference = f"left-{new_id()}"
    try:
        async with stack.client() as client:
            first = asyncio.create_task(client.post(f"/api/v1/capacity/{new_id()}/reserve", json={"quantity": 1}))
            before = len(holds.requests)
            await eventually(lambda: len(holds.requests) > before)
            reader, writer = await asyncio.open_connection("127.0.0.1", stack.app.port)
            body = json.dumps({"quantity": 1, "order_reference": reference}).encode()
            head = (
                f"POST /api/v1/capacity/{new_id()}/reserve HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {stack.token()}"
                f"\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            await writer.drain()
            operational = f"http://127.0.0.1:{stack.app.metrics_port}/metrics"

            async def waiting() -> bool:
                return "holdfast_lane_waiting 1.0" in (await client.get(operational)).text

            async with asyncio.timeout(10):
                while not await waiting():  # noqa: ASYNC110 - it is asked over HTTP
                    await asyncio.sleep(0.005)
            writer.transport.abort()
            assert (await first).status_code == 201
            assert (await client.post(f"/api/v1/capacity/{new_id()}/reserve", json={"quantity": 1})).status_code == 201
            del reader
    finally:
        holds.delay_seconds = 0.0
    assert reference not in {request.order_reference for request in holds.requests}


async def test_a_call_that_breaks_is_repeated_once_for_those_with_a_key(stack: Stack) -> None:
    async with bench(stack, break_times=1) as running:
        keyed = [running.placing(request_id=f"key-{number}") for number in range(3)]
        others = [running.placing() for _ in range(2)]
        answers = await asyncio.gather(*keyed)
        # They were placed by the call that broke: the same key gives the same hold.
        assert [replayed for _, replayed in answers] == [True] * 3
        assert len({response.hold.id for response, _ in answers}) == 3
        for each in others:
            with pytest.raises(DomainError) as unknown:
                await each
            assert unknown.value.reason is Reason.DEPENDENCY_UNAVAILABLE
            assert dict(unknown.value.metadata) == {"dependency": "capacity"}
        assert running.breaking.sizes == [5, 3]
        assert len(running.holds.holds) == 5


async def test_it_is_repeated_no_more_than_once(stack: Stack) -> None:
    async with bench(stack, break_times=2) as running:
        with pytest.raises(DomainError) as unknown:
            await running.place(request_id="key")
        assert unknown.value.reason is Reason.DEPENDENCY_UNAVAILABLE
        assert running.breaking.sizes == [1, 1]
        assert (await running.place(request_id="key"))[1]


async def test_a_capacity_that_is_not_there_is_told_at_once_and_the_breaker_opens(stack: Stack) -> None:
    async with bench(stack) as running:
        assert (await running.place())[0].hold.id
        await running.server.stop()
        for _ in range(12):
            with pytest.raises(DomainError) as refused:
                await running.place()
            assert refused.value.reason is Reason.DEPENDENCY_UNAVAILABLE
            assert dict(refused.value.metadata) == {"dependency": "capacity"}
            assert refused.value.retry_after_seconds
        assert running.metrics.registry.get_sample_value("holdfast_breaker_open", {"peer": "capacity"}) == 1


async def test_who_waits_when_the_gateway_ends_is_told(stack: Stack) -> None:
    holds = Gated()
    async with bench(stack, holds) as running:
        stuck = running.placing(section_id=holds.stuck)
        await eventually(lambda: len(holds.requests) == 1)
        await running.clients.close()
        with pytest.raises(DomainError) as unknown:
            await stuck
        assert unknown.value.reason is Reason.DEPENDENCY_UNAVAILABLE
        holds.gate.set()
