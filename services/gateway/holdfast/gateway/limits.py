"""Rate limits per organization and per principal, shared by all gateways through Valkey.

Requests that arrive while a check is under way are checked together in the next one: a script call for each
organization, one round trip, never longer than `CHECK_SECONDS_MAX`. When Valkey does not answer, this process counts
by itself at once and until a probe in the background has succeeded, so an outage costs one short wait, once.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from holdfast.common.errors import DomainError, Reason
from holdfast.gateway.gcra import MICROSECONDS, Limit, LocalMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.common.mesh_identity import Principal

CHECK_SECONDS_MAX: Final = 0.05
PROBE_SECONDS: Final = 1.0
BATCH_MAX: Final = 200
WAITING_MAX: Final = 10_000
KEYS_MAX: Final = 10_000
KEY_PREFIX: Final = "holdfast:limit:"

# KEYS: the organization's key, then one for each principal's request. ARGV: interval and tolerance of an organization,
# then of a principal, in microseconds. Answers three numbers for each request that is refused: which one (from 1), by
# which limit (1 organization, 2 principal), and how long to wait; nothing for the others, which are nearly all. The
# arithmetic is gcra.decide; the clock is Valkey's, the same for all gateways.
SCRIPT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval = {tonumber(ARGV[1]), tonumber(ARGV[3])}
local tolerance = {tonumber(ARGV[2]), tonumber(ARGV[4])}
local before, arrivals, answers = {}, {}, {}
for i, key in ipairs(KEYS) do
  local kind = math.min(i, 2)
  if interval[kind] > 0 and before[key] == nil then
    before[key] = tonumber(redis.call('GET', key) or nil) or 0
    arrivals[key] = math.min(math.max(before[key], now), now + tolerance[kind])
  end
end
for i = 2, #KEYS do
  local refused, wait, following = 0, 0, {}
  for kind, key in ipairs({KEYS[1], KEYS[i]}) do
    if refused == 0 and interval[kind] > 0 then
      following[key] = arrivals[key] + interval[kind]
      wait = following[key] - tolerance[kind] - now
      if wait > 0 then refused = kind end
    end
  end
  if refused == 0 then
    for key, arrival in pairs(following) do arrivals[key] = arrival end
  else
    answers[#answers + 1] = i - 1
    answers[#answers + 1] = refused
    answers[#answers + 1] = math.ceil(wait)
  end
end
for key, arrival in pairs(arrivals) do
  if arrival ~= before[key] and arrival > now then
    redis.call('SET', key, string.format('%.0f', arrival), 'PX', math.ceil((arrival - now) / 1000) + 1)
  end
end
return answers
"""
# How Valkey names scripts; nothing relies on it being hard to forge.
_SHA: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
_NAMES: Final = ("organization", "principal")
PASSED: Final = (-1, 0)
"""What LocalMemory says of a request that no limit refuses."""

logger = structlog.get_logger(__name__)

_Waiting = tuple[str, str, "asyncio.Future[tuple[int, int]]"]


class RateLimiter:
    """Refuses principals and organizations that call too often. Start it, then `check` each request."""

    def __init__(
        self,
        *,
        url: str,
        organization: Limit,
        principal: Limit,
        on_fallback: Callable[[bool], None] = lambda _local: None,
    ) -> None:
        self._limits = (organization, principal)
        self.enabled = any(limit.interval_us for limit in self._limits)
        """Whether there is any limit to hold."""
        self._arguments = [limit_us for each in self._limits for limit_us in (each.interval_us, each.tolerance_us)]
        self._local = LocalMemory()
        self._on_fallback = on_fallback
        self._waiting: list[_Waiting] = []
        self._work = asyncio.Event()
        self._shared = False
        self._tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()
        # Without timeouts of its own, each of which costs a task or a timer: every use of it here has one.
        self._client: Redis = Redis.from_url(
            url,
            socket_timeout=None,
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
            max_connections=4,
            client_name="holdfast-gateway",
        )

    @property
    def shared(self) -> bool:
        """Whether the limits are counted with the other gateways, in Valkey, at this moment."""
        return self._shared

    async def start(self) -> None:
        """Connect; without Valkey the gateway starts all the same and counts by itself."""
        if not self.enabled:
            return
        await self._probe()
        self._tasks = [asyncio.create_task(self._flush_loop()), asyncio.create_task(self._probe_loop())]

    async def stop(self) -> None:
        """End the background work and close the connections; checks that wait are decided locally."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._settle_locally(self._take(len(self._waiting)))
        await self._client.aclose()

    async def check(self, principal: Principal) -> None:
        """Count one request of a principal. Raises RATE_LIMITED with the time after which one more would pass."""
        if not self.enabled:
            return
        organization, caller = _keys(principal.organization_id, principal.subject)
        if not self._shared or len(self._waiting) >= WAITING_MAX or not self._tasks:
            refused, wait_us = self._decide_locally(organization, caller)
        else:
            future: asyncio.Future[tuple[int, int]] = self._loop.create_future()
            self._waiting.append((organization, caller, future))
            self._work.set()
            refused, wait_us = await future
        if refused >= 0:
            raise DomainError(
                Reason.RATE_LIMITED,
                f"too many calls of this {_NAMES[refused]}",
                metadata={"limit": _NAMES[refused]},
                retry_after_seconds=wait_us / MICROSECONDS,
            )

    def _decide_locally(self, organization: str, caller: str) -> tuple[int, int]:
        now_us = time.monotonic_ns() // 1000
        return self._local.check(list(zip((organization, caller), self._limits, strict=True)), now_us)

    def _take(self, count: int) -> list[_Waiting]:
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    def _settle_locally(self, batch: Sequence[_Waiting]) -> None:
        for organization, caller, future in batch:
            if not future.done():
                future.set_result(self._decide_locally(organization, caller))

    async def _flush_loop(self) -> None:
        """Check what waits, one round trip at a time; what arrives meanwhile goes together in the next."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._waiting:
                batch = self._take(BATCH_MAX)
                try:
                    await self._check_shared(batch)
                except asyncio.CancelledError:
                    self._settle_locally(batch)
                    raise
                except (RedisError, OSError, TimeoutError, ValueError, TypeError) as error:
                    # ValueError and TypeError: something answered that is not our script.
                    self._go_local(error)
                    self._settle_locally([*batch, *self._take(len(self._waiting))])

    async def _check_shared(self, batch: Sequence[_Waiting]) -> None:
        groups: dict[str, list[_Waiting]] = {}
        for item in batch:
            groups.setdefault(item[0], []).append(item)
        async with asyncio.timeout(CHECK_SECONDS_MAX):
            answers = await self._evaluate(groups)
        for (organization, items), answer in zip(groups.items(), answers, strict=True):
            if isinstance(answer, Exception):
                # One organization's keys are spoilt; the others' answers are good.
                logger.warning("shared rate limit not usable", key=organization, cause=type(answer).__name__)
                self._settle_locally(items)
                continue
            refusals = {
                number: (limit - 1, wait_us)
                for number, limit, wait_us in zip(answer[::3], answer[1::3], answer[2::3], strict=True)
            }
            for number, (_, _, future) in enumerate(items, start=1):
                if not future.done():
                    future.set_result(refusals.get(number, PASSED))

    async def _evaluate(self, groups: dict[str, list[_Waiting]]) -> list[Any]:
        answers = await self._run(groups)
        if any(isinstance(answer, NoScriptError) for answer in answers):  # Valkey was restarted or wiped
            await self._client.script_load(SCRIPT)
            answers = await self._run(groups)
        return answers

    async def _run(self, groups: dict[str, list[_Waiting]]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for organization, items in groups.items():
            keys = [organization, *(caller for _, caller, _ in items)]
            pipeline.evalsha(_SHA, len(keys), *keys, *self._arguments)
        return await pipeline.execute(raise_on_error=False)

    def _go_local(self, error: Exception) -> None:
        if self._shared:
            self._shared = False
            self._on_fallback(True)
            logger.warning("rate limits are counted in this process only", cause=type(error).__name__)

    async def _probe_loop(self) -> None:
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            if not self._shared:
                await self._probe()

    async def _probe(self) -> None:
        """See whether Valkey is there, off the path of any request."""
        try:
            async with asyncio.timeout(CHECK_SECONDS_MAX * 4):
                # Connections of before the outage may be dead without knowing it.
                await self._client.connection_pool.disconnect(inuse_connections=True)
                await self._client.script_load(SCRIPT)
        except (RedisError, OSError, TimeoutError) as error:
            self._on_fallback(True)
            logger.debug("valkey does not answer", cause=type(error).__name__)
        else:
            self._shared = True
            self._on_fallback(False)


@lru_cache(maxsize=KEYS_MAX)
def _keys(organization_id: str, subject: str) -> tuple[str, str]:
    """Give the keys of an organization and of a principal; in a cluster, those of one organization lie together."""
    organization = KEY_PREFIX + "{" + (organization_id or "-") + "}"
    return organization, organization + ":" + hashlib.blake2b(subject.encode(), digest_size=16).hexdigest()
