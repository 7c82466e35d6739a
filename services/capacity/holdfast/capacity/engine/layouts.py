"""Layouts of seated sections, remembered by revision; which seats are taken comes with every batch."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.layouts import Layout
from holdfast.capacity.domain.seats import Seating
from holdfast.capacity.store.arrays import plain
from holdfast.capacity.store.layouts import READ, read
from holdfast.common.database import Statement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.capacity.domain.sections import Section
    from holdfast.common.database import Pipeline, Transaction

REMEMBERED_SEATS_MAX: Final = 2_000_000
"""Seats of all layouts that a process keeps; with its labels, a seat takes about 140 bytes."""


class Layouts:
    """The layouts that this process has seen, the least used of them out first."""

    def __init__(self, seats_max: int = REMEMBERED_SEATS_MAX) -> None:
        self._seats_max = seats_max
        self._seats = 0
        self._known: OrderedDict[tuple[str, int], Layout] = OrderedDict()

    async def seatings(
        self, pipeline: Pipeline, sections: Mapping[str, Section], taken: Mapping[str, int]
    ) -> dict[str, Seating]:
        """Give the seats of the sections that `taken` has bitmaps of; reads layouts that are not remembered."""
        revisions = {section_id: sections[section_id].layout_revision for section_id in taken}
        layouts = self._known_of(revisions)
        missing = sorted(revisions.keys() - layouts.keys())
        if missing:
            (found,) = await pipeline.send(Statement(READ, (pipeline.require_organization(), plain(missing))))
            for section_id, revision, stored in found:
                layouts[section_id] = self._remember(section_id, revision, Layout.from_json(stored))
        return {section_id: Seating(layout=layouts[section_id], taken=bitmap) for section_id, bitmap in taken.items()}

    async def read(self, transaction: Transaction, revisions: Mapping[str, int]) -> dict[str, Layout]:
        """Give the layouts of sections, whose revisions were read in the same snapshot, or newer ones."""
        layouts = self._known_of(revisions)
        missing = sorted(revisions.keys() - layouts.keys())
        if missing:
            for section_id, layout in (await read(transaction, missing)).items():
                layouts[section_id] = self._remember(section_id, layout.revision, layout)
        return layouts

    def _known_of(self, revisions: Mapping[str, int]) -> dict[str, Layout]:
        layouts: dict[str, Layout] = {}
        for section_id, revision in revisions.items():
            known = self._known.get((section_id, revision))
            if known is not None:
                self._known.move_to_end((section_id, revision))
                layouts[section_id] = known
        return layouts

    def _remember(self, section_id: str, revision: int, layout: Layout) -> Layout:
        """Keep a layout, and let those go that were not used for longest."""
        if (section_id, revision) not in self._known:
            self._seats += layout.size
        self._known[section_id, revision] = layout
        while self._seats > self._seats_max and len(self._known) > 1:
            _, gone = self._known.popitem(last=False)
            self._seats -= gone.size
        return layout
