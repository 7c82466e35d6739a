"""Laying out seats: sections together with all their rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.bitmaps import to_bytes
from holdfast.capacity.domain.sections import Counters, Section, SectionKind
from holdfast.capacity.operations.sections import SectionsMade, check_date, check_name, make_sections
from holdfast.capacity.store.arrays import plain, texts
from holdfast.common.database import Statement

if TYPE_CHECKING:
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.domain.seating import PlannedSection
    from holdfast.capacity.engine.needs import Needs
    from holdfast.capacity.engine.unit import Unit
    from holdfast.common.idempotency import RequestKey

_LAYOUTS: Final = """
UPDATE capacity.sections t SET row_layout = s.row_layout::jsonb, taken = decode(s.taken, 'hex')
FROM unnest($3::text[], $4::text[], $5::text[]) AS s (id, row_layout, taken)
WHERE t.organization_id = $1 AND t.event_id = $2 AND t.id = s.id"""


@dataclass(frozen=True, slots=True)
class GenerateSeating:
    """Makes seated sections with their seats, all or none, checked together against the maxima.

    `section_ids` are as many as there are planned sections, made before the first attempt.
    """

    planned: tuple[PlannedSection, ...]
    section_ids: tuple[str, ...]
    schedule_id: str | None
    key: RequestKey | None

    def need(self, needs: Needs) -> None:
        """Ask for all sections: names are unique, and the maxima are sums over them."""
        needs.all_sections = True
        if self.key is not None:
            needs.keys.add(self.key)

    def decide(self, unit: Unit) -> SectionsMade:
        """Make them."""
        made = make_sections(unit, self.key, self._planned)
        if not made.replayed:
            unit.extra.append(self._layouts(unit.inventory))
        return made

    def _planned(self, inventory: Inventory) -> list[Section]:
        check_date(inventory, self.schedule_id)
        sections: list[Section] = []
        for planned, section_id in zip(self.planned, self.section_ids, strict=True):
            section = self._section(inventory, planned, section_id)
            check_name((*inventory.standing_sections, *sections), section)
            sections.append(section)
        return sections

    def _section(self, inventory: Inventory, planned: PlannedSection, section_id: str) -> Section:
        return Section(
            section_id=section_id,
            event_id=inventory.event_id,
            schedule_id=self.schedule_id,
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
                plain(self.section_ids),
                texts([written[id(planned.layout)] for planned in self.planned]),
                plain(to_bytes(0, planned.layout.size).hex() for planned in self.planned),
            ),
        )
