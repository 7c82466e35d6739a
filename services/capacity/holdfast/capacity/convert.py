"""Proto ⇄ domain, pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.api.capacity.v1 import block_pb2, hold_pb2, section_pb2
from holdfast.api.common.v1 import error_reason_pb2
from holdfast.api.events.v1 import event_pb2
from holdfast.api.pricing.v1 import locked_price_pb2, quote_service_pb2
from holdfast.capacity.convert_seating import focal_point_message, layout_message
from holdfast.capacity.domain.blocks import BlockKind
from holdfast.capacity.domain.controls import (
    HOLD_TTL_SECONDS_DEFAULT,
    HOLD_TTL_SECONDS_MAX,
    EventControls,
    EventState,
    ScheduleControls,
    ScheduleState,
)
from holdfast.capacity.domain.holds import Hold, HoldState, Line, LinePrice
from holdfast.capacity.domain.parts import PartRequest
from holdfast.capacity.domain.placing import PriceLock
from holdfast.capacity.domain.sales import ReturnTo, SaleState, sum_of
from holdfast.common.errors import DomainError, Reason, invalid
from holdfast.common.protobuf import from_money, optional_datetime, to_datetime, to_money, to_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from google.protobuf.message import Message

    from holdfast.capacity.domain.blocks import Block
    from holdfast.capacity.domain.layouts import Layout
    from holdfast.capacity.domain.sales import Sale, SaleReturn
    from holdfast.capacity.domain.sections import Counters, Section
    from holdfast.common.money import Money

_KIND: Final = section_pb2.Section.Kind
_HOLD_STATE: Final = hold_pb2.Hold.State
_HOLD_STATES: Final = {state: hold_pb2.Hold.State.Value(state.value) for state in HoldState}
_SALE_STATE: Final = hold_pb2.Sale.State
_RETURN_TO: Final = hold_pb2.SaleReturn.ReturnTo
_BLOCK_KIND: Final = block_pb2.Block.Kind


def controls_of(message: event_pb2.EventControls) -> EventControls:
    """Read what events says of an event. Raises VALIDATION_FAILED naming what cannot be read."""
    if not message.event_id or not message.organization_id or message.version < 1:
        raise invalid("controls", "must have an event, an organization and a version from 1 on")
    return EventControls(
        event_id=message.event_id,
        organization_id=message.organization_id,
        version=message.version,
        state=_event_state(message.state),
        sales_start_time=optional_datetime(message, "sales_start_time"),
        sales_end_time=optional_datetime(message, "sales_end_time"),
        venue_max_capacity=message.venue_max_capacity,
        schedules=tuple(
            _schedule(schedule, field=f"controls.schedules[{index}]")
            for index, schedule in enumerate(message.schedules)
        ),
        hold_ttl_seconds_default=message.hold_ttl_seconds_default or HOLD_TTL_SECONDS_DEFAULT,
        hold_ttl_seconds_max=message.hold_ttl_seconds_max or HOLD_TTL_SECONDS_MAX,
        initial_capacity=message.initial_capacity,
        deleted=message.deleted,
    )


def _event_state(value: event_pb2.Event.State.ValueType) -> EventState:
    # A newer events may know states that this one does not: an open enum's number then has no name.
    known = value in event_pb2.Event.State.values() and value != event_pb2.Event.State.STATE_UNSPECIFIED
    if not known:
        raise invalid("controls.state", "is not a state that is known here")
    return EventState(event_pb2.Event.State.Name(value))


def _schedule(message: event_pb2.ScheduleControls, *, field: str) -> ScheduleControls:
    if message.state not in ScheduleState.__members__:
        raise invalid(f"{field}.state", "is not a state that is known here")
    if not message.schedule_id or not message.HasField("start_time"):
        raise invalid(field, "must have an id and a start")
    return ScheduleControls(
        schedule_id=message.schedule_id,
        state=ScheduleState(message.state),
        start_time=to_datetime(message.start_time, field=f"{field}.start_time"),
        end_time=optional_datetime(message, "end_time"),
        capacity_override=message.capacity_override if message.HasField("capacity_override") else None,
    )


def stored_controls(stored: bytes) -> EventControls:
    """Read controls as they are stored."""
    return controls_of(event_pb2.EventControls.FromString(stored))


def no_controls(organization_id: str, event_id: str) -> EventControls:
    """Give the controls of an event that is seen for the first time."""
    return EventControls(event_id=event_id, organization_id=organization_id, version=0, state=EventState.DRAFT)


def lock_of(outcome: quote_service_pb2.LockPriceOutcome) -> PriceLock:
    """Read what pricing answered for a line; raises its refusal."""
    if outcome.WhichOneof("outcome") != "lock":
        refusal = outcome.refusal
        name = error_reason_pb2.Error.Reason.Name(refusal.reason)
        raise DomainError(Reason(name), "the price cannot be locked", metadata=dict(refusal.metadata))
    lock = outcome.lock
    price = lock.price
    return PriceLock(
        price=LinePrice(
            price_tier_id=price.price_tier_id,
            price_tier_version=price.price_tier_version,
            total=from_money(price.breakdown.total, field="total"),
            body=price.SerializeToString(deterministic=True),
        ),
        expire_time=to_datetime(lock.expire_time, field="expire_time"),
        sales_start_time=optional_datetime(lock, "sales_start_time"),
        sales_end_time=optional_datetime(lock, "sales_end_time"),
        max_per_order=lock.max_per_order,
        max_per_customer=lock.max_per_customer,
    )


def unit_price(body: bytes) -> Money:
    """Read what one ticket costs at a locked price, after all adjustments, without fees and tax."""
    return from_money(locked_price_pb2.LockedPrice.FromString(body).breakdown.unit_price, field="unit_price")


def locked_price_line(
    organization_id: str, event_id: str, line: Line, quantity: int
) -> quote_service_pb2.LockPriceLine:
    """Ask what so many places cost as a line's do: at the version and the moment of the line's lock."""
    if line.price is None:
        raise ValueError("a line without a price has none for a part either")
    locked = locked_price_pb2.LockedPrice.FromString(line.price.body)
    return quote_service_pb2.LockPriceLine(
        price_tier_id=locked.price_tier_id,
        organization_id=organization_id,
        event_id=event_id,
        section_id=line.section_id,
        schedule_id=line.schedule_id or "",
        quantity=quantity,
        price_tier_version=locked.price_tier_version,
        price_lock_time=locked.lock_time,
    )


def section_message(
    section: Section, organization_id: str, *, counters: Counters, layout: Layout | None
) -> section_pb2.Section:
    """Give a section with its counters as callers see them."""
    return section_pb2.Section(
        id=section.section_id,
        organization_id=organization_id,
        event_id=section.event_id,
        schedule_id=section.schedule_id,
        name=section.name,
        code=section.code,
        subsection=section.subsection,
        kind=_KIND.Value(section.kind.value),
        tier=section.tier,
        total=counters.total,
        available=counters.available,
        held=counters.held,
        pending=counters.pending,
        sold=counters.sold,
        blocked=counters.blocked,
        buffer=counters.buffer,
        min_per_order=section.min_per_order,
        max_per_order=section.max_per_order,
        active=section.active,
        visible=section.visible,
        create_time=to_timestamp(section.create_time),
        update_time=to_timestamp(section.update_time),
        etag=section.etag,
        layout=None if layout is None else layout_message(layout),
        focal_point=None if layout is None else focal_point_message(layout),
    )


def _line_message(line: Line) -> hold_pb2.HoldLine:
    message = hold_pb2.HoldLine(number=line.number, section_id=line.section_id, quantity=line.quantity)
    if line.schedule_id is not None:
        message.schedule_id = line.schedule_id
    if line.labels:
        message.seats.extend(line.labels)
    if line.block_id is not None:
        message.block_id = line.block_id
    if line.price is not None:
        message.locked_price.MergeFromString(line.price.body)
    return message


def hold_message(hold: Hold, organization_id: str) -> hold_pb2.Hold:
    """Give a hold, as it is seen at the time of the answer."""
    message = hold_pb2.Hold(
        id=hold.hold_id,
        organization_id=organization_id,
        event_id=hold.event_id,
        customer_id=hold.customer_id,
        placed_by=hold.placed_by,
        state=_HOLD_STATES[hold.state],
        order_reference=hold.order_reference,
        create_time=to_timestamp(hold.create_time),
        expire_time=to_timestamp(hold.expire_time),
        etag=hold.etag,
    )
    for line in hold.lines:
        message.lines.append(_line_message(line))
    total = hold.total
    if total is not None:
        message.total.CopyFrom(to_money(total))
    if hold.end_time is not None:
        message.end_time.CopyFrom(to_timestamp(hold.end_time))
    if hold.payment_time is not None:
        message.payment_time.CopyFrom(to_timestamp(hold.payment_time))
    message.void_cause = "" if hold.void_cause is None else hold.void_cause.value
    message.sale_id = hold.sale_id or ""
    message.replaces_hold_id = hold.replaces_hold_id or ""
    return message


def sale_message(sale: Sale, organization_id: str, *, returns: Iterable[SaleReturn] = ()) -> hold_pb2.Sale:
    """Give a sale, with what came back of it."""
    returns = tuple(returns)
    returned_total = sum_of(line.amount for each in returns for line in each.lines)
    total = sale.total_without_exchanged(returns)
    message = hold_pb2.Sale(
        id=sale.sale_id,
        organization_id=organization_id,
        event_id=sale.event_id,
        hold_id=sale.hold_id,
        customer_id=sale.customer_id,
        state=_SALE_STATE.Value(sale.state.value),
        lines=[_line_message(line) for line in sale.lines],
        order_reference=sale.order_reference,
        total=None if total is None else to_money(total),
        create_time=to_timestamp(sale.create_time),
        etag=sale.etag,
        update_time=to_timestamp(sale.update_time or sale.create_time),
        returns=[return_message(each) for each in returns],
        returned_total=None if returned_total is None else to_money(returned_total),
    )
    for line, told in zip(sale.lines, message.lines, strict=True):
        returned, exchanged = sale.returned_of(line), sale.exchanged_of(line)
        told.returned_quantity = returned.quantity
        told.returned_seats.extend(line.labels_of(returned.seats))
        told.exchanged_quantity = exchanged.quantity
        told.exchanged_seats.extend(line.labels_of(exchanged.seats))
    return message


def return_message(made: SaleReturn) -> hold_pb2.SaleReturn:
    """Give a return."""
    return hold_pb2.SaleReturn(
        id=made.return_id,
        lines=[
            hold_pb2.ReturnedLine(
                number=line.number,
                quantity=line.quantity,
                seats=line.labels,
                amount=None if line.amount is None else to_money(line.amount),
                block_id=line.block_id or "",
            )
            for line in made.lines
        ],
        return_to=_RETURN_TO.Value(made.return_to.value),
        amount=None if made.amount is None else to_money(made.amount),
        note=made.note,
        actor=made.actor,
        create_time=to_timestamp(made.create_time),
    )


def part_of(message: hold_pb2.LinePart, *, field: str) -> PartRequest:
    """Read which part of a line a request names."""
    part = message.WhichOneof("part")
    return PartRequest(
        number=message.number,
        quantity=message.quantity if part == "quantity" else None,
        labels=tuple(message.seats.labels) if part == "seats" else (),
        field=field,
    )


def block_message(block: Block, organization_id: str) -> block_pb2.Block:
    """Give a block."""
    return block_pb2.Block(
        id=block.block_id,
        organization_id=organization_id,
        event_id=block.event_id,
        section_id=block.section_id,
        kind=_BLOCK_KIND.Value(block.kind.value),
        quantity=block.quantity,
        seats=block.labels,
        initial_quantity=block.initial_quantity,
        taken_quantity=block.taken_quantity,
        note=block.note,
        actor=block.actor,
        create_time=to_timestamp(block.create_time),
        update_time=to_timestamp(block.update_time),
        end_time=None if block.end_time is None else to_timestamp(block.end_time),
        etag=block.etag,
    )


def block_kind(value: block_pb2.Block.Kind.ValueType) -> BlockKind:
    """Read a block's kind from a request; not said is HOUSE."""
    return BlockKind(_BLOCK_KIND.Name(value)) if value else BlockKind.HOUSE


def hold_state(value: hold_pb2.Hold.State.ValueType) -> HoldState:
    """Read a hold's state from a request."""
    return HoldState(_HOLD_STATE.Name(value))


def sale_state(value: hold_pb2.Sale.State.ValueType) -> SaleState:
    """Read a sale's state from a request."""
    return SaleState(_SALE_STATE.Name(value))


def return_to(value: hold_pb2.SaleReturn.ReturnTo.ValueType) -> ReturnTo:
    """Read from a request where returned places go; not said is back to sale."""
    return ReturnTo(_RETURN_TO.Name(value)) if value else ReturnTo.SALE


def time_range(request: Message) -> tuple[datetime | None, datetime | None]:
    """Read `from_time` and `to_time` of a list's request; INVALID_DATE_RANGE unless the first is the earlier one."""
    from_time, to_time = optional_datetime(request, "from_time"), optional_datetime(request, "to_time")
    if from_time is not None and to_time is not None and from_time >= to_time:
        raise DomainError(
            Reason.INVALID_DATE_RANGE,
            "from_time must be before to_time",
            metadata={"rule": "from_time < to_time"},
        )
    return from_time, to_time
