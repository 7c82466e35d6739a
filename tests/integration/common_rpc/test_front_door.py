"""What the front door lets in, refuses and answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct

from holdfast.api.capacity.v1 import hold_service_pb2, hold_service_pb2_grpc
from holdfast.api.events.v1 import event_pb2, event_service_pb2, event_service_pb2_grpc
from holdfast.common.errors import DomainError, Reason
from holdfast.common.metrics import Metrics
from holdfast.common.status import from_rpc_error
from tests.integration.common_rpc.conftest import BUYER, ID, OWNER, Workshop, eventually
from tests.integration.common_rpc.handlers import EVENTS, HOLDS, Events, Holds, forever, until

if TYPE_CHECKING:
    from holdfast.common.rpc_client import Peer
    from holdfast.common.rpc_server import Call

LINE = hold_service_pb2.HoldLineSelector(section_id=ID, quantity=1)
BAD_LINE = hold_service_pb2.HoldLineSelector(section_id="x", quantity=0)
GET_HOLD = hold_service_pb2.GetHoldRequest(hold_id=ID)


def holds_of(peer: Peer) -> Any:
    return hold_service_pb2_grpc.HoldServiceStub(peer.channel)


def events_of(peer: Peer) -> Any:
    return event_service_pb2_grpc.EventServiceStub(peer.channel)


async def refusal(awaitable: Any) -> DomainError:
    with pytest.raises(DomainError) as refused:
        await awaitable
    return refused.value


async def status(awaitable: Any) -> tuple[grpc.StatusCode, DomainError]:
    """The status of a call without a Peer, and the error in it."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await awaitable
    error = from_rpc_error(failed.value)
    assert error is not None
    return failed.value.code(), error


async def place(peer: Peer, request: hold_service_pb2.PlaceHoldRequest) -> DomainError:
    return await refusal(peer.call(holds_of(peer).PlaceHold, request, principal=BUYER, deadline_seconds=5))


async def test_violations_name_the_fields_by_their_paths(workshop: Workshop) -> None:
    holds = Holds()
    peer = await workshop.peer((await workshop.server(HOLDS, holds)).address)
    lines = [LINE, LINE, BAD_LINE]
    error = await place(peer, hold_service_pb2.PlaceHoldRequest(lines=lines, customer_id="c" * 129))
    assert error.reason is Reason.VALIDATION_FAILED
    assert {violation.field for violation in error.violations} >= {
        "lines[2].section_id",
        "lines[2].quantity",
        "customer_id",
    }
    assert all(violation.message for violation in error.violations)
    assert not holds.calls


async def test_a_rule_of_the_whole_request_has_no_path(workshop: Workshop) -> None:
    peer = await workshop.peer((await workshop.server(HOLDS, Holds())).address)
    error = await place(peer, hold_service_pb2.PlaceHoldRequest())
    assert [violation.field for violation in error.violations] == [""]
    assert error.message == error.violations[0].message
    assert error.message == "give section_id and one of quantity, seats and best_available, or lines; not both"


async def test_violations_are_bounded(workshop: Workshop) -> None:
    peer = await workshop.peer((await workshop.server(HOLDS, Holds())).address)
    lines = [BAD_LINE] * 500
    error = await place(peer, hold_service_pb2.PlaceHoldRequest(lines=lines))
    assert len(error.violations) == 50


async def test_output_only_fields_are_refused_with_what_to_do_instead(workshop: Workshop) -> None:
    peer = await workshop.peer((await workshop.server(EVENTS, Events(), service="events")).address, name="events")
    event = event_pb2.Event(name="Jazz", venue_id=ID, state=event_pb2.Event.PUBLISHED, etag="3")
    error = await refusal(
        peer.call(
            events_of(peer).CreateEvent,
            event_service_pb2.CreateEventRequest(event=event),
            principal=OWNER,
            deadline_seconds=5,
        )
    )
    messages = {violation.field: violation.message for violation in error.violations}
    assert error.reason is Reason.VALIDATION_FAILED
    assert set(messages) == {"event.state", "event.etag"}
    assert "PublishEvent" in messages["event.state"]


async def test_immutable_fields_may_be_created_but_not_updated(workshop: Workshop) -> None:
    peer = await workshop.peer((await workshop.server(EVENTS, Events(), service="events")).address, name="events")
    event = event_pb2.Event(name="Jazz", venue_id=ID)
    event.starts_at.FromJsonString("2027-01-01T20:00:00Z")
    create = event_service_pb2.CreateEventRequest(event=event)
    created = await peer.call(events_of(peer).CreateEvent, create, principal=OWNER, deadline_seconds=5)
    assert created.event.name == "Jazz"
    update = event_service_pb2.UpdateEventRequest(event_id=ID, event=event)
    error = await refusal(peer.call(events_of(peer).UpdateEvent, update, principal=OWNER, deadline_seconds=5))
    assert [violation.field for violation in error.violations] == ["event.starts_at"]
    assert "CreateSchedule" in error.violations[0].message


async def test_an_rpc_without_a_handler_is_not_built_yet(workshop: Workshop) -> None:
    peer = await workshop.peer((await workshop.server(HOLDS, Holds())).address)
    request = hold_service_pb2.ConfirmHoldRequest(hold_id=ID)
    error = await refusal(peer.call(holds_of(peer).ConfirmHold, request, principal=BUYER, deadline_seconds=5))
    assert (error.reason, dict(error.metadata)) == (Reason.NOT_BUILT_YET, {"rpc": "ConfirmHold"})


async def test_a_refusal_arrives_with_everything_that_it_says(workshop: Workshop) -> None:
    peer = await workshop.peer((await workshop.server(HOLDS, Holds())).address)
    error = await place(peer, hold_service_pb2.PlaceHoldRequest(section_id=ID, quantity=4))
    assert (error.reason, error.message) == (Reason.INSUFFICIENT_CAPACITY, "too few places")
    assert dict(error.metadata) == {"section_id": ID, "available": "3"}
    assert error.retry_after_seconds == 2


async def test_a_replay_says_so(workshop: Workshop) -> None:
    peer = await workshop.peer((await workshop.server(HOLDS, Holds())).address)
    request = hold_service_pb2.PlaceHoldRequest(event_id=ID, lines=[LINE])
    response, metadata = await peer.call_with_metadata(
        holds_of(peer).PlaceHold, request, principal=BUYER, deadline_seconds=5
    )
    assert response.hold.id == ID
    assert metadata["holdfast-replayed"] == "true"


async def test_the_request_key_is_of_caller_rpc_and_content(workshop: Workshop) -> None:
    holds = Holds()
    peer = await workshop.peer((await workshop.server(HOLDS, holds)).address)
    lines = [LINE]
    request = hold_service_pb2.PlaceHoldRequest(event_id=ID, lines=lines, request_id="order-4711")
    await peer.call(holds_of(peer).PlaceHold, request, principal=BUYER, deadline_seconds=5)
    key = holds.calls[0].request_key(request, "PlaceHold")
    assert key is not None
    assert (key.caller, key.rpc, key.request_id, len(key.fingerprint)) == ("buyer-1", "PlaceHold", "order-4711", 32)
    request.request_id = ""
    assert holds.calls[0].request_key(request, "PlaceHold") is None


async def test_a_call_without_a_deadline_gets_the_default(workshop: Workshop) -> None:
    holds = Holds()
    server = await workshop.server(HOLDS, holds, settings={"rpc_deadline_seconds_default": 0.1})
    peer = await workshop.peer(server.address)
    stuck = Holds(forever)
    stuck_server = await workshop.server(HOLDS, stuck, settings={"rpc_deadline_seconds_default": 0.1})
    stuck_peer = await workshop.peer(stuck_server.address)

    await holds_of(peer).GetHold(GET_HOLD, metadata=(BUYER.to_metadata(),))
    began = asyncio.get_running_loop().time()
    code, error = await status(holds_of(stuck_peer).GetHold(GET_HOLD, metadata=(BUYER.to_metadata(),)))
    assert (code, error.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED)
    assert 0.09 <= asyncio.get_running_loop().time() - began < 2
    assert stuck.cancelled.is_set()


async def test_the_callers_deadline_reaches_the_handler(workshop: Workshop) -> None:
    left: list[float] = []

    async def look(call: Call) -> None:
        left.append(call.remaining())

    peer = await workshop.peer((await workshop.server(HOLDS, Holds(look))).address)
    await holds_of(peer).GetHold(GET_HOLD, timeout=2, metadata=(BUYER.to_metadata(),))
    assert 1 < left[0] < 2


async def test_a_deadline_is_answered_with_its_reason_before_the_caller_gives_up(workshop: Workshop) -> None:
    stuck = Holds(forever)
    peer = await workshop.peer((await workshop.server(HOLDS, stuck)).address)
    await peer.channel.channel_ready()
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await holds_of(peer).GetHold(GET_HOLD, timeout=0.5, metadata=(BUYER.to_metadata(),))
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(5):
        await stuck.cancelled.wait()


async def test_too_many_calls_are_refused_at_once(workshop: Workshop) -> None:
    gate = asyncio.Event()
    holds = Holds(until(gate))
    metrics = Metrics("capacity")
    server = await workshop.server(HOLDS, holds, settings={"rpc_in_flight_max": 2}, metrics=metrics)
    peer = await workshop.peer(server.address)
    running = [
        asyncio.create_task(peer.call(holds_of(peer).GetHold, GET_HOLD, principal=BUYER, deadline_seconds=20))
        for _ in range(2)
    ]
    await eventually(lambda: len(holds.calls) == 2)
    assert metrics.registry.get_sample_value("holdfast_rpc_in_flight") == 2
    began = asyncio.get_running_loop().time()
    error = await refusal(peer.call(holds_of(peer).GetHold, GET_HOLD, principal=BUYER, deadline_seconds=20))
    assert asyncio.get_running_loop().time() - began < 1
    assert (error.reason, dict(error.metadata)) == (Reason.OVERLOADED, {"queue": "rpc"})
    assert error.retry_after_seconds is not None
    assert error.retry_after_seconds > 0
    gate.set()
    assert [response.hold.id for response in await asyncio.gather(*running)] == [ID, ID]
    assert metrics.registry.get_sample_value("holdfast_rpc_refused_total", {"reason": "OVERLOADED"}) == 1
    assert metrics.registry.get_sample_value("holdfast_rpc_in_flight") == 0
    await peer.call(holds_of(peer).GetHold, GET_HOLD, principal=BUYER, deadline_seconds=5)


async def test_a_fault_is_told_by_its_trace_id_only(workshop: Workshop, caplog: pytest.LogCaptureFixture) -> None:
    async def break_down(_call: Call) -> None:
        raise RuntimeError("password=hunter2 at 10.0.0.1")

    peer = await workshop.peer((await workshop.server(HOLDS, Holds(break_down))).address)
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    metadata = (BUYER.to_metadata(), ("traceparent", f"00-{trace_id}-b7ad6b7169203331-00"))
    code, error = await status(holds_of(peer).GetHold(GET_HOLD, timeout=5, metadata=metadata))
    assert (code, error.reason) == (grpc.StatusCode.INTERNAL, Reason.INTERNAL)
    assert dict(error.metadata) == {"trace_id": trace_id}
    assert "hunter2" not in error.message
    assert "hunter2" not in caplog.text


async def test_an_answer_of_the_wrong_type_is_a_fault(workshop: Workshop) -> None:
    class Wrong:
        async def get_hold(self, _request: object, _call: Call) -> Struct:
            return Struct()

    peer = await workshop.peer((await workshop.server(HOLDS, Wrong())).address)
    error = await refusal(peer.call(holds_of(peer).GetHold, GET_HOLD, principal=BUYER, deadline_seconds=5))
    assert error.reason is Reason.INTERNAL


async def test_a_cancellation_inside_a_handler_does_not_leave_the_caller_without_a_reply(workshop: Workshop) -> None:
    async def wait_for_something_cancelled(_call: Call) -> None:
        task = asyncio.create_task(asyncio.Event().wait())
        task.cancel()
        await task

    peer = await workshop.peer((await workshop.server(HOLDS, Holds(wait_for_something_cancelled))).address)
    error = await refusal(peer.call(holds_of(peer).GetHold, GET_HOLD, principal=BUYER, deadline_seconds=5))
    assert error.reason is Reason.INTERNAL


async def test_a_time_out_of_the_handlers_own_is_not_taken_for_the_calls_deadline(workshop: Workshop) -> None:
    async def give_up(_call: Call) -> None:
        raise TimeoutError

    peer = await workshop.peer((await workshop.server(HOLDS, Holds(give_up))).address)
    error = await refusal(peer.call(holds_of(peer).GetHold, GET_HOLD, principal=BUYER, deadline_seconds=5))
    assert error.reason is Reason.INTERNAL


async def test_a_caller_that_goes_away_cancels_its_handler(workshop: Workshop) -> None:
    holds = Holds(forever)
    metrics = Metrics("capacity")
    peer = await workshop.peer((await workshop.server(HOLDS, holds, metrics=metrics)).address)
    call = holds_of(peer).GetHold(GET_HOLD, timeout=20, metadata=(BUYER.to_metadata(),))
    async with asyncio.timeout(5):
        await holds.entered.wait()
        call.cancel()
        await holds.cancelled.wait()
    labels = {"rpc": "holdfast.api.capacity.v1.HoldService/GetHold", "code": "CANCELLED"}
    await eventually(lambda: metrics.registry.get_sample_value("holdfast_rpc_requests_total", labels) == 1)
    assert metrics.registry.get_sample_value("holdfast_rpc_in_flight") == 0


async def test_garbage_bytes_are_a_malformed_body(workshop: Workshop) -> None:
    peer = await workshop.peer((await workshop.server(HOLDS, Holds())).address)
    method: Any = peer.channel.unary_unary("/holdfast.api.capacity.v1.HoldService/GetHold")
    code, error = await status(method(b"\xff\xff\xff\xff", timeout=5, metadata=(BUYER.to_metadata(),)))
    assert (code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, Reason.MALFORMED_BODY)


async def test_an_unknown_method_is_unimplemented(workshop: Workshop) -> None:
    peer = await workshop.peer((await workshop.server(HOLDS, Holds())).address)
    method: Any = peer.channel.unary_unary("/holdfast.api.capacity.v1.HoldService/StealHold")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await method(b"", timeout=5, metadata=(BUYER.to_metadata(),))
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_messages_and_metadata_have_a_size(workshop: Workshop) -> None:
    holds = Holds()
    peer = await workshop.peer((await workshop.server(HOLDS, holds)).address)
    method: Any = peer.channel.unary_unary("/holdfast.api.capacity.v1.HoldService/GetHold")
    for body, metadata in (
        (b"\x00" * (4 * 1024 * 1024 + 1), (BUYER.to_metadata(),)),
        (GET_HOLD.SerializeToString(), (BUYER.to_metadata(), ("x-large", "y" * 20_000))),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await method(body, timeout=5, metadata=metadata)
        assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not holds.calls


async def test_calls_are_counted_by_code_and_timed(workshop: Workshop) -> None:
    metrics = Metrics("capacity")
    peer = await workshop.peer((await workshop.server(HOLDS, Holds(), metrics=metrics)).address)
    await peer.call(holds_of(peer).GetHold, GET_HOLD, principal=BUYER, deadline_seconds=5)
    await place(peer, hold_service_pb2.PlaceHoldRequest(section_id=ID, quantity=4))
    prefix = "holdfast.api.capacity.v1.HoldService"

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    assert value("holdfast_rpc_requests_total", rpc=f"{prefix}/GetHold", code="OK") == 1
    assert value("holdfast_rpc_requests_total", rpc=f"{prefix}/PlaceHold", code="FAILED_PRECONDITION") == 1
    assert value("holdfast_rpc_duration_seconds_count", rpc=f"{prefix}/GetHold") == 1
