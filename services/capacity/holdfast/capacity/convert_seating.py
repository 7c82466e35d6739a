"""Proto ⇄ domain of seating configurations, layouts and best available, pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.api.capacity.v1 import seat_map_pb2, seat_pb2, section_pb2
from holdfast.api.common.v1 import seat_layout_pb2, seating_config_pb2
from holdfast.capacity.domain.best_available import Wish
from holdfast.capacity.domain.bitmaps import to_bytes
from holdfast.capacity.domain.layouts import FocalPoint
from holdfast.capacity.domain.listed_seats import SeatState
from holdfast.capacity.domain.numbering import DEFAULT, Numbering, RowScheme, SeatScheme
from holdfast.capacity.domain.seat_rows import AttributeChange
from holdfast.capacity.domain.seating import RowConfig, RunConfig, SeatingConfig, SectionConfig, refused
from holdfast.common.errors import DomainError, Reason
from holdfast.common.money import Money, exponent
from holdfast.common.protobuf import to_timestamp

if TYPE_CHECKING:
    from holdfast.api.common.v1 import money_pb2
    from holdfast.capacity.domain.layouts import Layout
    from holdfast.capacity.domain.listed_seats import ListedSeat
    from holdfast.capacity.domain.seat_map import ShownSeats
    from holdfast.capacity.domain.seat_rows import Row, SeatAttributes

_ROWS: Final = seat_layout_pb2.SeatNumbering.RowScheme
_SEATS: Final = seat_layout_pb2.SeatNumbering.SeatScheme


def config_of(message: seating_config_pb2.SeatingConfig, *, currency_code: str = "") -> SeatingConfig:
    """Read a seating configuration; `currency_code` is the organization's, where it names none of its own.

    Raises INVALID_SEATING_CONFIG on a price that is no amount of the currency, UNKNOWN_CURRENCY. Whether it can be
    built is what planning it tells.
    """
    currency = message.currency_code or currency_code
    if currency:
        exponent(currency)
    return SeatingConfig(
        rows=message.rows,
        cols=message.cols,
        numbering=_numbering(message.numbering) if message.HasField("numbering") else DEFAULT,
        sections=tuple(
            _section(section, currency, path=f"sections[{index}]") for index, section in enumerate(message.sections)
        ),
    )


def _section(message: seating_config_pb2.SeatingSection, currency: str, *, path: str) -> SectionConfig:
    return SectionConfig(
        name=message.name,
        price=_price(message.price, currency, path=f"{path}.price") if message.HasField("price") else None,
        subsections=message.subsections,
        rows=message.rows,
        cols=message.cols,
        row_layouts=tuple(_row(row) for row in message.row_layouts),
        numbering=_numbering(message.numbering) if message.HasField("numbering") else None,
        focal_point=focal_point_of(message.focal_point) if message.HasField("focal_point") else None,
        code=message.code or None,
        tier=message.tier or None,
        attributes=change_of(message.attributes),
    )


def _price(amount: str, currency: str, *, path: str) -> Money:
    try:
        return Money.parse(amount, currency, field=path)
    except DomainError as error:
        if error.reason is not Reason.VALIDATION_FAILED:
            raise
        raise refused(path, error.violations[0].message) from None


def _row(message: seat_layout_pb2.SeatRow) -> RowConfig:
    return RowConfig(label=message.label, offset=message.offset, runs=tuple(_run(run) for run in message.runs))


def _run(message: seat_layout_pb2.SeatRun) -> RunConfig:
    return RunConfig(
        seats=message.seats,
        gap=message.gap,
        labels=tuple(message.labels),
        attributes=change_of(message.attributes),
        numbered=message.numbered,
    )


def _numbering(message: seat_layout_pb2.SeatNumbering) -> Numbering:
    return Numbering(
        rows=RowScheme(_ROWS.Name(message.rows or _ROWS.LETTERS)),
        first_row=message.first_row,
        rows_from_back=message.rows_from_back,
        seats=SeatScheme(_SEATS.Name(message.seats or _SEATS.CONSECUTIVE)),
        first_seat=message.first_seat if message.HasField("first_seat") else None,
        seats_from_right=message.seats_from_right,
    )


def focal_point_of(message: seat_layout_pb2.FocalPoint) -> FocalPoint:
    """Read where the best seats look at."""
    return FocalPoint(row=message.row, place=message.place)


def change_of(message: seat_layout_pb2.SeatAttributes) -> AttributeChange:
    """Read what to make of seats; attributes that are absent stay as they are."""
    return AttributeChange(
        category=message.category if message.HasField("category") else None,
        wheelchair=message.wheelchair if message.HasField("wheelchair") else None,
        companion=message.companion if message.HasField("companion") else None,
        restricted_view=message.restricted_view if message.HasField("restricted_view") else None,
    )


def wish_of(message: seat_pb2.BestAvailable) -> Wish:
    """Read what best available is asked for; the sections to fall back on are not part of it."""
    return Wish(
        message.quantity,
        wheelchairs=message.wheelchair_quantity,
        allow_split=message.allow_split,
        restricted_view_allowed=message.restricted_view_allowed,
        category=message.category,
    )


def attributes_message(attributes: SeatAttributes) -> seat_layout_pb2.SeatAttributes:
    """Give what a seat is: only what it is, not what it is not."""
    return seat_layout_pb2.SeatAttributes(
        category=attributes.category or None,
        wheelchair=attributes.wheelchair or None,
        companion=attributes.companion or None,
        restricted_view=attributes.restricted_view or None,
    )


def layout_message(layout: Layout) -> section_pb2.SectionLayout:
    """Give the summary of a section's rows."""
    summary = layout.summary
    return section_pb2.SectionLayout(
        row_count=summary.row_count,
        first_row=summary.first_row,
        last_row=summary.last_row,
        row_seats_min=summary.row_seats_min,
        row_seats_max=summary.row_seats_max,
        wheelchair_count=summary.wheelchair_count,
        companion_count=summary.companion_count,
        restricted_view_count=summary.restricted_view_count,
        categories=summary.categories,
        layout_etag=layout.etag,
    )


def focal_point_message(layout: Layout) -> seat_layout_pb2.FocalPoint | None:
    """Give where the best seats look at; None if a layout does not say."""
    focal = layout.focal_point
    return None if focal is None else seat_layout_pb2.FocalPoint(row=focal.row, place=focal.place)


def row_messages(layout: Layout) -> list[seat_layout_pb2.SeatRow]:
    """Give all rows, every label spelled out: a configuration with them makes the same layout again."""
    return [_row_message(row) for row in layout.rows]


def _row_message(row: Row) -> seat_layout_pb2.SeatRow:
    message = seat_layout_pb2.SeatRow(label=row.label, offset=row.offset)
    place = row.offset + 1
    for run in row.runs:
        if run.place > place:
            message.runs.add(gap=run.place - place)
        added = message.runs.add(seats=run.size, labels=run.seat_labels())
        attributes = attributes_message(run.attributes)
        if attributes.ByteSize():
            added.attributes.CopyFrom(attributes)
        place = run.place + run.size
    return message


def seat_state(value: seat_pb2.Seat.State.ValueType) -> SeatState:
    """Read who may have a seat."""
    return SeatState(seat_pb2.Seat.State.Name(value))


def seat_message(section_id: str, seat: ListedSeat, *, price: money_pb2.Money | None, staff: bool) -> seat_pb2.Seat:
    """Give a seat; only `staff` is told who has it. `price` is what it costs now, or what was locked."""
    holder = seat.holder
    message = seat_pb2.Seat(
        section_id=section_id,
        label=f"{seat.row}-{seat.label}",
        row=seat.row,
        seat=seat.label,
        state=seat_pb2.Seat.State.Value(holder.state.value),
        attributes=attributes_message(seat.attributes),
        price=price,
    )
    if staff:
        message.customer_id = holder.customer_id or ""
        message.hold_id = holder.hold_id or ""
        message.sale_id = holder.sale_id or ""
        message.block_id = holder.block_id or ""
        for name in ("hold_time", "expire_time", "sale_time"):
            moment = getattr(holder, name)
            if moment is not None:
                getattr(message, name).CopyFrom(to_timestamp(moment))
    return message


def section_seats_message(shown: ShownSeats, *, staff: bool) -> seat_map_pb2.SectionSeatMap:
    """Give the seats of one section as bitmaps, without its layout; only `staff` is told who has them."""
    section, layout, states = shown.section, shown.layout, shown.states
    size = layout.size
    message = seat_map_pb2.SectionSeatMap(
        section_id=section.section_id,
        name=section.name,
        subsection=section.subsection or 0,
        schedule_id=section.schedule_id or "",
        seat_count=size,
        active=section.active,
        taken=to_bytes(states.taken, size),
        layout_etag=layout.etag,
    )
    if staff:
        message.held = to_bytes(states.held, size)
        message.pending = to_bytes(states.pending, size)
        message.sold = to_bytes(states.sold, size)
        message.blocked = to_bytes(states.blocked, size)
    return message


def written_layout(layout: Layout) -> bytes:
    """Give the layout's part of a section's seat map."""
    rows, focal = row_messages(layout), focal_point_message(layout)
    return seat_map_pb2.SectionSeatMap(row_layouts=rows, focal_point=focal).SerializeToString()
