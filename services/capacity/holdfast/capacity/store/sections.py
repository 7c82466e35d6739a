"""Sections as rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from holdfast.capacity.domain.sections import Counters, Crossing, Section, SectionKind
from holdfast.capacity.store.tables import sections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.common.database import Transaction


def crossed_of(text: str) -> frozenset[Crossing]:
    """Read lines that were crossed."""
    return frozenset(Crossing(word) for word in text.split(",") if word)


def counters_of(row: Any) -> Counters:
    """Read the five counters of a row."""
    return Counters(total=row.total, held=row.held, pending=row.pending, sold=row.sold, blocked=row.blocked)


def section_of(row: Any) -> Section:
    """Read a section from a row with its columns by name."""
    return Section(
        section_id=row.id,
        event_id=row.event_id,
        schedule_id=row.schedule_id,
        name=row.name,
        code=row.code,
        subsection=row.subsection,
        kind=SectionKind(row.kind),
        tier=row.tier,
        counters=replace(counters_of(row), buffer=row.buffer),
        min_per_order=row.min_per_order,
        max_per_order=row.max_per_order,
        active=row.active,
        visible=row.visible,
        revision=row.revision,
        crossed=crossed_of(row.crossed),
        layout_revision=row.layout_revision,
        delete_time=row.delete_time,
        create_time=row.create_time,
        update_time=row.update_time,
    )


async def count(transaction: Transaction, event_id: str, *, hidden: bool) -> int:
    """Count an event's sections."""
    query = (
        select(func.count())
        .select_from(sections)
        .where(
            sections.c.organization_id == transaction.organization_id,
            sections.c.event_id == event_id,
            sections.c.delete_time.is_(None),
        )
    )
    if not hidden:
        query = query.where(sections.c.visible)
    return int((await transaction.execute(query)).scalar_one())


async def places(transaction: Transaction, section_ids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    """Return the event and date of sections, deleted ones too: they never change."""
    result = await transaction.execute(
        select(sections.c.id, sections.c.event_id, sections.c.schedule_id).where(
            sections.c.organization_id == transaction.organization_id,
            sections.c.id.in_(list(section_ids)),
        )
    )
    return {row.id: (row.event_id, row.schedule_id) for row in result}
