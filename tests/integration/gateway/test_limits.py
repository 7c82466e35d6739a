"""Rate limits against a real Valkey: shared, and harmless when it is gone, frozen or wiped."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from holdfast.common.mesh_identity import Principal
from holdfast.gateway.gcra import Limit
from holdfast.gateway.limits import KEY_PREFIX, RateLimiter
from holdfast.local.valkey import EmbeddedValkey
from tests.integration.gateway.conftest import running_stack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

WIDE = Limit(rate_per_second=1000, burst=1000)
SLOW = Limit(rate_per_second=0.1, burst=3)
OFF = Limit(rate_per_second=0, burst=1)


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path / "valkey")
    server.start()
    yield server
    server.stop()


def buyer(subject: str = "a", organization_id: str = "") -> Principal:
    return Principal(subject=subject, organization_id=organization_id or new_id(), roles=frozenset({"buyer"}))


@asynccontextmanager
async def limiter(url: str, *, organization: Limit = WIDE, principal: Limit = SLOW) -> AsyncIterator[RateLimiter]:
    made = RateLimiter(url=url, organization=organization, principal=principal)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def passed(limits: RateLimiter, principal: Principal, count: int) -> int:
    """Ask so many times at once; give how many passed. Whoever did not was told why, and for how long."""
    answers = await asyncio.gather(*(limits.check(principal) for _ in range(count)), return_exceptions=True)
    refusals = [answer for answer in answers if answer is not None]
    for refusal in refusals:
        assert isinstance(refusal, DomainError), refusal
        assert refusal.reason is Reason.RATE_LIMITED
        assert refusal.retry_after_seconds is not None
        assert 0 < refusal.retry_after_seconds < 11
    return count - len(refusals)


async def until_shared(limits: RateLimiter) -> None:
    async with asyncio.timeout(10):
        while not limits.shared:  # noqa: ASYNC110 - a state to look at, as callers see it
            await asyncio.sleep(0.02)


async def test_two_gateways_count_together(valkey: EmbeddedValkey) -> None:
    principal = buyer()
    async with limiter(valkey.url) as one, limiter(valkey.url) as other:
        assert one.shared
        assert await passed(one, principal, 2) + await passed(other, principal, 20) == 3
        assert await passed(one, buyer("b", principal.organization_id), 5) == 3, "another principal has its own"


async def test_an_organization_is_limited_as_a_whole(valkey: EmbeddedValkey) -> None:
    organization_id = new_id()
    async with limiter(valkey.url, organization=SLOW, principal=WIDE) as limits:
        counts = [await passed(limits, buyer(str(number), organization_id), 1) for number in range(6)]
        assert counts == [1, 1, 1, 0, 0, 0]
        with pytest.raises(DomainError) as caught:
            await limits.check(buyer("x", organization_id))
        assert caught.value.metadata == {"limit": "organization"}
        assert await passed(limits, buyer("y"), 1) == 1, "another organization is not touched"


async def test_requests_that_wait_together_are_checked_together(valkey: EmbeddedValkey) -> None:
    client = Redis.from_url(valkey.url)
    async with limiter(valkey.url, principal=WIDE) as limits:
        before = (await client.info("commandstats")).get("cmdstat_evalsha", {}).get("calls", 0)
        assert await passed(limits, buyer(), 300) == 300
        after = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    await client.aclose()
    assert after - before <= 5


async def test_refused_requests_leave_valkeys_memory_to_run_out(valkey: EmbeddedValkey) -> None:
    principal = buyer()
    # Both limits slow: a key lives as long as it takes to drain, and has to be there still when it is looked for.
    async with Redis.from_url(valkey.url) as client, limiter(valkey.url, organization=SLOW) as limits:
        await passed(limits, principal, 10)
        keys = [key async for key in client.scan_iter(f"{KEY_PREFIX}*{principal.organization_id}*")]
        assert len(keys) == 2
        assert all([0 < await client.pttl(key) <= 31_000 for key in keys])


async def test_valkey_wiped_gives_everybody_a_new_burst_and_no_error(own_valkey: EmbeddedValkey) -> None:
    client = Redis.from_url(own_valkey.url)
    principal = buyer()
    async with limiter(own_valkey.url) as limits:
        assert await passed(limits, principal, 5) == 3
        await client.flushall()
        await client.script_flush()
        assert await passed(limits, principal, 5) == 3
        assert limits.shared
    await client.aclose()


@pytest.mark.parametrize("poison", ["99999999999999999", "garbage", "-5", "nan", "1e400"])
async def test_spoilt_values_in_valkey_block_nobody_for_longer_than_a_burst(
    own_valkey: EmbeddedValkey, poison: str
) -> None:
    client = Redis.from_url(own_valkey.url)
    principal = buyer()
    quick = Limit(rate_per_second=20, burst=2)
    async with limiter(own_valkey.url, principal=quick) as limits:
        await limits.check(principal)
        for key in [key async for key in client.scan_iter(f"{KEY_PREFIX}*")]:
            await client.set(key, poison)
        await passed(limits, principal, 1)
        await asyncio.sleep(0.2)
        assert await passed(limits, principal, 1) == 1
    await client.aclose()


async def test_a_key_of_another_kind_is_counted_locally(own_valkey: EmbeddedValkey) -> None:
    client = Redis.from_url(own_valkey.url)
    principal = buyer()
    await client.lpush(f"{KEY_PREFIX}{{{principal.organization_id}}}", "x")
    async with limiter(own_valkey.url) as limits:
        assert await passed(limits, principal, 5) == 3
        assert await passed(limits, buyer("b"), 5) == 3
        assert limits.shared, "the others are still counted together"
    await client.aclose()


async def test_valkey_killed_costs_one_short_wait_and_then_nothing(own_valkey: EmbeddedValkey) -> None:
    async with limiter(own_valkey.url) as limits:
        await limits.check(buyer())
        own_valkey.kill()
        await timed(limits, first_seconds_max=0.15)
        principal = buyer()
        assert await passed(limits, principal, 5) == 3, "this process counts by itself"
        own_valkey.start()
        await until_shared(limits)
        assert await passed(limits, buyer(), 5) == 3


async def test_valkey_frozen_costs_one_short_wait_and_then_nothing(own_valkey: EmbeddedValkey) -> None:
    async with limiter(own_valkey.url) as limits:
        await limits.check(buyer())
        os.kill(own_valkey.pid, signal.SIGSTOP)
        try:
            await timed(limits, first_seconds_max=0.15)
        finally:
            os.kill(own_valkey.pid, signal.SIGCONT)
        await until_shared(limits)


async def timed(limits: RateLimiter, *, first_seconds_max: float) -> None:
    """The first check after the outage may wait for its 50 ms (and this machine's noise); later ones do not wait."""
    started = time.perf_counter()
    await asyncio.gather(*(limits.check(buyer()) for _ in range(50)))
    assert time.perf_counter() - started < first_seconds_max
    assert not limits.shared
    slowest = 0.0
    for _ in range(200):
        started = time.perf_counter()
        await limits.check(buyer())
        slowest = max(slowest, time.perf_counter() - started)
    assert slowest < 0.02


async def test_without_valkey_the_gateway_starts_and_limits_by_itself() -> None:
    async with limiter("redis://127.0.0.1:1/0") as limits:
        assert not limits.shared
        assert await passed(limits, buyer(), 5) == 3


async def test_limits_can_be_turned_off() -> None:
    async with limiter("redis://127.0.0.1:1/0", organization=OFF, principal=OFF) as limits:
        assert not limits.enabled
        assert await passed(limits, buyer(), 1000) == 1000


async def test_a_caller_over_its_limit_is_429_with_retry_after(tmp_path: Path, valkey: EmbeddedValkey) -> None:
    async with (
        running_stack(tmp_path, cache_url=valkey.url, principal_requests_per_second=0.2, principal_burst=2) as strict,
        strict.client() as client,
        strict.client(subject="other") as other,
    ):
        statuses = [(await client.get("/api/v1/events")).status_code for _ in range(3)]
        answer = await client.get("/api/v1/events")
        assert statuses == [200, 200, 429]
        assert answer.json()["code"] == "RATE_LIMITED"
        assert answer.json()["metadata"] == {"limit": "principal"}
        assert 1 <= int(answer.headers["retry-after"]) <= 5
        assert (await other.get("/api/v1/events")).status_code == 200
