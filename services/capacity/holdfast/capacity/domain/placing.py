"""Whether a hold may be placed: every rule, in the order in which a caller is told.

1. the event: its state, then its sales window (inclusive at both ends);
2. each line: its section and date belong to the event, the date is on sale, the section is open, the order's size fits;
3. each locked price: still good, its tier's own window and limits, the customer's earlier holds and sales counted;
4. the places, after reclaiming those of holds whose time is over; of best available, which seats they are.

A line that may fall back on other sections is for the first of them that passes.

Nothing is claimed unless every line passes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.choosing import choose_seats, settle
from holdfast.capacity.domain.holds import Hold, HoldState, Line, LinePrice
from holdfast.capacity.domain.places import check_places, wanted_places
from holdfast.capacity.domain.seats import seat_names
from holdfast.capacity.domain.selling import check_event, check_schedule, check_window, named_schedule
from holdfast.common.errors import DomainError, Reason, invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from holdfast.capacity.domain.best_available import Wish
    from holdfast.capacity.domain.controls import EventControls, ScheduleControls
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.domain.sections import Section


SEATS_MAX: Final = 1000
"""The most seats of one hold: what a hold says of itself must fit the journal."""


@dataclass(frozen=True, slots=True)
class PriceLock:
    """A price good for a hold that is placed until `expire_time`; limits of 0 are none, open bounds None."""

    price: LinePrice
    expire_time: datetime
    sales_start_time: datetime | None = None
    sales_end_time: datetime | None = None
    max_per_order: int = 0
    max_per_customer: int = 0

    @property
    def limited(self) -> bool:
        """Whether it counts what the customer has already."""
        return self.max_per_customer > 0


@dataclass(frozen=True, slots=True)
class LineRequest:
    """Places asked for: `quantity` any ones, or the seats of `labels`, or those that best available finds for `wish`.

    `labels` and a wish are for `quantity` seats. `fallbacks` ask for the same of other sections, if this one cannot
    give it. `block_id` asks for places of a block. `assumed` says that the request left the date open, and that the
    price was locked for this one. `field` is where the request names them: `lines[1]`, or empty for the short form.
    """

    section_id: str
    schedule_id: str | None
    quantity: int
    tier_id: str | None = None
    lock: PriceLock | None = None
    field: str = ""
    labels: tuple[str, ...] = ()
    block_id: str | None = None
    assumed: bool = False
    wish: Wish | None = None
    fallbacks: tuple[LineRequest, ...] = ()

    def path(self, name: str) -> str:
        """Give the path of one of its fields."""
        return f"{self.field}.{name}" if self.field else name


@dataclass(frozen=True, slots=True)
class PlaceRequest:
    """A hold asked for. `hold_id` is made before the first attempt, so that a repeated one is recognised."""

    hold_id: str
    event_id: str
    customer_id: str
    placed_by: str
    lines: tuple[LineRequest, ...]
    hold_ttl_seconds: int | None = None
    order_reference: str = ""
    request_id: str = ""
    request_hash: bytes = b""


class OtherDateError(Exception):
    """The date that a price was locked for is not the one that the hold would be for any more."""


def place(inventory: Inventory, request: PlaceRequest) -> Hold:
    """Place a hold, or raise the DomainError that says why not.

    Raises TidyFirst when places may be free that one commit cannot free.
    """
    if request.event_id and request.event_id != inventory.event_id:
        raise DomainError(
            Reason.LINES_SPAN_EVENTS,
            "the sections are of another event",
            metadata={"event_ids": f"{inventory.event_id},{request.event_id}"},
        )
    if not inventory.admits:
        check_event(inventory.controls, inventory.at)
        inventory.admits = True
    ttl_seconds = _ttl_seconds(inventory, request)
    requested = settle(inventory, request.lines, lambda lines: _claimable(inventory, request.customer_id, lines))
    lines = _claimable(inventory, request.customer_id, requested)
    hold = Hold(
        hold_id=request.hold_id,
        event_id=inventory.event_id,
        customer_id=request.customer_id,
        placed_by=request.placed_by,
        state=HoldState.ACTIVE,
        lines=lines,
        create_time=inventory.at,
        expire_time=inventory.at + timedelta(seconds=ttl_seconds),
        placed_version=inventory.next_version,
        order_reference=request.order_reference,
        request_id=request.request_id,
        request_hash=request.request_hash,
    )
    inventory.add_hold(hold)
    return hold


def _claimable(inventory: Inventory, customer_id: str, requested: tuple[LineRequest, ...]) -> tuple[Line, ...]:
    """Go through the rules that are about lines; give the lines as they may be claimed."""
    lines = resolve_lines(inventory, requested, first_number=1)
    check_distinct(lines, requested)
    check_order_sizes(inventory, wanted_places(lines))
    for wanted in requested:
        check_lock(inventory, wanted)
    check_tier_limits(inventory, customer_id, requested)
    lines = choose_seats(inventory, lines, requested)
    check_places(inventory, lines)
    return lines


def _ttl_seconds(inventory: Inventory, request: PlaceRequest) -> int:
    controls = inventory.controls
    wanted = request.hold_ttl_seconds
    if wanted is None:
        return min(controls.hold_ttl_seconds_default, controls.hold_ttl_seconds_max)
    if wanted > controls.hold_ttl_seconds_max:
        raise invalid("hold_ttl_seconds", f"must not be above {controls.hold_ttl_seconds_max}")
    return wanted


def resolve_lines(inventory: Inventory, wanted: Sequence[LineRequest], *, first_number: int) -> tuple[Line, ...]:
    """Say which places are asked for: sections, dates and seats that there are, open, and on sale."""
    lines = tuple([_line(inventory, each, number) for number, each in enumerate(wanted, first_number)])
    check_seat_count(inventory, lines, field=wanted[0].path("seats"))
    return lines


def check_seat_count(inventory: Inventory, lines: Sequence[Line], *, field: str) -> None:
    """Raise VALIDATION_FAILED when lines are for more seats than one hold has, those included that are to be chosen."""
    if sum([line.quantity for line in lines if inventory.sections[line.section_id].seated]) > SEATS_MAX:
        raise invalid(field, f"there may be at most {SEATS_MAX} seats")


def _line(inventory: Inventory, wanted: LineRequest, number: int) -> Line:
    section = inventory.section(wanted.section_id)
    date = (section.schedule_id, None if wanted.assumed else wanted.schedule_id)
    if date not in inventory.open_dates:
        inventory.open_dates[date] = _open_date(inventory, wanted, section.schedule_id)
    if wanted.assumed and inventory.open_dates[date] != wanted.schedule_id:
        raise OtherDateError
    for fallback in wanted.fallbacks:
        _check_fallback(inventory, wanted, fallback, inventory.open_dates[date])
    if not section.active:
        raise DomainError(Reason.SECTION_CLOSED, "the section is closed", metadata={"section_id": section.section_id})
    if wanted.block_id is not None:
        _check_block(inventory, wanted, wanted.block_id)
    return Line(
        number=number,
        section_id=section.section_id,
        schedule_id=inventory.open_dates[date],
        quantity=wanted.quantity,
        seats=find_seats(inventory, section, wanted) if section.seated or wanted.labels or wanted.wish else (),
        price=None if wanted.lock is None else wanted.lock.price,
        labels=wanted.labels,
        block_id=wanted.block_id,
    )


def _check_fallback(inventory: Inventory, wanted: LineRequest, fallback: LineRequest, schedule_id: str | None) -> None:
    """Raise SECTION_NOT_FOUND or VALIDATION_FAILED unless a section has seats that a line could get instead."""
    section = inventory.section(fallback.section_id)
    field = wanted.path("best_available.fallback_section_ids")
    if not section.seated:
        raise invalid(field, "a section has no seats")
    if section.schedule_id not in {None, schedule_id}:
        raise invalid(field, "a section is of another date")


def _check_block(inventory: Inventory, wanted: LineRequest, block_id: str) -> None:
    block = inventory.blocks.now.get(block_id)
    if block is None or block.section_id != wanted.section_id:
        raise DomainError(Reason.BLOCK_NOT_FOUND, "the section has no such block", metadata={"block_id": block_id})


def find_seats(inventory: Inventory, section: Section, wanted: LineRequest) -> tuple[int, ...]:
    """Give the seats of labels, none where they are to be chosen. A section with seats needs either.

    Raises SEAT_NOT_FOUND naming labels that there are not, VALIDATION_FAILED.
    """
    if wanted.wish is not None:
        if not section.seated:
            raise invalid(wanted.path("best_available"), "the section has no seats")
        return ()
    if not wanted.labels:
        raise invalid(wanted.path("quantity"), "the section has seats: name them, or ask for best available")
    if not section.seated:
        raise DomainError(
            Reason.SEAT_NOT_FOUND,
            "the section has no seats",
            metadata={"section_id": section.section_id, "seats": seat_names(wanted.labels)},
        )
    return inventory.seatings[section.section_id].layout.indexes(wanted.labels, section_id=section.section_id)


def _open_date(inventory: Inventory, wanted: LineRequest, of_section: str | None) -> str | None:
    schedule = _schedule(inventory, replace(wanted, schedule_id=None) if wanted.assumed else wanted, of_section)
    if schedule is None:
        return None
    check_schedule(inventory.controls, schedule, inventory.at)
    return schedule.schedule_id


def _schedule(inventory: Inventory, wanted: LineRequest, of_section: str | None) -> ScheduleControls | None:
    """Find the date of a line: the section's own, the one asked for, or the only one there is."""
    controls = inventory.controls
    if of_section is not None and wanted.schedule_id not in (None, of_section):
        raise invalid(wanted.path("schedule_id"), "the section is of another date")
    schedule_id = wanted.schedule_id or of_section
    if schedule_id is None:
        return default_schedule(controls, inventory.at, field=wanted.path("schedule_id"))
    return named_schedule(controls, schedule_id)


def default_schedule(controls: EventControls, at: datetime, *, field: str) -> ScheduleControls | None:
    """Find the date that an event-wide section is for when none is named; None for an event without dates.

    That is the only one that may still take place, or when none may, the last, which then says why not. Raises
    VALIDATION_FAILED on `field` when there are several.
    """
    candidates = controls.open_schedules(at)
    if len(candidates) > 1:
        raise invalid(field, "the event has several dates; say which")
    if candidates:
        return candidates[0]
    return max(controls.schedules, key=lambda each: each.start_time, default=None)


def check_distinct(lines: Sequence[Line], requested: Sequence[LineRequest]) -> None:
    """Raise VALIDATION_FAILED when a section and date appear twice, whose limits could not be told apart, or a seat."""
    if len(lines) == 1:
        return
    seen: set[tuple[str, str | None]] = set()
    seats: set[tuple[str, int]] = set()
    for wanted, line in zip(requested, lines, strict=True):
        of_line = {(line.section_id, seat) for seat in line.seats}
        if seats & of_line:
            raise invalid(wanted.path("seats"), "a seat appears in another line already")
        seats |= of_line
        place_of = (line.section_id, line.schedule_id)
        if place_of in seen:
            raise invalid(wanted.path("section_id"), "the section and date appear in another line already")
        seen.add(place_of)


def check_order_sizes(inventory: Inventory, places: Mapping[str, int]) -> None:
    """Raise PURCHASE_LIMIT unless an order of so many places of each section is neither too small nor too large."""
    for section_id, quantity in places.items():
        section = inventory.sections[section_id]
        if quantity < section.min_per_order:
            raise _limit("min_per_order", section.min_per_order, {"section_id": section_id})
        if section.max_per_order is not None and quantity > section.max_per_order:
            raise _limit("max_per_order", section.max_per_order, {"section_id": section_id})


def check_lock(inventory: Inventory, wanted: LineRequest, *, kept: bool = False) -> None:
    """Raise PRICE_LOCK_EXPIRED or SALES_WINDOW_CLOSED unless a line's locked price is good now.

    A price that is `kept` from an earlier lock is good whatever the tier's window is by now.
    """
    lock = wanted.lock
    if lock is None:
        return
    if lock.expire_time < inventory.at:
        raise DomainError(
            Reason.PRICE_LOCK_EXPIRED,
            "the price was locked for a shorter time than the request took",
            metadata={"price_tier_id": lock.price.price_tier_id},
        )
    if not kept:
        check_window(inventory.at, lock.sales_start_time, lock.sales_end_time, price_tier_id=lock.price.price_tier_id)


def check_tier_limits(
    inventory: Inventory,
    customer_id: str,
    requested: Iterable[LineRequest],
    *,
    before: Sequence[Line] = (),
    kept: Sequence[Line] = (),
) -> None:
    """Raise PURCHASE_LIMIT when an order, or a customer with it, would have more tickets of a tier than it allows.

    Of a hold that is changed, `before` are the lines that it has, which count as the customer's, and `kept` what stays
    of them, which belongs to the order.
    """
    wanted_of = _tickets(kept)
    had = _tickets(before)
    locks: dict[str, PriceLock] = {}
    for wanted in requested:
        if wanted.lock is not None:
            tier = wanted.lock.price.price_tier_id
            wanted_of[tier] = wanted_of.get(tier, 0) + wanted.quantity
            locks[tier] = wanted.lock
    for tier, lock in locks.items():
        quantity = wanted_of[tier]
        if lock.max_per_order and quantity > lock.max_per_order:
            raise _limit("max_per_order", lock.max_per_order, {"price_tier_id": tier})
        current = inventory.claimed.get((customer_id, tier), 0) - had.get(tier, 0)
        if lock.max_per_customer and current + quantity > lock.max_per_customer:
            raise _limit("max_per_customer", lock.max_per_customer, {"price_tier_id": tier, "current": str(current)})


def _tickets(lines: Iterable[Line]) -> dict[str, int]:
    """Add up the tickets of lines by price tier."""
    sums: dict[str, int] = {}
    for line in lines:
        if line.price is not None:
            tier = line.price.price_tier_id
            sums[tier] = sums.get(tier, 0) + line.quantity
    return sums


def _limit(name: str, value: int, metadata: dict[str, str]) -> DomainError:
    return DomainError(
        Reason.PURCHASE_LIMIT,
        f"{name} is {value}",
        metadata={"limit": name, "value": str(value), **metadata},
    )
