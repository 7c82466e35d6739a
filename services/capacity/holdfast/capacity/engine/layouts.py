"""Layouts of seated sections, remembered by revision; which seats are taken is read with every batch."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.layouts import Layout
from holdfast.capacity.domain.seats import Seating
from holdfast.capacity.store.arrays import plain
from holdfast.common.database import Statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.capacity.domain.sections import Section
    from holdfast.common.database import Pipeline

REMEMBERED_MAX: Final = 5_000

_TAKEN: Final = """
SELECT s.id, s.taken FROM capacity.sections s WHERE s.organization_id = $1 AND s.id = ANY ($2::text[])"""
_LAYOUTS: Final = """
SELECT s.id, s.layout_revision, s.row_layout FROM capacity.sections s
WHERE s.organization_id = $1 AND s.id = ANY ($2::text[])"""


class Layouts:
    """The layouts that this process has seen, the least used of them out first."""

    def __init__(self, remembered_max: int = REMEMBERED_MAX) -> None:
        self._remembered_max = remembered_max
        self._known: OrderedDict[tuple[str, int], Layout] = OrderedDict()

    async def seatings(self, pipeline: Pipeline, sections: Sequence[Section]) -> dict[str, Seating]:
        """Read the seats of seated sections, by section, under the event's lock."""
        organization_id = pipeline.organization_id
        missing = [each.section_id for each in sections if (each.section_id, each.layout_revision) not in self._known]
        statements = [Statement(_TAKEN, (organization_id, plain(each.section_id for each in sections)))]
        if missing:
            statements.append(Statement(_LAYOUTS, (organization_id, plain(missing))))
        taken, *layouts = await pipeline.send(*statements)
        read: dict[str, Layout] = {}
        for section_id, revision, stored in layouts[0] if layouts else ():
            read[section_id] = self.remember(section_id, revision, Layout.from_json(stored))
        bitmaps = {section_id: bytes(bitmap) for section_id, bitmap in taken}
        return {
            each.section_id: Seating(
                layout=read.get(each.section_id) or self._known[each.section_id, each.layout_revision],
                taken=int.from_bytes(bitmaps[each.section_id], "little"),
            )
            for each in sections
        }

    def remember(self, section_id: str, revision: int, layout: Layout) -> Layout:
        """Keep a layout."""
        self._known[section_id, revision] = layout
        if len(self._known) > self._remembered_max:
            self._known.popitem(last=False)
        return layout

    def find(self, section_id: str, revision: int) -> Layout | None:
        """Give a layout that is remembered."""
        return self._known.get((section_id, revision))
