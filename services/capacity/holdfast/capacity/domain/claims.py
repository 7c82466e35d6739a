"""What holds claim of a section, as sums: which of it ended without a row being written, and which ends when.

Moments are microseconds since 1970, so that they are compared and stored cheaply. What ends in the same second is in
one bucket; inside the bucket every moment counts by itself, so nothing ends a microsecond early or late.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND: Final = 1_000_000
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Claim:
    """So many places claimed until a moment by holds that are `pending`, or else active.

    Those taken from a block go back to it, the others to sale. `voided` ones are of holds that a change of the event
    ended before their time.
    """

    pending: bool
    expire_us: int
    quantity: int
    block_id: str = ""
    voided: bool = False

    @property
    def kind(self) -> Kind:
        """What it counts among."""
        return (self.pending, self.block_id)


Kind = tuple[bool, str]
"""Whether payment runs, and the block that the places go back to; empty = to sale."""


class Claims:
    """The claims of a section's holds whose rows say that they are live."""

    __slots__ = ("_buckets", "_ended", "_seconds", "_until_us", "_voided", "held", "last_us", "pending")

    def __init__(self) -> None:
        self.held = 0
        self.pending = 0
        self.last_us = 0
        """The latest moment that ended a claim so far; 0 = none did."""
        self._buckets: dict[int, dict[tuple[int, Kind], int]] = {}
        self._seconds: list[int] = []
        self._ended: dict[Kind, int] = {}
        self._voided: dict[Kind, int] = {}
        self._until_us = 0

    def add(self, claim: Claim) -> None:
        """Add a claim."""
        self._count(claim, claim.quantity)
        if claim.voided:
            _move(self._voided, claim.kind, claim.quantity)
        elif claim.expire_us <= self._until_us:
            self._end(claim.expire_us, claim.kind, claim.quantity)
        else:
            second = claim.expire_us // SECOND
            bucket = self._buckets.get(second)
            if bucket is None:
                bucket = self._buckets[second] = {}
                heapq.heappush(self._seconds, second)
            key = (claim.expire_us, claim.kind)
            bucket[key] = bucket.get(key, 0) + claim.quantity

    def take(self, claim: Claim) -> bool:
        """Take a claim away, or a part of it; False when there was no such claim, and the sums are then of no use."""
        self._count(claim, -claim.quantity)
        if claim.voided:
            return _move(self._voided, claim.kind, -claim.quantity)
        if claim.expire_us <= self._until_us:
            return _move(self._ended, claim.kind, -claim.quantity)
        # An emptied bucket stays until its second is over: each second is queued once.
        bucket = self._buckets.get(claim.expire_us // SECOND, {})
        return _move(bucket, (claim.expire_us, claim.kind), -claim.quantity)

    def ended(self, at_us: int) -> Iterator[tuple[Kind, int]]:
        """Give the places of holds that ended by a moment although their rows do not say so.

        Moments only grow; an earlier one than before counts as that.
        """
        self._until_us = max(self._until_us, at_us)
        while self._seconds and self._seconds[0] * SECOND <= self._until_us:
            bucket = self._buckets[self._seconds[0]]
            for key in [key for key in bucket if key[0] <= self._until_us]:
                self._end(*key, bucket.pop(key))
            if bucket:
                break
            del self._buckets[heapq.heappop(self._seconds)]
        yield from self._ended.items()
        yield from self._voided.items()

    @property
    def next_us(self) -> int | None:
        """The moment that ends the next claim; None = there is none."""
        while self._seconds:
            bucket = self._buckets[self._seconds[0]]
            if bucket:
                return min(expire_us for expire_us, _ in bucket)
            del self._buckets[heapq.heappop(self._seconds)]
        return None

    def _count(self, claim: Claim, quantity: int) -> None:
        if claim.pending:
            self.pending += quantity
        else:
            self.held += quantity

    def _end(self, expire_us: int, kind: Kind, quantity: int) -> None:
        _move(self._ended, kind, quantity)
        self.last_us = max(self.last_us, expire_us)


def _move(places: dict[K, int], key: K, quantity: int) -> bool:
    """Add places, or take away what is negative; False when there were not so many."""
    now = places.get(key, 0) + quantity
    if now > 0:
        places[key] = now
    else:
        places.pop(key, None)
    return now >= 0
