"""The arithmetic of rate limits."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.gateway.gcra import CALLERS_MAX, MICROSECONDS, Limit, LocalMemory, decide

TEN = Limit(rate_per_second=10, burst=5)


def test_a_burst_passes_at_once_and_the_next_waits_one_interval() -> None:
    arrival = None
    for _ in range(5):
        wait, arrival = decide(arrival_us=arrival, now_us=1_000_000, limit=TEN)
        assert wait == 0
    wait, arrival = decide(arrival_us=arrival, now_us=1_000_000, limit=TEN)
    assert wait == 100_000
    wait, _ = decide(arrival_us=arrival, now_us=1_100_000, limit=TEN)
    assert wait == 0, "after the wait that was told, the request passes"


def test_a_refused_request_costs_nothing() -> None:
    full = 1_000_000 + TEN.tolerance_us
    assert decide(arrival_us=full, now_us=1_000_000, limit=TEN) == (100_000, full)


def test_a_memory_from_the_future_blocks_no_longer_than_a_burst() -> None:
    wait, arrival = decide(arrival_us=10**15, now_us=0, limit=TEN)
    assert wait == 100_000
    assert arrival == TEN.tolerance_us


@given(st.lists(st.integers(0, 300_000), max_size=200))
@settings(deadline=None, database=None)
def test_in_any_second_no_more_than_rate_and_burst_pass(gaps: list[int]) -> None:
    now, arrival, passed = 0, None, []
    for gap in gaps:
        now += gap
        wait, arrival = decide(arrival_us=arrival, now_us=now, limit=TEN)
        if not wait:
            passed.append(now)
    for start in passed:
        assert sum(start <= moment < start + MICROSECONDS for moment in passed) <= 10 + 5


def test_the_stricter_of_two_limits_refuses_and_neither_is_charged() -> None:
    memory = LocalMemory()
    wide, narrow = Limit(10, 100), Limit(10, 1)
    keys = [("organization", wide), ("principal", narrow)]
    assert memory.check(keys, 0) == (-1, 0)
    for _ in range(200):
        assert memory.check(keys, 0) == (1, 100_000)
    assert memory.check([("organization", wide)], 0) == (-1, 0), "refused requests were not counted on the other limit"


def test_no_rate_is_no_limit() -> None:
    memory = LocalMemory()
    assert all(memory.check([("a", Limit(0, 1))], 0) == (-1, 0) for _ in range(1000))


def test_the_memory_is_bounded_and_forgets_the_longest_silent() -> None:
    memory = LocalMemory()
    strict = Limit(0.001, 1)
    for number in range(CALLERS_MAX + 1):
        memory.check([(str(number), strict)], 0)
    assert memory.check([("0", strict)], 0) == (-1, 0)
    assert memory.check([(str(CALLERS_MAX), strict)], 0)[0] == 0
