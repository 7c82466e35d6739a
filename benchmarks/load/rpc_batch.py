"""BatchMutateHolds: `calls` in flight, `batch` holds in each. An operation is one hold, from the call to its outcome.

Job: `calls`, `batch`, and what `channel`, `HoldRequests` and `Measurement` read.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc
import uvloop

from benchmarks.load.outcome import Measurement, Outcome, work
from benchmarks.load.rpc_requests import DEADLINE_SECONDS, HoldRequests, channel
from holdfast.api.capacity.v1 import hold_service_pb2, hold_service_pb2_grpc
from holdfast.api.common.v1 import error_reason_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping


async def _calling(stub: Any, requests: HoldRequests, measurement: Measurement, size: int) -> None:
    began = time.perf_counter()
    while not measurement.over(began):
        request = hold_service_pb2.BatchMutateHoldsRequest(items=[requests.item() for _ in range(size)])
        waiting = set(range(size))
        try:
            async for answer in stub.BatchMutateHolds(request, timeout=DEADLINE_SECONDS):
                now = time.perf_counter()
                for outcome in answer.outcomes:
                    _count(outcome, waiting, requests, measurement, times=(began, now))
        except grpc.aio.AioRpcError as error:
            measurement.failed(error.code().name, times=len(waiting))
        else:
            if waiting:
                measurement.failed("no outcome", times=len(waiting))
        began = time.perf_counter()


def _count(
    outcome: hold_service_pb2.HoldOutcome,
    waiting: set[int],
    requests: HoldRequests,
    measurement: Measurement,
    *,
    times: tuple[float, float],
) -> None:
    if outcome.index not in waiting:
        measurement.failed("two outcomes of one item")
        return
    waiting.remove(outcome.index)
    if outcome.WhichOneof("outcome") == "refusal":
        measurement.failed(error_reason_pb2.Error.Reason.Name(outcome.refusal.reason))
        return
    fault = requests.fault(outcome.place_hold)
    if fault:
        measurement.failed(fault)
    else:
        measurement.done(*times, held=1)


async def drive(job: Mapping[str, Any]) -> Outcome:
    """Run the load."""
    measurement, requests = Measurement(job), HoldRequests(job)
    async with channel(job) as opened:
        await opened.channel_ready()
        stub = hold_service_pb2_grpc.HoldServiceStub(opened)
        measurement.start()
        await asyncio.gather(*(_calling(stub, requests, measurement, job["batch"]) for _ in range(job["calls"])))
    return measurement.outcome()


def run(job: Mapping[str, Any]) -> Outcome:
    """Run the load in an event loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(drive(job))


if __name__ == "__main__":
    work(run)
