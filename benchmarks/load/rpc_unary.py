"""PlaceHold, a call a hold, over one channel: a closed loop of `calls` in flight.

Job: `calls`, and what `channel`, `HoldRequests` and `Measurement` read.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc
import uvloop

from benchmarks.load.outcome import Measurement, Outcome, work
from benchmarks.load.rpc_requests import DEADLINE_SECONDS, HoldRequests, channel
from holdfast.api.capacity.v1 import hold_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Mapping


async def _calling(stub: Any, requests: HoldRequests, measurement: Measurement) -> None:
    began = time.perf_counter()
    while not measurement.over(began):
        try:
            answer = await stub.PlaceHold(requests.request(), timeout=DEADLINE_SECONDS, metadata=requests.metadata())
        except grpc.aio.AioRpcError as error:
            measurement.failed(error.code().name)
            began = time.perf_counter()
            continue
        now = time.perf_counter()
        fault = requests.fault(answer)
        if fault:
            measurement.failed(fault)
        else:
            measurement.done(began, now, held=1)
        began = now


async def drive(job: Mapping[str, Any]) -> Outcome:
    """Run the load."""
    measurement, requests = Measurement(job), HoldRequests(job)
    async with channel(job) as opened:
        await opened.channel_ready()
        stub = hold_service_pb2_grpc.HoldServiceStub(opened)
        measurement.start()
        await asyncio.gather(*(_calling(stub, requests, measurement) for _ in range(job["calls"])))
    return measurement.outcome()


def run(job: Mapping[str, Any]) -> Outcome:
    """Run the load in an event loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(drive(job))


if __name__ == "__main__":
    work(run)
