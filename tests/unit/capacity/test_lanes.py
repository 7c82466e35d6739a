"""The queue in front of each event."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.capacity.engine.lanes import Lanes
from holdfast.common.errors import DomainError, Reason


async def test_one_works_on_an_event_at_a_time_in_the_order_of_arrival() -> None:
    lanes, begun, inside = Lanes(), [], 0

    async def work(number: int) -> None:
        nonlocal inside
        async with lanes.of("org", "event"):
            inside += 1
            assert inside == 1
            begun.append(number)
            await asyncio.sleep(0)  # lets the others try
            inside -= 1

    await asyncio.gather(*(work(number) for number in range(20)))
    assert begun == list(range(20))


async def test_a_full_queue_refuses_at_once_and_holds_up_no_other_event() -> None:
    lanes, done = Lanes(waiting_max=1), asyncio.Event()

    async def work() -> None:
        async with lanes.of("org", "hot"):
            await done.wait()

    tasks = [asyncio.create_task(work()) for _ in range(2)]
    await asyncio.sleep(0)  # lets them begin
    with pytest.raises(DomainError) as caught:
        async with lanes.of("org", "hot"):
            pytest.fail("it should have been refused")
    assert (caught.value.reason, caught.value.metadata) == (Reason.OVERLOADED, {"queue": "event"})
    async with lanes.of("org", "other"), lanes.of("another", "hot"):
        tasks[1].cancel()
    done.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with lanes.of("org", "hot"):
        assert tasks[1].cancelled()
