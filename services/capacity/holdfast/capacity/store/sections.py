"""Sections as rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from holdfast.capacity.domain.sections import Counters, Crossing, Section, SectionKind
from holdfast.capacity.store.tables import sections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Select

    from holdfast.common.database import Transaction

LARGE: Final = frozenset({"row_layout", "taken"})
"""Columns of seated sections that are large."""


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


def _without_seats(transaction: Transaction) -> Select[Any]:
    return select(*(column for column in sections.c if column.name not in LARGE)).where(
        sections.c.organization_id == transaction.organization_id, sections.c.delete_time.is_(None)
    )


async def get(transaction: Transaction, section_id: str) -> Section | None:
    """Return a section that is not deleted, with the counters of its row."""
    row = (await transaction.execute(_without_seats(transaction).where(sections.c.id == section_id))).one_or_none()
    return None if row is None else section_of(row)


async def by_name(transaction: Transaction, event_id: str, name: str) -> list[Section]:
    """Return an event's sections of a name, of any date and number, in the order of their creation."""
    found = await transaction.execute(
        _without_seats(transaction)
        .where(sections.c.event_id == event_id, sections.c.name == name)
        .order_by(sections.c.create_time, sections.c.id)
    )
    return [section_of(row) for row in found]
