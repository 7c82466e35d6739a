"""What a batch writes of returns and exchanges: how much of lines is gone, and the returns themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.capacity.store.arrays import lists, plain, texts
from holdfast.common.database import Statement

if TYPE_CHECKING:
    from holdfast.capacity.domain.inventory import Inventory

_GONE: Final = """
UPDATE capacity.sale_lines t SET returned_quantity = l.returned_quantity,
  returned_seats = l.returned_seats::integer[], exchanged_quantity = l.exchanged_quantity,
  exchanged_seats = l.exchanged_seats::integer[]
FROM unnest($2::text[], $3::integer[], $4::integer[], $5::text[], $6::integer[], $7::text[])
  AS l (sale_id, number, returned_quantity, returned_seats, exchanged_quantity, exchanged_seats)
WHERE t.organization_id = $1 AND t.sale_id = l.sale_id AND t.number = l.number AND t.sale_id = ANY ($2::text[])"""
_RETURNS: Final = """
INSERT INTO capacity.sale_returns (organization_id, create_time, id, sale_id, return_to, note, actor)
SELECT $1, $2, r.id, r.sale_id, r.return_to, r.note, r.actor
FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) AS r (id, sale_id, return_to, note, actor)"""
_RETURN_LINES: Final = """
INSERT INTO capacity.sale_return_lines (organization_id, return_id, number, quantity, seats, labels, currency_code,
  amount_minor, block_id)
SELECT $1, l.return_id, l.number, l.quantity, l.seats::integer[], l.labels::text[], nullif(l.currency_code, ''),
  l.amount_minor, nullif(l.block_id, '')
FROM unnest($2::text[], $3::integer[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::text[])
  AS l (return_id, number, quantity, seats, labels, currency_code, amount_minor, block_id)"""


def gone(inventory: Inventory) -> list[Statement]:
    """Write how much of the lines of sales came back or was exchanged."""
    touched = {each.sale_id for each in inventory.returns} | {each.sale_id for each in inventory.exchanges}
    sales = [inventory.sales.now[sale_id] for sale_id in sorted(touched)]
    gone = [(sale, line) for sale in sales for line in sale.lines if sale.gone(line).quantity]
    if not gone:
        return []
    return [
        Statement(
            _GONE,
            (
                inventory.organization_id,
                plain(sale.sale_id for sale, _ in gone),
                plain(line.number for _, line in gone),
                plain(sale.returned_of(line).quantity for sale, line in gone),
                lists(plain(sale.returned_of(line).seats) for sale, line in gone),
                plain(sale.exchanged_of(line).quantity for sale, line in gone),
                lists(plain(sale.exchanged_of(line).seats) for sale, line in gone),
            ),
        ),
    ]


def returns(inventory: Inventory) -> list[Statement]:
    """Write what came back of sales."""
    made = inventory.returns
    if not made:
        return []
    organization_id = inventory.organization_id
    lines = [(each.return_id, line) for each in made for line in each.lines]
    return [
        Statement(
            _RETURNS,
            (
                organization_id,
                inventory.at,
                plain(each.return_id for each in made),
                plain(each.sale_id for each in made),
                plain(each.return_to.value for each in made),
                texts([each.note for each in made]),
                texts([each.actor for each in made]),
            ),
        ),
        Statement(
            _RETURN_LINES,
            (
                organization_id,
                plain(return_id for return_id, _ in lines),
                plain(line.number for _, line in lines),
                plain(line.quantity for _, line in lines),
                lists(plain(line.seats) for _, line in lines),
                lists(texts(line.labels) for _, line in lines),
                texts(["" if line.amount is None else line.amount.currency_code for _, line in lines]),
                plain(None if line.amount is None else line.amount.minor for _, line in lines),
                texts([line.block_id or "" for _, line in lines]),
            ),
        ),
    ]
