"""An event's sections as they truly stand, read in one statement: version, time and counters belong together.

Counters in rows still have the places of holds that ended by time or by a void and were not tidied up; the same
statement adds those up, so that callers see them as free.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, exists, func, literal, select, true, union_all

from holdfast.capacity.store.holds import LIVE_STATES, voided
from holdfast.capacity.store.sections import section_of
from holdfast.capacity.store.tables import blocks, event_inventories, hold_lines, holds, sections, voids

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import CTE, ColumnElement, CompoundSelect, Row, ScalarSelect, Select

    from holdfast.capacity.domain.layouts import Layout
    from holdfast.capacity.domain.sections import Counters, Section
    from holdfast.common.database import Transaction

Cursor = tuple["datetime", str]
_ENDED: Final = ("held", "pending", "blocked")


@dataclass(frozen=True, slots=True)
class SectionView:
    """A section, and its counters as callers see them: places of holds that ended are free, or back in their block.

    Of a seated section also the bitmap of the seats that are claimed, by whomever, and its layout where it was added:
    those that are known are not read again.
    """

    section: Section
    counters: Counters
    layout: Layout | None = None
    taken: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Sections with the version and time at which their counters were true; of named ones, the event's controls."""

    views: tuple[SectionView, ...]
    version: int
    at: datetime
    controls: bytes = b""


async def of_section(transaction: Transaction, section_id: str, *, others: Sequence[str] = ()) -> Snapshot | None:
    """Read a section and those of `others` that its event has; None when there is none of them."""
    event_id = (
        select(sections.c.event_id)
        .where(sections.c.organization_id == transaction.organization_id, sections.c.id == section_id)
        .scalar_subquery()
    )
    found = await _read(transaction, event_id, filters=[sections.c.id.in_([section_id, *others])], controls=True)
    return found if found is not None and found.views else None


async def of_sections(transaction: Transaction, event_id: str, section_ids: Sequence[str]) -> Snapshot | None:
    """Read some sections of an event, those that there are; None when the event is not known here."""
    return await _read(transaction, event_id, filters=[sections.c.id.in_(list(section_ids))])


async def of_event(transaction: Transaction, event_id: str) -> Snapshot | None:
    """Read all sections of an event; None when the event is not known here."""
    return await _read(transaction, event_id, filters=[])


async def page(
    transaction: Transaction, event_id: str, *, limit: int, after: Cursor | None, hidden: bool
) -> Snapshot | None:
    """Read sections in the order of their creation, after a cursor; `hidden` ones only if asked for."""
    filters: list[ColumnElement[bool]] = []
    if not hidden:
        filters.append(sections.c.visible)
    if after is not None:
        create_time, section_id = after
        filters.append(
            (sections.c.create_time > create_time)
            | ((sections.c.create_time == create_time) & (sections.c.id > section_id))
        )
    return await _read(transaction, event_id, filters=filters, limit=limit)


async def _read(
    transaction: Transaction,
    event_id: str | ScalarSelect[str],
    *,
    filters: Sequence[ColumnElement[bool]],
    limit: int | None = None,
    controls: bool = False,
) -> Snapshot | None:
    moment = (
        select(
            event_inventories.c.event_id,
            event_inventories.c.version,
            event_inventories.c.controls,
            func.greatest(func.clock_timestamp(), event_inventories.c.last_change_time).label("at"),
        )
        .where(
            event_inventories.c.organization_id == transaction.organization_id,
            event_inventories.c.event_id == event_id,
        )
        .cte("moment")
    )
    shown = (
        select(*(column for column in sections.c if column.name != "row_layout"))
        .where(
            sections.c.organization_id == transaction.organization_id,
            sections.c.event_id == select(moment.c.event_id).scalar_subquery(),
            sections.c.delete_time.is_(None),
            *filters,
        )
        .order_by(sections.c.create_time, sections.c.id)
        .limit(limit)
        .subquery("shown")
    )
    ended = _ended(transaction, moment).subquery("ended")
    result = await transaction.execute(
        select(
            moment.c.version,
            moment.c.at,
            shown,
            *(func.coalesce(ended.c[name], 0).label(f"ended_{name}") for name in _ENDED),
            (moment.c.controls if controls else literal(b"")).label("controls"),
        )
        .select_from(moment.outerjoin(shown, true()).outerjoin(ended, ended.c.section_id == shown.c.id))
        .order_by(shown.c.create_time, shown.c.id)
    )
    rows = result.all()
    if not rows:
        return None
    return Snapshot(
        views=tuple(_view(row) for row in rows if row.id is not None),
        version=rows[0].version,
        at=rows[0].at,
        controls=bytes(rows[0].controls),
    )


def _view(row: Row[Any]) -> SectionView:
    section = section_of(row)
    known = section.counters
    return SectionView(
        section,
        replace(
            known,
            held=known.held - int(row.ended_held),
            pending=known.pending - int(row.ended_pending),
            blocked=known.blocked + int(row.ended_blocked),
        ),
        taken=0 if row.taken is None else int.from_bytes(row.taken, "little"),
    )


def _ended(transaction: Transaction, moment: CTE) -> Select[Any]:
    """Add up, by section, the places of live rows of holds that ended; `blocked` are those that go back to a block."""
    both = ended_lines(transaction, select(moment.c.event_id).scalar_subquery(), select(moment.c.at).scalar_subquery())
    lines = both.subquery("both")
    back = (
        select(1)
        .where(
            blocks.c.organization_id == transaction.organization_id,
            blocks.c.id == lines.c.block_id,
            blocks.c.end_time.is_(None),
        )
        .exists()
    )
    return select(
        lines.c.section_id,
        func.sum(lines.c.quantity).filter(lines.c.state == "ACTIVE").label("held"),
        func.sum(lines.c.quantity).filter(lines.c.state == "PENDING").label("pending"),
        func.sum(lines.c.quantity).filter(back).label("blocked"),
    ).group_by(lines.c.section_id)


def ended_lines(
    transaction: Transaction, event_id: ColumnElement[str], at: ColumnElement[datetime]
) -> CompoundSelect[Any]:
    """Give the lines of an event's holds that ended by a moment, by time or by a void, and still are live rows."""
    mine = and_(
        holds.c.organization_id == transaction.organization_id,
        holds.c.event_id == event_id,
        holds.c.state.in_(LIVE_STATES),
        hold_lines.c.organization_id == transaction.organization_id,
    )
    # Asked once, so that without an open void nobody looks through the live holds.
    any_void = exists().where(
        voids.c.organization_id == transaction.organization_id,
        voids.c.event_id == event_id,
        voids.c.done.is_(False),
    )
    lines = select(
        hold_lines.c.section_id,
        hold_lines.c.block_id,
        hold_lines.c.quantity,
        hold_lines.c.seats,
        hold_lines.c.labels,
        holds.c.state,
    ).join(holds, (holds.c.organization_id == hold_lines.c.organization_id) & (holds.c.id == hold_lines.c.hold_id))
    return union_all(
        lines.where(mine, holds.c.expire_time <= at),
        lines.where(mine, holds.c.expire_time > at, any_void, voided(transaction)),
    )
