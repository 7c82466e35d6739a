"""Sales, their lines and their returns as rows."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select

from holdfast.capacity.domain.holds import VoidCause
from holdfast.capacity.domain.parts import Part
from holdfast.capacity.domain.sales import ReturnedLine, ReturnTo, Sale, SaleReturn, SaleState
from holdfast.capacity.store.lines import line_of
from holdfast.capacity.store.tables import sale_lines, sale_return_lines, sale_returns, sales, voids
from holdfast.common.money import Money

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Row, Select

    from holdfast.common.database import Transaction

Cursor = tuple["datetime", str]


@dataclass(frozen=True, slots=True)
class SaleFilter:
    """Which sales a list shows; None and () do not limit. From `from_time` on, before `to_time`."""

    event_id: str | None = None
    customer_id: str | None = None
    states: tuple[SaleState, ...] = ()
    order_reference: str | None = None
    belonging_to: str | None = None
    from_time: datetime | None = None
    to_time: datetime | None = None


async def event_of(transaction: Transaction, sale_id: str) -> str | None:
    """Return the event of a sale, which never changes."""
    result = await transaction.execute(
        select(sales.c.event_id).where(sales.c.organization_id == transaction.organization_id, sales.c.id == sale_id)
    )
    event_id: str | None = result.scalar_one_or_none()
    return event_id


async def get(transaction: Transaction, sale_id: str) -> Sale | None:
    """Return a sale as it is stored."""
    query = select(sales).where(sales.c.organization_id == transaction.organization_id, sales.c.id == sale_id)
    found = await _read(transaction, query)
    return found[0] if found else None


async def page(transaction: Transaction, wanted: SaleFilter, *, limit: int, after: Cursor | None) -> list[Sale]:
    """Return sales, newest first, after a cursor."""
    query = (
        select(sales)
        .where(sales.c.organization_id == transaction.organization_id, *_conditions(transaction, wanted))
        .order_by(sales.c.create_time.desc(), sales.c.id.desc())
        .limit(limit)
    )
    if after is not None:
        create_time, sale_id = after
        query = query.where(
            (sales.c.create_time < create_time) | ((sales.c.create_time == create_time) & (sales.c.id < sale_id))
        )
    return await _read(transaction, query)


async def count(transaction: Transaction, wanted: SaleFilter) -> int:
    """Count the sales of a list."""
    query = (
        select(func.count())
        .select_from(sales)
        .where(sales.c.organization_id == transaction.organization_id, *_conditions(transaction, wanted))
    )
    return int((await transaction.execute(query)).scalar_one())


def _conditions(transaction: Transaction, wanted: SaleFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.event_id is not None:
        conditions.append(sales.c.event_id == wanted.event_id)
    if wanted.customer_id is not None:
        conditions.append(sales.c.customer_id == wanted.customer_id)
    if wanted.belonging_to is not None:
        conditions.append(sales.c.customer_id == wanted.belonging_to)
    if wanted.order_reference is not None:
        conditions.append(sales.c.order_reference == wanted.order_reference)
    if wanted.from_time is not None:
        conditions.append(sales.c.create_time >= wanted.from_time)
    if wanted.to_time is not None:
        conditions.append(sales.c.create_time < wanted.to_time)
    if wanted.states:
        cancelled = _cancelled(transaction)
        conditions.append(
            or_(
                *(
                    cancelled if state is SaleState.CANCELLED else (sales.c.state == state) & ~cancelled
                    for state in wanted.states
                )
            )
        )
    return conditions


def _cancelled(transaction: Transaction) -> ColumnElement[bool]:
    """Say in SQL that all that is left of a sale is cancelled, by its row or by an open void: what `Sale.seen` says."""
    left = (
        select(1)
        .select_from(sale_lines)
        .where(
            sale_lines.c.organization_id == transaction.organization_id,
            sale_lines.c.sale_id == sales.c.id,
            sale_lines.c.quantity > sale_lines.c.returned_quantity + sale_lines.c.exchanged_quantity,
        )
    )
    by_void = (
        select(1)
        .select_from(voids)
        .where(
            voids.c.organization_id == transaction.organization_id,
            voids.c.event_id == sales.c.event_id,
            voids.c.done.is_(False),
            voids.c.cause != VoidCause.EVENT_POSTPONED,
            (voids.c.schedule_id == "") | (voids.c.schedule_id == sale_lines.c.schedule_id),
        )
        .correlate(sales, sale_lines)
        .exists()
    )
    return left.exists() & ~left.where(~sale_lines.c.cancelled, ~by_void).exists()


async def _read(transaction: Transaction, query: Select[Any]) -> list[Sale]:
    """Read sales and their lines in one statement: how much of them came back belongs together."""
    shown = query.subquery("shown")
    result = await transaction.execute(
        select(
            *(column.label(f"sale_{name}") for name, column in shown.c.items() if name != "id"),
            sale_lines,
        )
        .join(
            sale_lines,
            (sale_lines.c.organization_id == transaction.organization_id) & (sale_lines.c.sale_id == shown.c.id),
        )
        .order_by(shown.c.create_time.desc(), shown.c.id.desc(), sale_lines.c.number)
    )
    lines: dict[str, list[Row[Any]]] = defaultdict(list)
    for line in result:
        lines[line.sale_id].append(line)
    return [sale_of(each) for each in lines.values()]


def sale_of(lines: Sequence[Any]) -> Sale:
    """Read a sale from the rows of its lines, with the sale's own columns as `sale_…`."""
    row = lines[0]
    return Sale(
        sale_id=row.sale_id,
        event_id=row.sale_event_id,
        hold_id=row.sale_hold_id,
        customer_id=row.sale_customer_id,
        state=SaleState(row.sale_state),
        lines=tuple(line_of(line) for line in lines),
        create_time=row.sale_create_time,
        order_reference=row.sale_order_reference,
        cancelled_lines=frozenset(line.number for line in lines if line.cancelled),
        returned={
            line.number: Part(line.returned_quantity, tuple(line.returned_seats))
            for line in lines
            if line.returned_quantity
        },
        exchanged={
            line.number: Part(line.exchanged_quantity, tuple(line.exchanged_seats))
            for line in lines
            if line.exchanged_quantity
        },
        update_time=row.sale_update_time,
        revision=row.sale_revision,
    )


async def returns_of(transaction: Transaction, sale_ids: Iterable[str]) -> dict[str, list[SaleReturn]]:
    """Return what came back of sales, by sale, oldest first."""
    result = await transaction.execute(
        select(sale_returns, sale_return_lines)
        .join(
            sale_return_lines,
            (sale_return_lines.c.organization_id == sale_returns.c.organization_id)
            & (sale_return_lines.c.return_id == sale_returns.c.id),
        )
        .where(
            sale_returns.c.organization_id == transaction.organization_id,
            sale_return_lines.c.organization_id == transaction.organization_id,
            sale_returns.c.sale_id.in_(list(sale_ids)),
        )
        .order_by(sale_returns.c.create_time, sale_returns.c.id, sale_return_lines.c.number)
    )
    rows: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in result:
        rows[row.id].append(row)
    found: dict[str, list[SaleReturn]] = defaultdict(list)
    for parts in rows.values():
        first = parts[0]
        found[first.sale_id].append(
            SaleReturn(
                return_id=first.id,
                sale_id=first.sale_id,
                lines=tuple(_returned_line(part) for part in parts),
                return_to=ReturnTo(first.return_to),
                note=first.note,
                actor=first.actor,
                create_time=first.create_time,
            )
        )
    return found


def _returned_line(row: Row[Any]) -> ReturnedLine:
    return ReturnedLine(
        number=row.number,
        quantity=row.quantity,
        seats=tuple(row.seats),
        labels=tuple(row.labels),
        amount=None if row.amount_minor is None else Money(row.amount_minor, row.currency_code),
        block_id=row.block_id,
    )
