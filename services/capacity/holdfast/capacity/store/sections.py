"""Sections as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, func, insert, select, update

from holdfast.capacity.domain.sections import Counters, Crossing, Section, SectionKind
from holdfast.capacity.store.tables import sections

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Row

    from holdfast.common.database import Transaction


def crossed_text(crossed: Iterable[Crossing]) -> str:
    """Give lines that were crossed as one column."""
    return ",".join(sorted(crossed))


def crossed_of(text: str) -> frozenset[Crossing]:
    """Read lines that were crossed."""
    return frozenset(Crossing(word) for word in text.split(",") if word)


def counters_of(row: Row[Any]) -> Counters:
    """Read the five counters of a row."""
    return Counters(total=row.total, held=row.held, pending=row.pending, sold=row.sold, blocked=row.blocked)


def section_of(row: Row[Any]) -> Section:
    """Read a section."""
    return Section(
        section_id=row.id,
        event_id=row.event_id,
        schedule_id=row.schedule_id,
        name=row.name,
        code=row.code,
        subsection=row.subsection,
        kind=SectionKind(row.kind),
        tier=row.tier,
        counters=counters_of(row),
        min_per_order=row.min_per_order,
        max_per_order=row.max_per_order,
        active=row.active,
        visible=row.visible,
        revision=row.revision,
        crossed=crossed_of(row.crossed),
        create_time=row.create_time,
        update_time=row.update_time,
    )


async def find_event(transaction: Transaction, section_id: str) -> str | None:
    """Return the event of a section, which never changes."""
    result = await transaction.execute(
        select(sections.c.event_id).where(
            sections.c.organization_id == transaction.organization_id, sections.c.id == section_id
        )
    )
    event_id: str | None = result.scalar_one_or_none()
    return event_id


async def of_event(transaction: Transaction, event_id: str, *, only: Sequence[str] | None = None) -> dict[str, Section]:
    """Return an event's sections by id; `only` limits them."""
    query = select(sections).where(
        sections.c.organization_id == transaction.organization_id, sections.c.event_id == event_id
    )
    if only is not None:
        query = query.where(sections.c.id.in_(list(only)))
    return {row.id: section_of(row) for row in await transaction.execute(query)}


async def count(transaction: Transaction, event_id: str, *, hidden: bool) -> int:
    """Count an event's sections."""
    query = (
        select(func.count())
        .select_from(sections)
        .where(sections.c.organization_id == transaction.organization_id, sections.c.event_id == event_id)
    )
    if not hidden:
        query = query.where(sections.c.visible)
    return int((await transaction.execute(query)).scalar_one())


def _settings(section: Section) -> dict[str, Any]:
    return {
        "name": section.name,
        "code": section.code,
        "tier": section.tier,
        "total": section.counters.total,
        "held": section.counters.held,
        "pending": section.counters.pending,
        "sold": section.counters.sold,
        "blocked": section.counters.blocked,
        "min_per_order": section.min_per_order,
        "max_per_order": section.max_per_order,
        "active": section.active,
        "visible": section.visible,
        "crossed": crossed_text(section.crossed),
        "revision": section.revision,
        "update_time": section.update_time,
    }


async def add(transaction: Transaction, new: Sequence[Section]) -> None:
    """Insert sections. IntegrityError of `sections_name` when a name is taken."""
    await transaction.execute(
        insert(sections),
        [
            {
                "organization_id": transaction.organization_id,
                "id": section.section_id,
                "event_id": section.event_id,
                "schedule_id": section.schedule_id,
                "subsection": section.subsection,
                "kind": section.kind.value,
                "buffer": 0,
                "row_layout": None,
                "taken": None,
                "create_time": section.create_time,
                **_settings(section),
            }
            for section in new
        ],
    )


_UPDATE = (
    update(sections)
    .where(sections.c.organization_id == bindparam("b_organization_id"), sections.c.id == bindparam("b_id"))
    .values(
        {
            name: bindparam(f"v_{name}")
            for name in (
                "name",
                "code",
                "tier",
                "total",
                "held",
                "pending",
                "sold",
                "blocked",
                "min_per_order",
                "max_per_order",
                "active",
                "visible",
                "crossed",
                "revision",
                "update_time",
            )
        }
    )
)


async def change(transaction: Transaction, changed: Sequence[Section]) -> None:
    """Write sections back; the event's lock is held."""
    await transaction.execute(
        _UPDATE,
        [
            {
                "b_organization_id": transaction.organization_id,
                "b_id": section.section_id,
                **{f"v_{name}": value for name, value in _settings(section).items()},
            }
            for section in changed
        ],
    )


async def places(transaction: Transaction, section_ids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    """Return the event and date of sections, which never change."""
    result = await transaction.execute(
        select(sections.c.id, sections.c.event_id, sections.c.schedule_id).where(
            sections.c.organization_id == transaction.organization_id, sections.c.id.in_(list(section_ids))
        )
    )
    return {row.id: (row.event_id, row.schedule_id) for row in result}
