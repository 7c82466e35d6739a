"""The generic cell rate algorithm: pure arithmetic, and a bounded memory of it in this process.

A caller has a *theoretical arrival time*, the moment at which its past requests would have been due at the limit's
rate. It may run ahead of the clock by the burst, never further. One number a caller; nothing refills in the background.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

MICROSECONDS: Final = 1_000_000
CALLERS_MAX: Final = 50_000
"""Callers remembered in this process. The longest silent is forgotten first: it has the most allowance anyway."""


@dataclass(frozen=True, slots=True)
class Limit:
    """So many requests a second in the long run, and so many at once. A rate of 0 is no limit."""

    rate_per_second: float
    burst: int
    interval_us: int = field(init=False)
    """Microseconds between requests at the rate; 0 = no limit."""
    tolerance_us: int = field(init=False)
    """How far the theoretical arrival time may run ahead of the clock."""

    def __post_init__(self) -> None:
        interval_us = round(MICROSECONDS / self.rate_per_second) if self.rate_per_second else 0
        object.__setattr__(self, "interval_us", interval_us)
        object.__setattr__(self, "tolerance_us", interval_us * self.burst)


def decide(*, arrival_us: int | None, now_us: int, limit: Limit) -> tuple[int, int]:
    """Give (microseconds to wait, next theoretical arrival time) of a request now; 0 to wait = it may pass.

    A remembered time further ahead than a burst (the limit was lowered) counts as a full burst; the next time that
    is given is then the corrected one, to be remembered also when the request waits.
    """
    interval, tolerance = limit.interval_us, limit.tolerance_us
    arrival = now_us if arrival_us is None else min(max(arrival_us, now_us), now_us + tolerance)
    following = arrival + interval
    wait = following - tolerance - now_us
    return (wait, arrival) if wait > 0 else (0, following)


class LocalMemory:
    """Theoretical arrival times of this process' callers; used while the shared ones cannot be had."""

    def __init__(self) -> None:
        self._arrivals: OrderedDict[str, int] = OrderedDict()

    def check(self, keys: Sequence[tuple[str, Limit]], now_us: int) -> tuple[int, int]:
        """Give (index of the limit that refuses, microseconds to wait), or (-1, 0) and count the request on all."""
        following: list[tuple[str, int]] = []
        for index, (key, limit) in enumerate(keys):
            if not limit.interval_us:
                continue
            wait, arrival = decide(arrival_us=self._arrivals.get(key), now_us=now_us, limit=limit)
            if wait:
                self._arrivals[key] = arrival
                return index, wait
            following.append((key, arrival))
        for key, arrival in following:
            self._arrivals[key] = arrival
            self._arrivals.move_to_end(key)
        while len(self._arrivals) > CALLERS_MAX:
            self._arrivals.popitem(last=False)
        return -1, 0
