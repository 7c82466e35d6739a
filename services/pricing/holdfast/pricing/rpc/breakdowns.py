"""Price breakdowns as messages, kept for the next line that costs the same."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from holdfast.pricing import convert

if TYPE_CHECKING:
    from collections.abc import Hashable

    from holdfast.api.pricing.v1 import locked_price_pb2
    from holdfast.pricing.domain.price_locks import PriceLock

ENTRIES_MAX: Final = 1024


class Breakdowns:
    """The breakdowns used last, at most `entries_max`.

    Never stale: each belongs to a version of a tier, which never changes, and which version is in force is read from
    the database every time.
    """

    def __init__(self, entries_max: int = ENTRIES_MAX) -> None:
        self._entries_max = entries_max
        self._entries: OrderedDict[Hashable, locked_price_pb2.PriceBreakdown] = OrderedDict()

    def of(self, lock: PriceLock) -> locked_price_pb2.PriceBreakdown:
        """Give the breakdown of a lock's price. The caller copies it, never changes it."""
        key = lock.same_price()
        message = self._entries.get(key)
        if message is None:
            message = self._entries[key] = convert.price_breakdown(lock.breakdown())
            if len(self._entries) > self._entries_max:
                self._entries.popitem(last=False)
        else:
            self._entries.move_to_end(key)
        return message
