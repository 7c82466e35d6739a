"""What a commit tells, as its row of the journal; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.api.capacity.v1 import block_pb2, hold_pb2, messages_pb2, seat_map_pb2, section_pb2
from holdfast.capacity.domain.bitmaps import indexes_of
from holdfast.capacity.domain.holds import HoldState
from holdfast.common.money import Money
from holdfast.common.protobuf import to_timestamp

if TYPE_CHECKING:
    from collections.abc import MutableSequence, Sequence

    from holdfast.capacity.domain.blocks import Block
    from holdfast.capacity.domain.holds import Hold, Line
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.domain.sales import ReturnedLine, Sale, SaleExchange, SaleReturn
    from holdfast.capacity.domain.sections import Counters, Crossing

_HOLD_STATES: Final = {state: hold_pb2.Hold.State.Value(state.value) for state in HoldState}
_SALE_STATE: Final = hold_pb2.Sale.State


def _add_amounts(amounts: MutableSequence[messages_pb2.LineAmount], lines: Sequence[Line]) -> None:
    """Add lines. Fields are set only where they say something: there are hundreds of lines in a batch."""
    for line in lines:
        amount = messages_pb2.LineAmount(number=line.number, section_id=line.section_id, quantity=line.quantity)
        if line.schedule_id is not None:
            amount.schedule_id = line.schedule_id
        if line.labels:
            amount.seats.extend(line.labels)
        if line.block_id is not None:
            amount.block_id = line.block_id
        price = line.price
        if price is not None:
            amount.price_tier_id = price.price_tier_id
            amount.price_tier_version = price.price_tier_version
            amount.currency_code = price.total.currency_code
            amount.total_minor = price.total.minor
        amounts.append(amount)


def totals_message(counters: Counters) -> messages_pb2.InventoryTotals:
    """Give an event's sums."""
    return messages_pb2.InventoryTotals(
        total=counters.total,
        held=counters.held,
        pending=counters.pending,
        sold=counters.sold,
        blocked=counters.blocked,
    )


def _hold_change(
    hold: Hold, *, before: Hold | None = None, void_version: int = 0, released: Sequence[Line] = ()
) -> messages_pb2.HoldChange:
    """Give what a commit did to a hold; `before` is None of one that it placed, `released` what it gave back."""
    change = messages_pb2.HoldChange(
        hold_id=hold.hold_id,
        state=_HOLD_STATES[hold.state],
        customer_id=hold.customer_id,
        expire_time=to_timestamp(hold.expire_time),
        order_reference=hold.order_reference,
        placed_by=hold.placed_by,
    )
    _add_amounts(change.lines, hold.lines)
    if hold.replaces_hold_id is not None:
        change.replaces_hold_id = hold.replaces_hold_id
    if before is not None:
        change.before.CopyFrom(_hold_before(before, hold))
        change.void_version = void_version
        _add_amounts(change.released_lines, released)
    return change


def _sale_change(sale: Sale) -> messages_pb2.SaleChange:
    change = messages_pb2.SaleChange(
        sale_id=sale.sale_id,
        hold_id=sale.hold_id,
        state=_SALE_STATE.Value(sale.state.value),
        customer_id=sale.customer_id,
        order_reference=sale.order_reference,
    )
    _add_amounts(change.lines, sale.lines)
    if sale.returned or sale.exchanged:
        for line, told in zip(sale.lines, change.lines, strict=True):
            returned, exchanged = sale.returned_of(line), sale.exchanged_of(line)
            told.returned_quantity = returned.quantity
            told.returned_seats.extend(line.labels_of(returned.seats))
            told.exchanged_quantity = exchanged.quantity
            told.exchanged_seats.extend(line.labels_of(exchanged.seats))
    return change


def _return_change(inventory: Inventory, made: SaleReturn) -> messages_pb2.SaleReturnChange:
    change = messages_pb2.SaleReturnChange(
        sale_id=made.sale_id,
        return_id=made.return_id,
        return_to=hold_pb2.SaleReturn.ReturnTo.Value(made.return_to.value),
        actor=made.actor,
    )
    _add_parts(change.lines, inventory.sales.now[made.sale_id], made.lines)
    return change


def _exchange_change(inventory: Inventory, made: SaleExchange) -> messages_pb2.SaleExchangeChange:
    change = messages_pb2.SaleExchangeChange(
        sale_id=made.sale_id, exchange_id=made.exchange_id, actor=made.actor, note=made.note
    )
    _add_parts(change.given_lines, inventory.sales.now[made.sale_id], made.given)
    _add_amounts(change.taken_lines, made.taken)
    return change


def told_difference(change: messages_pb2.SaleExchangeChange) -> Money | None:
    """Read what an exchange made a difference of; None if a line had no price, or if there are several currencies."""
    lines = (*change.given_lines, *change.taken_lines)
    currency_code = lines[0].currency_code
    if not currency_code or any(line.currency_code != currency_code for line in lines):
        return None
    cost = sum(line.total_minor for line in change.taken_lines)
    return Money(cost - sum(line.total_minor for line in change.given_lines), currency_code)


def _add_parts(amounts: MutableSequence[messages_pb2.LineAmount], sale: Sale, parts: Sequence[ReturnedLine]) -> None:
    """Add parts of a sale's lines, with their share of what was paid."""
    lines = {line.number: line for line in sale.lines}
    _add_amounts(amounts, [lines[part.number] for part in parts])
    for part, told in zip(parts, amounts, strict=True):
        told.quantity = part.quantity
        told.seats[:] = part.labels
        told.total_minor = 0 if part.amount is None else part.amount.minor


def _hold_before(before: Hold, now: Hold) -> messages_pb2.HoldBefore:
    places = _places_of(before.lines)
    changed = places != _places_of(now.lines)
    return messages_pb2.HoldBefore(
        state=_HOLD_STATES[before.state],
        expire_time=to_timestamp(before.expire_time),
        places=[
            messages_pb2.SectionPlaces(section_id=section_id, block_id=block_id, quantity=quantity)
            for (section_id, block_id), quantity in (places.items() if changed else ())
        ],
    )


def _places_of(lines: Sequence[Line]) -> dict[tuple[str, str], int]:
    """Add up the places of lines by section and block."""
    sums: dict[tuple[str, str], int] = {}
    for line in lines:
        key = (line.section_id, line.block_id or "")
        sums[key] = sums.get(key, 0) + line.quantity
    return sums


def change_message(inventory: Inventory, crossings: Sequence[tuple[str, Crossing]]) -> messages_pb2.InventoryChanged:
    """Give the journal's row of a commit."""
    kinds = messages_pb2.ThresholdCrossing.Kind
    return messages_pb2.InventoryChanged(
        event_id=inventory.event_id,
        organization_id=inventory.organization_id,
        version=inventory.next_version,
        sections=[
            section_pb2.SectionCounters(
                section_id=section.section_id,
                total=section.counters.total,
                held=section.counters.held,
                pending=section.counters.pending,
                sold=section.counters.sold,
                blocked=section.counters.blocked,
                schedule_id=section.schedule_id or "",
                active=section.active,
                buffer=section.counters.buffer,
                deleted=section.deleted,
                revision=section.revision,
            )
            for section in inventory.touched_sections()
        ],
        holds=[
            *(_hold_change(hold) for hold in inventory.holds.made),
            *(
                _hold_change(
                    hold,
                    before=inventory.holds.before[hold.hold_id],
                    void_version=inventory.void_versions.get(hold.hold_id, 0),
                    released=inventory.released_lines.get(hold.hold_id, ()),
                )
                for hold in inventory.holds.changed
            ),
        ],
        sales=[_sale_change(sale) for sale in (*inventory.sales.made, *inventory.sales.changed)],
        totals=totals_message(inventory.counters),
        crossings=[
            messages_pb2.ThresholdCrossing(kind=kinds.Value(kind.value), section_id=section_id)
            for section_id, kind in crossings
        ],
        controls_version=inventory.controls.version,
        occur_time=to_timestamp(inventory.at),
        blocks=[_block_change(inventory, block) for block in (*inventory.blocks.made, *inventory.blocks.changed)],
        returns=[_return_change(inventory, made) for made in inventory.returns],
        exchanges=[_exchange_change(inventory, made) for made in inventory.exchanges],
        seats=_seat_changes(inventory),
        repaired=inventory.repaired,
    )


def _block_change(inventory: Inventory, block: Block) -> messages_pb2.BlockChange:
    act = inventory.block_acts.get(block.block_id)
    return messages_pb2.BlockChange(
        block_id=block.block_id,
        section_id=block.section_id,
        kind=block_pb2.Block.Kind.Value(block.kind.value),
        quantity=block.quantity,
        seats=block.labels,
        ended=block.ended,
        actor="" if act is None else act.actor,
        note="" if act is None else act.note,
    )


def _seat_changes(inventory: Inventory) -> list[seat_map_pb2.SeatChange]:
    changes = []
    for section_id, seating in sorted(inventory.seatings.items()):
        if inventory.sections[section_id].deleted:
            continue  # nobody looks at its seats any more
        now_taken, now_free = seating.taken & ~seating.before, seating.before & ~seating.taken
        for seats, taken in ((now_taken, True), (now_free, False)):
            if seats:
                changes.append(seat_map_pb2.SeatChange(section_id=section_id, indexes=indexes_of(seats), taken=taken))
    return changes
