"""Laying out seats: sections together with all their rows, and the saga of those that have prices."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.bitmaps import to_bytes
from holdfast.capacity.domain.sections import Counters, Section, SectionKind
from holdfast.capacity.engine.unit import key_reused
from holdfast.capacity.operations.sections import (
    SectionsMade,
    check_date,
    check_name,
    check_new,
    find_made,
    make_sections,
)
from holdfast.capacity.store import inventories
from holdfast.capacity.store import seating_sagas as store
from holdfast.capacity.store.arrays import plain, texts
from holdfast.common import idempotency
from holdfast.common.database import Statement
from holdfast.common.errors import DomainError
from holdfast.common.idempotency import RequestKey

if TYPE_CHECKING:
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.domain.seating import PlannedSection
    from holdfast.capacity.domain.seating_sagas import SeatingSaga
    from holdfast.capacity.engine.needs import Needs
    from holdfast.capacity.engine.reading import Reader
    from holdfast.capacity.engine.unit import Unit
    from holdfast.common.database import Pipeline, Transaction

RPC: Final = "GenerateSeating"
_LAYOUTS: Final = """
UPDATE capacity.sections t SET row_layout = s.row_layout::jsonb, taken = decode(s.taken, 'hex')
FROM unnest($3::text[], $4::text[], $5::text[]) AS s (id, row_layout, taken)
WHERE t.organization_id = $1 AND t.event_id = $2 AND t.id = s.id"""


@dataclass(frozen=True, slots=True)
class _Seating:
    """Sections to be made with their seats, and the saga that makes them. Both are the same in every attempt."""

    saga: SeatingSaga
    planned: tuple[PlannedSection, ...]

    @property
    def key(self) -> RequestKey:
        """The key of the request."""
        saga = self.saga
        return RequestKey(saga.caller, RPC, saga.request_id, saga.fingerprint)

    def need(self, needs: Needs) -> None:
        """Ask for all sections, as names are unique and the maxima are sums over them, and for what is under way."""
        needs.all_sections = True
        needs.keys.add(self.key)
        needs.more.append(self._load)

    async def _load(self, unit: Unit, pipeline: Pipeline, _: Reader) -> None:
        saga = self.saga
        (found,) = await pipeline.send(store.of_request(saga.organization_id, saga.caller, saga.request_id))
        for running in store.sagas_of(found):
            unit.sagas.setdefault(running.name, running)

    def _make(self, unit: Unit) -> SectionsMade:
        made = make_sections(unit, self.key, self._sections)
        if not made.replayed:
            unit.extra.append(self._layouts(unit.inventory))
        return made

    def _sections(self, inventory: Inventory) -> list[Section]:
        check_date(inventory, self.saga.schedule_id)
        sections: list[Section] = []
        for planned, section_id in zip(self.planned, self.saga.section_ids, strict=True):
            section = self._section(inventory, planned, section_id)
            check_name((*inventory.standing_sections, *sections), section)
            sections.append(section)
        return sections

    def _section(self, inventory: Inventory, planned: PlannedSection, section_id: str) -> Section:
        return Section(
            section_id=section_id,
            event_id=inventory.event_id,
            schedule_id=self.saga.schedule_id,
            name=planned.name,
            code=planned.code,
            tier=planned.tier,
            subsection=planned.subsection,
            kind=SectionKind.SEATED,
            counters=Counters(total=planned.layout.size),
            create_time=inventory.at,
            update_time=inventory.at,
            layout_revision=planned.layout.revision,
        )

    def _layouts(self, inventory: Inventory) -> Statement:
        # The parts of a split section share their layout: it is written out once.
        written: dict[int, str] = {}
        for planned in self.planned:
            written.setdefault(id(planned.layout), json.dumps(planned.layout.to_json()))
        return Statement(
            _LAYOUTS,
            (
                inventory.organization_id,
                inventory.event_id,
                plain(self.saga.section_ids),
                texts([written[id(planned.layout)] for planned in self.planned]),
                plain(to_bytes(0, planned.layout.size).hex() for planned in self.planned),
            ),
        )


class BeginSeating(_Seating):
    """Makes seated sections with their seats, all or none, if none has a price; else begins the saga that makes them.

    What would refuse the sections now refuses it before anything is begun.
    """

    def decide(self, unit: Unit) -> SectionsMade | SeatingSaga:
        """Give what was made, now or before, or the saga: this one, or the one of the same request under way."""
        saga = self.saga
        running = unit.sagas.get(saga.name)
        if running is not None:
            if running.fingerprint != saga.fingerprint:
                raise key_reused(saga.request_id)
            return running
        if not saga.price_tier_ids:
            return self._make(unit)
        known = find_made(unit, self.key)
        if known is not None:
            return known
        inventory = unit.inventory
        check_new(inventory, self._sections)
        unit.sagas[saga.name] = saga
        unit.extra.append(store.begin(saga, inventory.at))
        return saga


@dataclass(frozen=True, slots=True)
class DecideSeating(_Seating):
    """Makes the sections of a saga whose price tiers are there, or notes why not: `refusal`, or what refuses them."""

    refusal: DomainError | None = None

    def decide(self, unit: Unit) -> SectionsMade | SeatingSaga | None:
        """Give the sections, or the saga with its refusal; None when it came to an end that left nothing of it."""
        known = unit.replayed(self.key)
        if known is not None:
            return SectionsMade(tuple(known.split(",")), unit.inventory.version, replayed=True)
        saga = unit.sagas.get(self.saga.name)
        if saga is None or saga.saga_id != self.saga.saga_id:
            return None
        if saga.refusal is not None:
            return saga
        refusal = self.refusal
        if refusal is None:
            try:
                made = self._make(unit)
            except DomainError as error:
                refusal = error
            else:
                del unit.sagas[saga.name]
                unit.extra.append(store.end(saga))
                return made
        unit.sagas[saga.name] = refused = saga.refused(refusal)
        unit.extra.append(store.refuse(refused, unit.inventory.at))
        return refused


async def find_seating(transaction: Transaction, event_id: str, key: RequestKey) -> SectionsMade | SeatingSaga | None:
    """Find what a request made, or is about to make. Raises IDEMPOTENCY_KEY_REUSED."""
    known = await idempotency.replayed(transaction, key)
    inventory = None if known is None else await inventories.read(transaction, event_id)
    if known is not None and inventory is not None:
        return SectionsMade(tuple(known.split(",")), inventory.version, replayed=True)
    saga = await store.find(transaction, caller=key.caller, request_id=key.request_id)
    if saga is not None and saga.fingerprint != key.fingerprint:
        raise key_reused(key.request_id)
    return saga
