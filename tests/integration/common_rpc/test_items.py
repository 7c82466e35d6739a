"""Items of batches: what nobody foresaw in one of them, its time, its trace, its count."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from holdfast.api.capacity.v1 import hold_service_pb2 as pb
from holdfast.common.errors import Reason
from holdfast.common.metrics import Metrics
from holdfast.common.rpc_call import Call, current_call
from holdfast.common.rpc_item import Item, ItemDoor
from holdfast.common.rpc_method import Admission
from holdfast.common.telemetry import Telemetry, current_trace_id
from tests.integration.common_rpc.conftest import BUYER, ID
from tests.integration.common_rpc.handlers import HOLDS

if TYPE_CHECKING:
    from holdfast.common.rpc_item import Outcome

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
RPC = "holdfast.api.capacity.v1.HoldService/PlaceHold"
REQUEST = pb.PlaceHoldRequest(section_id=ID, quantity=1)


class Door:
    """A door with its parts in sight."""

    def __init__(self, *, limit: int = 10) -> None:
        self.metrics = Metrics("capacity")
        self.exporter = InMemorySpanExporter()
        self.admission = Admission(limit)
        telemetry = Telemetry(service="capacity", ratio=1.0, processors=[SimpleSpanProcessor(self.exporter)])
        telemetry.start(make_global=False)
        self.door = ItemDoor(
            method=HOLDS.methods_by_name["PlaceHold"],
            admission=self.admission,
            metrics=self.metrics,
            telemetry=telemetry,
        )

    async def serve(
        self, handler: Any, request: Any = REQUEST, *, seconds: float = 5, recorded: bool = False
    ) -> Outcome:
        loop = asyncio.get_running_loop()
        item = Item(
            principal=BUYER.to_metadata()[1],
            timeout_seconds=seconds,
            traceparent=f"00-{TRACE_ID}-b7ad6b7169203331-0{int(recorded)}",
        )
        batch = Call(principal=BUYER, peer="gateway", deadline=loop.time() + 10)
        return await asyncio.create_task(self.door.serve(handler, request, item, batch))

    def count(self, code: str) -> float | None:
        return self.metrics.registry.get_sample_value("holdfast_rpc_requests_total", {"rpc": RPC, "code": code})


async def test_a_fault_of_an_item_tells_its_own_trace_id_and_nothing_else() -> None:
    async def fail(_request: Any, _call: Call) -> Any:
        raise RuntimeError("secret")

    door = Door()
    outcome = await door.serve(fail)
    assert outcome.error is not None
    assert (outcome.error.reason, outcome.error.message) == (Reason.INTERNAL, "a fault of the mesh")
    assert dict(outcome.error.metadata) == {"trace_id": TRACE_ID}
    assert door.count("INTERNAL") == 1
    assert door.admission.in_flight == 0


async def test_what_a_handler_waited_for_and_was_cancelled_is_a_fault_of_the_item() -> None:
    async def cancelled(_request: Any, _call: Call) -> Any:
        raise asyncio.CancelledError

    outcome = await Door().serve(cancelled)
    assert outcome.error is not None
    assert outcome.error.reason is Reason.INTERNAL


async def test_an_item_ends_with_its_time() -> None:
    async def forever(_request: Any, _call: Call) -> Any:
        await asyncio.Event().wait()

    door = Door()
    outcome = await door.serve(forever, seconds=0.02)
    assert outcome.error is not None
    assert outcome.error.reason is Reason.DEADLINE_EXCEEDED
    assert door.count("DEADLINE_EXCEEDED") == 1


async def test_an_item_that_is_cancelled_is_counted_and_gone() -> None:
    entered = asyncio.Event()

    async def forever(_request: Any, _call: Call) -> Any:
        entered.set()
        await asyncio.Event().wait()

    door = Door()
    task = asyncio.create_task(door.serve(forever))
    await entered.wait()
    assert door.admission.in_flight == 1
    # The task that serves is inside: cancelling the one outside cancels it too.
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert door.admission.in_flight == 0
    assert door.count("CANCELLED") == 1


async def test_the_handler_has_the_items_call_and_trace() -> None:
    seen: list[Any] = []

    async def answer(request: Any, call: Call) -> Any:
        seen.extend((request, call, current_call.get(), current_trace_id()))
        call.mark_replayed()
        return pb.PlaceHoldResponse(inventory_version=7)

    door = Door()
    outcome = await door.serve(answer, recorded=True)
    assert outcome.response == pb.PlaceHoldResponse(inventory_version=7)
    assert outcome.replayed
    assert seen[0] is REQUEST
    assert seen[1] is seen[2]
    assert seen[1].principal == BUYER
    assert seen[3] == TRACE_ID
    (span,) = door.exporter.get_finished_spans()
    assert (span.name, f"{span.context.trace_id:032x}") == (RPC, TRACE_ID)
    assert door.count("OK") == 1


async def test_one_item_too_many_is_refused_and_frees_nothing_that_it_did_not_take() -> None:
    async def answer(_request: Any, _call: Call) -> Any:
        return pb.PlaceHoldResponse()

    door = Door(limit=0)
    outcome = await door.serve(answer)
    assert outcome.error is not None
    assert (outcome.error.reason, outcome.error.retry_after_seconds) == (Reason.OVERLOADED, 0.5)
    assert door.admission.in_flight == 0


async def test_an_items_rules_are_its_own() -> None:
    async def answer(_request: Any, _call: Call) -> Any:
        return pb.PlaceHoldResponse()

    outcome = await Door().serve(answer, pb.PlaceHoldRequest(section_id=ID, quantity=0))
    assert outcome.error is not None
    assert [violation.field for violation in outcome.error.violations] == ["quantity"]
