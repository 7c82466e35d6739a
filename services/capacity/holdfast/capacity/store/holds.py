"""Holds and their lines as rows."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select

from holdfast.capacity.domain.holds import LIVE, Hold, HoldState, Line, VoidCause
from holdfast.capacity.store.lines import line_of
from holdfast.capacity.store.tables import hold_lines, holds, voids

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Select

    from holdfast.common.database import Transaction

LIVE_STATES = sorted(LIVE)
REQUEST_INDEX = "holds_request"
Cursor = tuple["datetime", str]


def hold_of(row: Any, lines: Sequence[Line]) -> Hold:
    """Read a hold from a row with its columns by name."""
    return Hold(
        hold_id=row.id,
        event_id=row.event_id,
        customer_id=row.customer_id,
        placed_by=row.placed_by,
        state=HoldState(row.state),
        lines=tuple(lines),
        create_time=row.create_time,
        expire_time=row.expire_time,
        placed_version=row.placed_version,
        order_reference=row.order_reference,
        request_id=row.request_id,
        request_hash=bytes(row.request_hash),
        end_time=row.end_time,
        void_cause=None if row.void_cause is None else VoidCause(row.void_cause),
        sale_id=row.sale_id,
        replaces_hold_id=row.replaces_hold_id,
        payment_time=row.payment_time,
        revision=row.revision,
    )


async def _read(transaction: Transaction, query: Select[Any]) -> list[Hold]:
    rows = (await transaction.execute(query)).all()
    if not rows:
        return []
    lines: dict[str, list[Line]] = defaultdict(list)
    found = await transaction.execute(
        select(hold_lines)
        .where(
            hold_lines.c.organization_id == transaction.organization_id,
            hold_lines.c.hold_id.in_([row.id for row in rows]),
        )
        .order_by(hold_lines.c.hold_id, hold_lines.c.number)
    )
    for line in found:
        lines[line.hold_id].append(line_of(line))
    return [hold_of(row, lines[row.id]) for row in rows]


def voided(transaction: Transaction) -> ColumnElement[bool]:
    """Say in SQL that a void ends a live hold whose row was not brought up to date: what `Void.ends` says."""
    of_its_date = _has_line(transaction, hold_lines.c.schedule_id == voids.c.schedule_id)
    return (
        select(1)
        .select_from(voids)
        .where(
            voids.c.organization_id == transaction.organization_id,
            voids.c.event_id == holds.c.event_id,
            voids.c.done.is_(False),
            voids.c.through_version >= holds.c.placed_version,
            voids.c.effect_time < holds.c.expire_time,
            (voids.c.cause != VoidCause.EVENT_POSTPONED) | (holds.c.state == HoldState.ACTIVE),
            (voids.c.schedule_id == "") | of_its_date,
        )
        .exists()
    )


async def get(transaction: Transaction, hold_id: str) -> Hold | None:
    """Return a hold as it is stored."""
    query = select(holds).where(holds.c.organization_id == transaction.organization_id, holds.c.id == hold_id)
    found = await _read(transaction, query)
    return found[0] if found else None


async def events_of(transaction: Transaction, hold_ids: Sequence[str]) -> dict[str, str]:
    """Return the events of holds, which never change."""
    result = await transaction.execute(
        select(holds.c.id, holds.c.event_id).where(
            holds.c.organization_id == transaction.organization_id, holds.c.id.in_(list(hold_ids))
        )
    )
    return {row.id: row.event_id for row in result}


async def by_request(transaction: Transaction, *, placed_by: str, request_id: str) -> Hold | None:
    """Return the hold that a caller placed under a request id."""
    # The last condition names the partial index.
    mine = (holds.c.placed_by == placed_by) & (holds.c.request_id == request_id) & (holds.c.request_id != "")
    found = await _read(transaction, select(holds).where(holds.c.organization_id == transaction.organization_id, mine))
    return found[0] if found else None


def _has_line(transaction: Transaction, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return (
        select(1)
        .select_from(hold_lines)
        .where(
            hold_lines.c.organization_id == transaction.organization_id,
            hold_lines.c.hold_id == holds.c.id,
            *conditions,
        )
        .exists()
    )


async def page(
    transaction: Transaction, *, filters: Sequence[ColumnElement[bool]], limit: int, after: Cursor | None
) -> list[Hold]:
    """Return holds, newest first, after a cursor."""
    query = (
        select(holds)
        .where(holds.c.organization_id == transaction.organization_id, *filters)
        .order_by(holds.c.create_time.desc(), holds.c.id.desc())
        .limit(limit)
    )
    if after is not None:
        create_time, hold_id = after
        query = query.where(
            (holds.c.create_time < create_time) | ((holds.c.create_time == create_time) & (holds.c.id < hold_id))
        )
    return await _read(transaction, query)


def filters(  # noqa: PLR0913 (what a list can be limited by)
    transaction: Transaction,
    at: datetime,
    *,
    event_id: str | None,
    customer_id: str | None,
    states: Sequence[HoldState],
    order_reference: str | None,
    belonging_to: str | None,
) -> list[ColumnElement[bool]]:
    """Give the conditions of a list. Holds count as what they are at a moment, whether or not they were tidied up."""
    conditions: list[ColumnElement[bool]] = []
    if event_id is not None:
        conditions.append(holds.c.event_id == event_id)
    if customer_id is not None:
        conditions.append(holds.c.customer_id == customer_id)
    if order_reference is not None:
        conditions.append(holds.c.order_reference == order_reference)
    if belonging_to is not None:
        conditions.append((holds.c.customer_id == belonging_to) | (holds.c.placed_by == belonging_to))
    if states:
        live = holds.c.state.in_(LIVE_STATES)
        void = live & voided(transaction)
        over = live & (holds.c.expire_time <= at) & ~voided(transaction)
        of_state = {
            HoldState.EXPIRED: over | (holds.c.state == HoldState.EXPIRED),
            HoldState.VOIDED: void | (holds.c.state == HoldState.VOIDED),
        }
        conditions.append(or_(*(of_state.get(state, (holds.c.state == state) & ~over & ~void) for state in states)))
    return conditions


async def count(transaction: Transaction, conditions: Sequence[ColumnElement[bool]]) -> int:
    """Count the holds of a list."""
    query = (
        select(func.count())
        .select_from(holds)
        .where(holds.c.organization_id == transaction.organization_id, *conditions)
    )
    return int((await transaction.execute(query)).scalar_one())
