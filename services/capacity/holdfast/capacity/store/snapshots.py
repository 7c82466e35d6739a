"""An event's sections as they truly stand, read in one statement: version, time and counters belong together.

Counters in rows still have the places of holds that ended by time or by a void and were not tidied up; the same
statement adds those up, so that callers see them as free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, exists, func, literal, select, true, union_all

from holdfast.capacity.domain.layouts import Layout
from holdfast.capacity.store.holds import LIVE_STATES, voided
from holdfast.capacity.store.sections import section_of
from holdfast.capacity.store.tables import event_inventories, hold_lines, holds, sections, voids

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import CTE, ColumnElement, ScalarSelect, Select

    from holdfast.capacity.domain.sections import Section
    from holdfast.common.database import Transaction

Cursor = tuple["datetime", str]


@dataclass(frozen=True, slots=True)
class SectionView:
    """A section, and its places whose holds ended and were not tidied up: (held, pending).

    Of a seated section also its layout, and the bitmap of the seats that are claimed, by whomever.
    """

    section: Section
    untidied: tuple[int, int]
    layout: Layout | None = None
    taken: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Sections with the version and time at which their counters were true; of one section, the event's controls."""

    views: tuple[SectionView, ...]
    version: int
    at: datetime
    controls: bytes = b""


async def of_section(transaction: Transaction, section_id: str) -> Snapshot | None:
    """Read one section; None when there is none."""
    event_id = (
        select(sections.c.event_id)
        .where(sections.c.organization_id == transaction.organization_id, sections.c.id == section_id)
        .scalar_subquery()
    )
    found = await _read(transaction, event_id, filters=[sections.c.id == section_id], controls=True)
    return found if found is not None and found.views else None


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
        select(sections)
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
            func.coalesce(ended.c.held, 0).label("ended_held"),
            func.coalesce(ended.c.pending, 0).label("ended_pending"),
            (moment.c.controls if controls else literal(b"")).label("controls"),
        )
        .select_from(moment.outerjoin(shown, true()).outerjoin(ended, ended.c.section_id == shown.c.id))
        .order_by(shown.c.create_time, shown.c.id)
    )
    rows = result.all()
    if not rows:
        return None
    return Snapshot(
        views=tuple(
            SectionView(
                section_of(row),
                (int(row.ended_held), int(row.ended_pending)),
                layout=None if row.row_layout is None else Layout.from_json(row.row_layout),
                taken=0 if row.taken is None else int.from_bytes(row.taken, "little"),
            )
            for row in rows
            if row.id is not None
        ),
        version=rows[0].version,
        at=rows[0].at,
        controls=bytes(rows[0].controls),
    )


def _ended(transaction: Transaction, moment: CTE) -> Select[tuple[str, int, int]]:
    """Add up, by section, the places of live rows of holds whose time is over or that a void ended."""
    mine = and_(
        holds.c.organization_id == transaction.organization_id,
        holds.c.event_id == select(moment.c.event_id).scalar_subquery(),
        holds.c.state.in_(LIVE_STATES),
        hold_lines.c.organization_id == transaction.organization_id,
    )
    at = select(moment.c.at).scalar_subquery()
    # Asked once, so that without an open void nobody looks through the live holds.
    any_void = exists().where(
        voids.c.organization_id == transaction.organization_id,
        voids.c.event_id == select(moment.c.event_id).scalar_subquery(),
        voids.c.done.is_(False),
    )
    lines = select(hold_lines.c.section_id, hold_lines.c.quantity, holds.c.state).join(
        holds, (holds.c.organization_id == hold_lines.c.organization_id) & (holds.c.id == hold_lines.c.hold_id)
    )
    both = union_all(
        lines.where(mine, holds.c.expire_time <= at),
        lines.where(mine, holds.c.expire_time > at, any_void, voided(transaction)),
    ).subquery("both")
    return select(
        both.c.section_id,
        func.sum(both.c.quantity).filter(both.c.state == "ACTIVE").label("held"),
        func.sum(both.c.quantity).filter(both.c.state == "PENDING").label("pending"),
    ).group_by(both.c.section_id)
