"""Changes of holds travel together, of all kinds; and nobody can tell by the answers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.api.capacity.v1 import hold_service_pb2 as pb
from holdfast.api.capacity.v1 import hold_service_pb2_grpc
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from holdfast.common.mesh_identity import MeshIdentity, Principal
from holdfast.common.rpc_client import Peer
from holdfast.gateway.callers import Caller
from holdfast.gateway.mutations import CARRIED, SERVICE
from holdfast.gateway.problems import problem
from tests.integration.gateway.test_lanes import ENDPOINTS, REFUSALS, TRACEPARENT, Bench, bench, without_trace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from holdfast.gateway.answers import Answer
    from tests.integration.gateway.conftest import Stack

PATHS = {
    "ConfirmHold": "confirm",
    "ReleaseHold": "release",
    "ExtendHold": "extend",
    "BeginPayment": "begin-payment",
}
BODIES: dict[str, dict[str, Any]] = {"ExtendHold": {"hold_ttl_seconds": 60}}


def endpoint(rpc: str) -> Any:
    return ENDPOINTS["POST", f"/api/v1/holds/{{hold_id}}/{PATHS[rpc]}"]


@asynccontextmanager
async def alone(stack: Stack) -> AsyncIterator[Callable[..., Any]]:
    """Gives what makes an RPC's call by itself, as the gateway would without lanes, and transcodes the answer."""
    peer = Peer(
        name="capacity",
        target=stack.mesh.capacity_address,
        identity=MeshIdentity.load(stack.mesh.identity_dir, "gateway"),
    )
    await peer.start()
    stub: Any = hold_service_pb2_grpc.HoldServiceStub(peer.channel)
    principal = Principal("buyer-1", stack.organization_id, frozenset({"buyer"}))

    async def call(rpc: str, **fields: Any) -> Answer:
        request = getattr(pb, f"{rpc}Request")(**fields)
        try:
            response, trailing = await peer.call_with_metadata(
                getattr(stub, rpc), request, principal=principal, deadline_seconds=5
            )
        except DomainError as error:
            return problem(error, trace_id="-")
        answer: Answer = endpoint(rpc).answer(response, replayed=trailing.get("holdfast-replayed") == "true")
        return answer

    yield call
    await peer.close()


def test_what_changes_one_hold_without_a_price_is_carried() -> None:
    assert {path.removeprefix(f"{SERVICE}/") for path in CARRIED} == {"PlaceHold", *PATHS}


@pytest.mark.parametrize("rpc", PATHS)
async def test_an_answer_is_byte_for_byte_what_a_call_alone_is_answered(stack: Stack, rpc: str) -> None:
    body = BODIES.get(rpc, {})
    async with alone(stack) as call, stack.client() as client:
        placed = await client.post(f"/api/v1/capacity/{new_id()}/reserve", json={"quantity": 1})
        hold_id = placed.json()["hold"]["id"]
        stack.behind.holds.holds[hold_id].etag = "2"
        path = f"/api/v1/holds/{hold_id}/{PATHS[rpc]}"
        assert (await client.post(path, json=body, headers={"if-match": '"2"'})).status_code == 200
        again = await client.post(path, json=body)
        expected = await call(rpc, hold_id=hold_id, **body)
        assert (again.status_code, again.content) == (expected.status, expected.body)
        for name, value in expected.headers:
            assert again.headers[name.decode()] == value.decode()
        assert (again.headers["idempotency-replayed"], again.headers["etag"]) == ("true", '"2"')


async def test_a_refusal_is_byte_for_byte_what_a_call_alone_is_answered(stack: Stack) -> None:
    hold_id = new_id()
    cases: list[tuple[DomainError | None, dict[str, Any]]] = [(refusal, {}) for refusal in REFUSALS]
    cases += [(None, {}), (None, {"etag": "e" * 65}), (None, {"request_id": "k" * 256})]
    async with alone(stack) as call, stack.client() as client:
        for rpc, path in PATHS.items():
            for refusal, more in cases:
                fields = {**BODIES.get(rpc, {}), **more}
                stack.behind.holds.refusal = refusal
                try:
                    got = await client.post(f"/api/v1/holds/{hold_id}/{path}", json=fields)
                    expected = await call(rpc, hold_id=hold_id, **fields)
                finally:
                    stack.behind.holds.refusal = None
                assert (got.status_code, without_trace(got.content)) == (expected.status, expected.body)
                for name, value in expected.headers:
                    assert got.headers[name.decode()] == value.decode()


async def changed(running: Bench, rpc: str, hold_id: str, **fields: Any) -> tuple[Any, bool]:
    request = getattr(pb, f"{rpc}Request")(hold_id=hold_id, **BODIES.get(rpc, {}), **fields)
    answer: tuple[Any, bool] = await running.clients.call(
        endpoint(rpc),
        request,
        principal=running.principal,
        deadline_seconds=20,
        caller=Caller(TRACEPARENT, recorded=False, gone=lambda: False),
    )
    return answer


async def test_changes_of_all_kinds_travel_with_holds_that_are_placed(stack: Stack) -> None:
    async with bench(stack) as running:
        placed = await asyncio.gather(*(running.place() for _ in range(40)))
        before = len(running.breaking.sizes)
        hold_ids = [response.hold.id for response, _ in placed]
        rpcs = list(PATHS) * 10
        answers = await asyncio.gather(
            *(changed(running, rpc, hold_id) for rpc, hold_id in zip(rpcs, hold_ids, strict=True)),
            *(running.place() for _ in range(40)),
            *(changed(running, rpc, new_id()) for rpc in PATHS),
            return_exceptions=True,
        )
        assert sum(running.breaking.sizes[before:]) == 84
        assert len(running.breaking.sizes) - before < 10
        for rpc, hold_id, answer in zip(rpcs, hold_ids, answers, strict=False):
            assert isinstance(answer, tuple), answer
            assert answer[0].DESCRIPTOR.name == f"{rpc}Response"
            assert answer[0].hold.id == hold_id
        assert len({answer[0].hold.id for answer in answers[40:80] if isinstance(answer, tuple)}) == 40
        for answer in answers[80:]:
            assert isinstance(answer, DomainError)
            assert answer.reason is Reason.HOLD_NOT_FOUND
        count = running.server_metrics.registry.get_sample_value
        assert count("holdfast_rpc_requests_total", {"rpc": f"{SERVICE}/ConfirmHold", "code": "OK"}) == 10
        assert count("holdfast_rpc_requests_total", {"rpc": f"{SERVICE}/ConfirmHold", "code": "NOT_FOUND"}) == 1


async def test_a_call_that_breaks_is_repeated_once_for_those_with_a_key(stack: Stack) -> None:
    async with bench(stack) as running:
        hold_ids = [(await running.place())[0].hold.id for _ in range(4)]
        running.breaking.sizes.clear()
        running.breaking.times = 1
        keyed = [asyncio.create_task(changed(running, "ConfirmHold", each, request_id=each)) for each in hold_ids[:3]]
        other = asyncio.create_task(changed(running, "ConfirmHold", hold_ids[3]))
        # They were confirmed by the call that broke: the same key gives the same sale.
        assert [replayed for _, replayed in await asyncio.gather(*keyed)] == [True] * 3
        with pytest.raises(DomainError) as unknown:
            await other
        assert unknown.value.reason is Reason.DEPENDENCY_UNAVAILABLE
        assert dict(unknown.value.metadata) == {"dependency": "capacity"}
        assert running.breaking.sizes == [4, 3]


async def test_a_capacity_that_is_not_there_is_told_at_once_and_can_be_asked_again(stack: Stack) -> None:
    async with bench(stack) as running:
        hold_id = (await running.place())[0].hold.id
        await running.server.stop()
        for rpc in PATHS:
            with pytest.raises(DomainError) as refused:
                await changed(running, rpc, hold_id, request_id="key")
            assert refused.value.reason is Reason.DEPENDENCY_UNAVAILABLE
            assert dict(refused.value.metadata) == {"dependency": "capacity"}
            assert refused.value.retry_after_seconds
