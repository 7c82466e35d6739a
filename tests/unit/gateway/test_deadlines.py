"""One timer serves the deadlines of all that waits."""

from __future__ import annotations

import asyncio

from holdfast.api.capacity.v1 import hold_service_pb2 as pb
from holdfast.common.mesh_identity import Principal
from holdfast.gateway.deadlines import Deadlines
from holdfast.gateway.mutations import WaitingCall

ANN = Principal("ann", "org", frozenset({"buyer"}))


def waiting(seconds: float) -> WaitingCall:
    loop = asyncio.get_running_loop()
    return WaitingCall(
        "place_hold",
        pb.PlaceHoldRequest(),
        principal=ANN,
        deadline=loop.time() + seconds,
        traceparent="",
        key="",
        gone=lambda: False,
        future=loop.create_future(),
    )


async def test_each_item_is_told_of_once_in_the_order_of_the_deadlines() -> None:
    told: list[WaitingCall] = []
    done = asyncio.Event()

    def expire(item: WaitingCall) -> None:
        told.append(item)
        if len(told) == 3:
            done.set()

    deadlines = Deadlines(expire)
    later, late, soon, answered = waiting(0.09), waiting(0.05), waiting(0.01), waiting(0.02)
    for item in (later, late, soon, answered):
        deadlines.add(item)
    deadlines.remove(answered)
    async with asyncio.timeout(20):
        await done.wait()
    assert told == [soon, late, later]
    assert all(item.deadline <= asyncio.get_running_loop().time() for item in told)
    deadlines.close()


async def test_an_item_that_comes_first_moves_the_timer_to_it() -> None:
    told: asyncio.Queue[WaitingCall] = asyncio.Queue()
    deadlines = Deadlines(told.put_nowait)
    hour, moment = waiting(3600), waiting(0.01)
    deadlines.add(hour)
    deadlines.add(moment)
    async with asyncio.timeout(20):
        assert await told.get() is moment
    deadlines.close()
    assert told.empty()
