"""Taking back places of a sale."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.blocks import Act, Block, BlockKind
from holdfast.capacity.domain.parts import Part, PartRequest, find_parts
from holdfast.capacity.domain.sales import ReturnedLine, ReturnTo, Sale, SaleReturn, SaleState
from holdfast.common.errors import DomainError, Reason, invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.capacity.domain.holds import Line
    from holdfast.capacity.domain.inventory import Inventory

RETURNABLE: Final = frozenset({SaleState.SOLD, SaleState.PARTIALLY_RETURNED})
LABEL_BYTES_MAX: Final = 48 * 1024
"""The most bytes that labels of seats take of one return: the journal's row names each of them up to four times."""


@dataclass(frozen=True, slots=True)
class ReturnRequest:
    """Parts of a sale to take back. `return_id` and `block_ids`, one a part, are made before the first attempt."""

    return_id: str
    sale_id: str
    parts: tuple[PartRequest, ...]
    return_to: ReturnTo
    act: Act
    block_ids: tuple[str, ...]
    etag: str = ""


def return_sale(inventory: Inventory, stored: Sale, request: ReturnRequest) -> SaleReturn:
    """Take back places of a sale: to sale, or into a block of kind RETURNED for each section.

    Raises SALE_NOT_ACTIVE, LINE_EXCEEDED, ETAG_MISMATCH, VALIDATION_FAILED.
    """
    sale = stored.seen(inventory.voids)
    parts = parts_of(sale, request.parts, etag=request.etag)
    _check_size(parts)
    blocks = _block_ids(parts, request) if request.return_to is ReturnTo.BLOCKED else {}
    lines = tuple(
        replace(each, block_id=blocks.get(line.section_id))
        for each, (line, _) in zip(given_up(sale, parts), parts, strict=True)
    )
    for line, part in parts:
        inventory.unsell(sale, line, part)
    for section_id, block_id in blocks.items():
        inventory.make_block(_block(inventory, section_id, block_id, parts, request.act), request.act)
    inventory.put_sale(stored, sale.without({line.number: part for line, part in parts}, at=inventory.at))
    made = SaleReturn(
        return_id=request.return_id,
        sale_id=sale.sale_id,
        lines=lines,
        return_to=request.return_to,
        note=request.act.note,
        actor=request.act.actor,
        create_time=inventory.at,
    )
    inventory.add_return(made)
    return made


def parts_of(sale: Sale, wanted: Sequence[PartRequest], *, etag: str) -> list[tuple[Line, Part]]:
    """Find the parts of a sale, as it truly stands, that shall not be sold any more.

    Raises ETAG_MISMATCH, SALE_NOT_ACTIVE, LINE_EXCEEDED, VALIDATION_FAILED.
    """
    if etag and etag != sale.etag:
        raise DomainError(Reason.ETAG_MISMATCH, "the sale changed since it was read", metadata={"etag": sale.etag})
    if sale.state not in RETURNABLE:
        raise _not_active(sale, sale.state)
    parts = find_parts(sale.lines, wanted, gone={line.number: sale.gone(line) for line in sale.lines})
    if any(line.number in sale.cancelled_lines for line, _ in parts):
        raise _not_active(sale, SaleState.CANCELLED)
    return parts


def given_up(sale: Sale, parts: Sequence[tuple[Line, Part]]) -> list[ReturnedLine]:
    """Tell what was paid for parts of a sale that are not sold any more."""
    return [
        ReturnedLine(
            number=line.number,
            quantity=part.quantity,
            seats=part.seats,
            labels=line.labels_of(part.seats),
            amount=sale.share(line, part.quantity),
        )
        for line, part in parts
    ]


def _not_active(sale: Sale, state: SaleState) -> DomainError:
    return DomainError(
        Reason.SALE_NOT_ACTIVE,
        "the sale's state does not allow this",
        metadata={"sale_id": sale.sale_id, "state": state.value},
    )


def _check_size(parts: Sequence[tuple[Line, Part]]) -> None:
    size = sum(len(label.encode()) for line, part in parts for label in line.labels_of(part.seats))
    if size > LABEL_BYTES_MAX:
        raise invalid("lines", "so many seats of such long labels come back in several calls only")


def _block_ids(parts: Sequence[tuple[Line, Part]], request: ReturnRequest) -> dict[str, str]:
    """Give every section that places come back to the id of its block."""
    sections = list(dict.fromkeys(line.section_id for line, _ in parts))
    return dict(zip(sections, request.block_ids, strict=False))


def _block(inventory: Inventory, section_id: str, block_id: str, parts: Sequence[tuple[Line, Part]], act: Act) -> Block:
    mine = [(line, part) for line, part in parts if line.section_id == section_id]
    seats = sorted(pair for line, part in mine for pair in zip(part.seats, line.labels_of(part.seats), strict=True))
    quantity = sum(part.quantity for _, part in mine)
    return Block(
        block_id=block_id,
        event_id=inventory.event_id,
        section_id=section_id,
        kind=BlockKind.RETURNED,
        quantity=quantity,
        initial_quantity=quantity,
        note=act.note,
        actor=act.actor,
        create_time=inventory.at,
        update_time=inventory.at,
        seats=tuple(seat for seat, _ in seats),
        labels=tuple(label for _, label in seats),
    )
