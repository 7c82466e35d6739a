"""Holds and their lines as rows."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from holdfast.capacity.domain.holds import LIVE, Hold, HoldState, Line, Void, VoidCause
from holdfast.capacity.store.lines import line_of, line_values
from holdfast.capacity.store.tables import hold_lines, holds, sale_lines, sales, voids
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Row, Select

    from holdfast.common.database import Transaction

LIVE_STATES = sorted(LIVE)
REQUEST_INDEX = "holds_request"
Cursor = tuple["datetime", str]


def _hold(row: Row[Any], lines: Sequence[Line]) -> Hold:
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
    return [_hold(row, lines[row.id]) for row in rows]


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


async def place_of(transaction: Transaction, hold_id: str) -> tuple[str, list[str]] | None:
    """Return the event and the sections of a hold, which never change."""
    result = await transaction.execute(
        select(holds.c.event_id, func.array_agg(hold_lines.c.section_id).label("section_ids"))
        .join(
            hold_lines,
            (hold_lines.c.organization_id == holds.c.organization_id) & (hold_lines.c.hold_id == holds.c.id),
        )
        .where(
            holds.c.organization_id == transaction.organization_id,
            hold_lines.c.organization_id == transaction.organization_id,
            holds.c.id == hold_id,
        )
        .group_by(holds.c.event_id)
    )
    row = result.one_or_none()
    return None if row is None else (row.event_id, row.section_ids)


async def by_request(transaction: Transaction, *, hold_id: str, placed_by: str, request_id: str) -> Hold | None:
    """Return the hold that a caller placed under a request id, or, without one, under the id made for it."""
    mine = holds.c.id == hold_id
    if request_id:
        # The second condition names the partial index.
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


def _live(transaction: Transaction, event_id: str) -> list[ColumnElement[bool]]:
    return [
        holds.c.organization_id == transaction.organization_id,
        holds.c.event_id == event_id,
        holds.c.state.in_(LIVE_STATES),
    ]


async def expired(
    transaction: Transaction, event_id: str, at: datetime, *, section_id: str | None = None, limit: int
) -> list[Hold]:
    """Return live holds whose time is over, oldest first; of a section, or of the whole event."""
    query = select(holds).where(*_live(transaction, event_id), holds.c.expire_time <= at)
    if section_id is not None:
        query = query.where(_has_line(transaction, hold_lines.c.section_id == section_id))
    return await _read(transaction, query.order_by(holds.c.expire_time, holds.c.id).limit(limit))


async def next_expire_time(
    transaction: Transaction, event_id: str, *, section_id: str | None = None, after: datetime | None = None
) -> datetime | None:
    """Return when the first live hold ends, tidied up or not; of a section, or of the whole event."""
    query = select(holds.c.expire_time).where(*_live(transaction, event_id))
    if after is not None:
        query = query.where(holds.c.expire_time > after)
    if section_id is not None:
        query = query.where(_has_line(transaction, hold_lines.c.section_id == section_id))
    result = await transaction.execute(query.order_by(holds.c.expire_time, holds.c.id).limit(1))
    moment: datetime | None = result.scalar_one_or_none()
    return moment


async def ended_by(transaction: Transaction, event_id: str, void: Void, *, limit: int) -> list[Hold]:
    """Return live holds that a void ends, oldest first."""
    query = select(holds).where(*_live(transaction, event_id), holds.c.placed_version <= void.through_version)
    if not void.includes_pending:
        query = query.where(holds.c.state == HoldState.ACTIVE)
    if void.schedule_id is not None:
        query = query.where(_has_line(transaction, hold_lines.c.schedule_id == void.schedule_id))
    return await _read(transaction, query.order_by(holds.c.expire_time, holds.c.id).limit(limit))


async def claimed(
    transaction: Transaction, *, event_id: str, customer_id: str, price_tier_ids: Sequence[str], at: datetime
) -> dict[str, int]:
    """Return how many tickets of each tier a customer has in live holds and in sales of an event."""
    if not price_tier_ids:
        return {}
    tiers = list(price_tier_ids)
    held = (
        select(hold_lines.c.price_tier_id, hold_lines.c.quantity)
        .join(holds, (holds.c.organization_id == hold_lines.c.organization_id) & (holds.c.id == hold_lines.c.hold_id))
        .where(
            *_live(transaction, event_id),
            holds.c.customer_id == customer_id,
            holds.c.expire_time > at,
            ~voided(transaction),
            hold_lines.c.organization_id == transaction.organization_id,
            hold_lines.c.price_tier_id.in_(tiers),
        )
    )
    sold = (
        select(sale_lines.c.price_tier_id, sale_lines.c.quantity - sale_lines.c.returned_quantity)
        .join(sales, (sales.c.organization_id == sale_lines.c.organization_id) & (sales.c.id == sale_lines.c.sale_id))
        .where(
            sales.c.organization_id == transaction.organization_id,
            sales.c.event_id == event_id,
            sales.c.customer_id == customer_id,
            sale_lines.c.organization_id == transaction.organization_id,
            sale_lines.c.price_tier_id.in_(tiers),
        )
    )
    both = held.union_all(sold).subquery()
    result = await transaction.execute(
        select(both.c.price_tier_id, func.sum(both.c.quantity).label("quantity")).group_by(both.c.price_tier_id)
    )
    return {row.price_tier_id: int(row.quantity) for row in result}


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


async def add(transaction: Transaction, new: Sequence[Hold]) -> None:
    """Insert holds with their lines.

    IDEMPOTENCY_KEY_REUSED when a request id is taken: by a hold of another event, so of other content, because the
    caller looked under this event's lock.
    """
    try:
        await transaction.execute(insert(holds), _rows(transaction, new))
    except IntegrityError as error:
        if REQUEST_INDEX not in str(error.orig):
            raise
        raise DomainError(
            Reason.IDEMPOTENCY_KEY_REUSED,
            "this request_id was used before with other content",
            metadata={"request_id": new[0].request_id} if len(new) == 1 else {},
        ) from None
    await transaction.execute(
        insert(hold_lines),
        [
            {"organization_id": transaction.organization_id, "hold_id": hold.hold_id, **line_values(line)}
            for hold in new
            for line in hold.lines
        ],
    )


def _rows(transaction: Transaction, new: Sequence[Hold]) -> list[dict[str, Any]]:
    return [
        {
            "organization_id": transaction.organization_id,
            "id": hold.hold_id,
            "event_id": hold.event_id,
            "customer_id": hold.customer_id,
            "placed_by": hold.placed_by,
            "request_id": hold.request_id,
            "request_hash": hold.request_hash,
            "create_time": hold.create_time,
            "expire_time": hold.expire_time,
            "placed_version": hold.placed_version,
            **_standing(hold),
        }
        for hold in sorted(new, key=lambda each: each.request_id)
    ]


def _standing(hold: Hold) -> dict[str, Any]:
    return {
        "state": hold.state.value,
        "order_reference": hold.order_reference,
        "end_time": hold.end_time,
        "void_cause": None if hold.void_cause is None else hold.void_cause.value,
        "sale_id": hold.sale_id,
        "revision": hold.revision,
    }


_CHANGE = (
    update(holds)
    .where(holds.c.organization_id == bindparam("b_organization_id"), holds.c.id == bindparam("b_id"))
    .values(
        {
            name: bindparam(f"v_{name}")
            for name in ("state", "order_reference", "end_time", "void_cause", "sale_id", "revision")
        }
    )
)


async def change(transaction: Transaction, changed: Sequence[Hold]) -> None:
    """Write holds back; the event's lock is held."""
    await transaction.execute(
        _CHANGE,
        [
            {
                "b_organization_id": transaction.organization_id,
                "b_id": hold.hold_id,
                **{f"v_{name}": value for name, value in _standing(hold).items()},
            }
            for hold in changed
        ],
    )


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
