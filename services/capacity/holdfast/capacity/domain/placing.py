"""Whether a hold may be placed: every rule, in the order in which a caller is told.

1. the event: its state, then its sales window (inclusive at both ends);
2. each line: its section and date belong to the event, the date is on sale, the section is open, the order's size fits;
3. each locked price: still good, its tier's own window and limits, the customer's earlier holds and sales counted;
4. the places, after reclaiming those of holds whose time is over.

Nothing is claimed unless every line passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from holdfast.capacity.domain.holds import Hold, HoldState, Line, LinePrice
from holdfast.capacity.domain.inventory import TidyFirst
from holdfast.capacity.domain.selling import check_event, check_schedule, check_window, named_schedule
from holdfast.capacity.domain.times import instant
from holdfast.common.errors import DomainError, Reason, invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from holdfast.capacity.domain.controls import EventControls, ScheduleControls
    from holdfast.capacity.domain.inventory import Inventory


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
    """Places asked for. `field` is where the request names them: `lines[1]`, or empty for the short form."""

    section_id: str
    schedule_id: str | None
    quantity: int
    tier_id: str | None = None
    lock: PriceLock | None = None
    field: str = ""

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


def place(inventory: Inventory, request: PlaceRequest, *, claimed: Mapping[str, int]) -> Hold:
    """Place a hold, or raise the DomainError that says why not; the inventory is then of no use any more.

    `claimed` is how many tickets of a price tier the customer has in live holds and sales. Raises TidyFirst when
    places may be free that one commit cannot free.
    """
    if request.event_id and request.event_id != inventory.event_id:
        raise DomainError(
            Reason.LINES_SPAN_EVENTS,
            "the sections are of another event",
            metadata={"event_ids": f"{inventory.event_id},{request.event_id}"},
        )
    check_event(inventory.controls, inventory.at)
    ttl_seconds = _ttl_seconds(inventory, request)
    lines = tuple(_line(inventory, wanted, number) for number, wanted in enumerate(request.lines, start=1))
    _check_distinct(request, lines)
    _check_order_size(inventory, request)
    for wanted in request.lines:
        _check_lock(inventory, wanted)
    _check_tier_limits(request, claimed)
    _check_places(inventory, lines)
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


def _ttl_seconds(inventory: Inventory, request: PlaceRequest) -> int:
    controls = inventory.controls
    wanted = request.hold_ttl_seconds
    if wanted is None:
        return min(controls.hold_ttl_seconds_default, controls.hold_ttl_seconds_max)
    if wanted > controls.hold_ttl_seconds_max:
        raise invalid("hold_ttl_seconds", f"must not be above {controls.hold_ttl_seconds_max}")
    return wanted


def _line(inventory: Inventory, wanted: LineRequest, number: int) -> Line:
    section = inventory.section(wanted.section_id)
    schedule = _schedule(inventory, wanted, section.schedule_id)
    if schedule is not None:
        check_schedule(inventory.controls, schedule, inventory.at)
    if not section.active:
        raise DomainError(Reason.SECTION_CLOSED, "the section is closed", metadata={"section_id": section.section_id})
    return Line(
        number=number,
        section_id=section.section_id,
        schedule_id=None if schedule is None else schedule.schedule_id,
        quantity=wanted.quantity,
        price=None if wanted.lock is None else wanted.lock.price,
    )


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


def _check_distinct(request: PlaceRequest, lines: tuple[Line, ...]) -> None:
    seen: set[tuple[str, str | None]] = set()
    for wanted, line in zip(request.lines, lines, strict=True):
        place_of = (line.section_id, line.schedule_id)
        if place_of in seen:
            raise invalid(wanted.path("section_id"), "the section and date appear in another line already")
        seen.add(place_of)


def _check_order_size(inventory: Inventory, request: PlaceRequest) -> None:
    for section_id, quantity in wanted_places(request.lines).items():
        section = inventory.sections[section_id]
        if quantity < section.min_per_order:
            raise _limit("min_per_order", section.min_per_order, {"section_id": section_id})
        if section.max_per_order is not None and quantity > section.max_per_order:
            raise _limit("max_per_order", section.max_per_order, {"section_id": section_id})


def _check_lock(inventory: Inventory, wanted: LineRequest) -> None:
    lock = wanted.lock
    if lock is None:
        return
    if lock.expire_time < inventory.at:
        raise DomainError(
            Reason.PRICE_LOCK_EXPIRED,
            "the price was locked for a shorter time than the request took",
            metadata={"price_tier_id": lock.price.price_tier_id},
        )
    check_window(inventory.at, lock.sales_start_time, lock.sales_end_time)


def _check_tier_limits(request: PlaceRequest, claimed: Mapping[str, int]) -> None:
    wanted_of: dict[str, int] = {}
    locks: dict[str, PriceLock] = {}
    for wanted in request.lines:
        if wanted.lock is not None:
            tier = wanted.lock.price.price_tier_id
            wanted_of[tier] = wanted_of.get(tier, 0) + wanted.quantity
            locks[tier] = wanted.lock
    for tier, quantity in wanted_of.items():
        lock = locks[tier]
        if lock.max_per_order and quantity > lock.max_per_order:
            raise _limit("max_per_order", lock.max_per_order, {"price_tier_id": tier})
        current = claimed.get(tier, 0)
        if lock.max_per_customer and current + quantity > lock.max_per_customer:
            raise _limit("max_per_customer", lock.max_per_customer, {"price_tier_id": tier, "current": str(current)})


def wanted_places(lines: Iterable[Line | LineRequest]) -> dict[str, int]:
    """Add up the places of lines by section."""
    sums: dict[str, int] = {}
    for line in lines:
        sums[line.section_id] = sums.get(line.section_id, 0) + line.quantity
    return sums


def _check_places(inventory: Inventory, lines: tuple[Line, ...]) -> None:
    for section_id, quantity in wanted_places(lines).items():
        inventory.reclaim(section_id, quantity)
        available = inventory.sections[section_id].counters.available
        if available >= quantity:
            continue
        if inventory.untidied(section_id):
            raise TidyFirst(inventory.event_id)
        metadata = {
            "section_id": section_id,
            "available": str(available),
            "inventory_version": str(inventory.version),
        }
        next_time = inventory.next_expire_times.get(section_id)
        if next_time is not None:
            metadata["next_change_time"] = instant(next_time)
        raise DomainError(Reason.INSUFFICIENT_CAPACITY, "fewer places are free than asked for", metadata=metadata)


def _limit(name: str, value: int, metadata: dict[str, str]) -> DomainError:
    return DomainError(
        Reason.PURCHASE_LIMIT,
        f"{name} is {value}",
        metadata={"limit": name, "value": str(value), **metadata},
    )
