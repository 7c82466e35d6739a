"""Which event a section, a hold, a block or a sale is of. It never changes, so what is known stays true."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from holdfast.capacity.operations import holds, reading
from holdfast.capacity.operations.access import (
    block_not_found,
    hold_not_found,
    sale_not_found,
    section_not_found,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from holdfast.capacity.rpc.front import Front
    from holdfast.common.database import Transaction
    from holdfast.common.errors import DomainError
    from holdfast.common.rpc_call import Call

KNOWN_MAX: Final = 100_000
DATES_SECONDS: Final = 1.0

Place = tuple[str, str | None]
"""The event of a section, and its date if it is for one only."""
V = TypeVar("V")


class Known(Generic[V]):
    """What is known by organization and id; bounded, oldest out first."""

    __slots__ = ("_known", "_limit")

    def __init__(self, limit: int = KNOWN_MAX) -> None:
        self._limit = limit
        self._known: OrderedDict[tuple[str, str], V] = OrderedDict()

    def get(self, organization_id: str, key: str) -> V | None:
        """Give what is known; None if nothing is."""
        return self._known.get((organization_id, key))

    def put(self, organization_id: str, key: str, value: V) -> None:
        """Take over what was read."""
        self._known[organization_id, key] = value
        if len(self._known) > self._limit:
            self._known.popitem(last=False)


class Turns:
    """Lets one at a time read what many need at once: the others find it known when their turn comes."""

    __slots__ = ("_turns",)

    def __init__(self) -> None:
        self._turns: dict[tuple[str, str], tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def of(self, organization_id: str, key: str) -> AsyncIterator[None]:
        """Wait for one's turn."""
        name = (organization_id, key)
        lock, waiting = self._turns.get(name, (asyncio.Lock(), 0))
        self._turns[name] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._turns[name]
            if waiting == 1:
                del self._turns[name]
            else:
                self._turns[name] = (lock, waiting - 1)


class EventsOf:
    """Finds events, from memory or in one read."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._sections: Known[Place] = Known()
        self._holds: Known[str] = Known()
        self._blocks: Known[str] = Known()
        self._sales: Known[str] = Known()
        self._dates: Known[tuple[str | None, float]] = Known()
        self._turns = Turns()

    def known_section(self, organization_id: str, section_id: str) -> Place | None:
        """Give the event and date of a section if they are at hand."""
        return self._sections.get(organization_id, section_id)

    async def sections(self, call: Call, section_ids: Sequence[str]) -> list[Place]:
        """Give the event and date of each section; SECTION_NOT_FOUND."""
        organization_id = call.organization_id
        if self._unknown(organization_id, section_ids):
            async with self._turns.of(organization_id, "sections"):
                unknown = self._unknown(organization_id, section_ids)
                if unknown:
                    found = await self._front.run(
                        call, lambda transaction: reading.places_of_sections(transaction, unknown)
                    )
                    for section_id, known in found.items():
                        self._sections.put(organization_id, section_id, known)
        places: list[Place] = []
        for section_id in section_ids:
            place = self._sections.get(organization_id, section_id)
            if place is None:
                raise section_not_found(section_id)
            places.append(place)
        return places

    def _unknown(self, organization_id: str, section_ids: Sequence[str]) -> list[str]:
        return sorted({each for each in section_ids if self._sections.get(organization_id, each) is None})

    async def default_schedule(self, call: Call, event_id: str, *, field: str, fresh: bool) -> str | None:
        """Give the date that an event-wide section is for when none is named; VALIDATION_FAILED on `field` if several.

        May be out of date by `DATES_SECONDS`, unless asked for a `fresh` one: whoever uses it checks it under the lock.
        """
        clock = asyncio.get_running_loop().time
        asked = clock()
        known = self._dates.get(call.organization_id, event_id)
        if known is not None and not fresh and known[1] > asked:
            return known[0]
        async with self._turns.of(call.organization_id, event_id):
            known = self._dates.get(call.organization_id, event_id)
            if known is not None and known[1] > asked + DATES_SECONDS:  # read since this was asked
                return known[0]
            now = clock()
            schedule_id = await self._front.run(
                call, lambda transaction: holds.default_schedule_id(transaction, event_id, field=field)
            )
            self._dates.put(call.organization_id, event_id, (schedule_id, now + DATES_SECONDS))
            return schedule_id

    async def section(self, call: Call, section_id: str) -> str:
        """Give the event of a section; SECTION_NOT_FOUND."""
        return (await self.sections(call, [section_id]))[0][0]

    def known_hold(self, organization_id: str, hold_id: str) -> str | None:
        """Give the event of a hold if it is at hand."""
        return self._holds.get(organization_id, hold_id)

    def know_hold(self, organization_id: str, hold_id: str, event_id: str) -> None:
        """Take over the event of a hold."""
        self._holds.put(organization_id, hold_id, event_id)

    async def hold(self, call: Call, hold_id: str) -> str:
        """Give the event of a hold; HOLD_NOT_FOUND."""
        return await self._find(call, self._holds, hold_id, reading.event_of_hold, hold_not_found)

    async def block(self, call: Call, block_id: str) -> str:
        """Give the event of a block; BLOCK_NOT_FOUND."""
        return await self._find(call, self._blocks, block_id, reading.event_of_block, block_not_found)

    async def sale(self, call: Call, sale_id: str) -> str:
        """Give the event of a sale; SALE_NOT_FOUND."""
        return await self._find(call, self._sales, sale_id, reading.event_of_sale, sale_not_found)

    async def _find(
        self,
        call: Call,
        known: Known[str],
        key: str,
        read: Callable[[Transaction, str], Awaitable[str | None]],
        not_found: Callable[[str], DomainError],
    ) -> str:
        event_id = known.get(call.organization_id, key)
        if event_id is None:
            event_id = await self._front.run(call, lambda transaction: read(transaction, key))
            if event_id is None:
                raise not_found(key)
            known.put(call.organization_id, key, event_id)
        return event_id
