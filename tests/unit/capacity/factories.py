"""Inventories in memory for tests of pure rules."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from holdfast.capacity.domain.controls import EventControls, EventState, ScheduleControls, ScheduleState
from holdfast.capacity.domain.holds import Hold, HoldState, Line, LinePrice
from holdfast.capacity.domain.inventory import Inventory
from holdfast.capacity.domain.placing import LineRequest, PlaceRequest, PriceLock, place
from holdfast.capacity.domain.rows import Rows
from holdfast.capacity.domain.sections import Counters, Section
from holdfast.common.money import Money

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
_NUMBERS = count(1)


def later(minutes: float) -> datetime:
    """Give a moment so many minutes after noon."""
    return NOW + timedelta(minutes=minutes)


def controls(**fields: Any) -> EventControls:
    given = {"event_id": "event", "organization_id": "org", "version": 1, "state": EventState.ON_SALE}
    return EventControls(**{**given, "venue_max_capacity": 5000, **fields})


def date(name: str, *, hours: float = 24, state: ScheduleState = ScheduleState.SCHEDULED, **fields: Any) -> Any:
    start = NOW + timedelta(hours=hours)
    return ScheduleControls(
        schedule_id=name, state=state, start_time=start, end_time=start + timedelta(hours=3), **fields
    )


def section(name: str = "floor", total: int = 10, *, schedule_id: str | None = None, **fields: Any) -> Section:
    taken = {key: fields.pop(key) for key in ("held", "pending", "sold", "blocked") if key in fields}
    return Section(
        section_id=name,
        event_id="event",
        schedule_id=schedule_id,
        name=name,
        counters=Counters(total=total, **taken),
        create_time=NOW,
        update_time=NOW,
        **fields,
    )


def inventory(*sections: Section, at: datetime = NOW, **fields: Any) -> Inventory:
    given = sections or (section(),)
    counters = Counters()
    for each in given:
        counters = counters.plus(each.counters)
    stock = Inventory(
        organization_id="org",
        event_id="event",
        version=fields.pop("version", 1),
        at=at,
        controls=fields.pop("controls", controls()),
        counters=counters,
        crossed=frozenset(),
        sections={each.section_id: each for each in given},
        **fields,
    )
    for hold in stock.expired:
        stock.holds.load(hold.hold_id, hold)
    return stock


def asked(*lines: LineRequest | int, **fields: Any) -> PlaceRequest:
    wanted = tuple(LineRequest("floor", None, each) if isinstance(each, int) else each for each in lines)
    given = {"hold_id": f"hold-{next(_NUMBERS)}", "event_id": "", "customer_id": "ann", "placed_by": "ann"}
    return PlaceRequest(**{**given, **fields}, lines=wanted)


def placed(
    inventory: Inventory, *lines: LineRequest | int, claimed: dict[str, int] | None = None, **fields: Any
) -> Hold:
    request = asked(*lines, **fields)
    inventory.claimed = {(request.customer_id, tier): count for tier, count in (claimed or {}).items()}
    return place(inventory, request)


def committed(inventory: Inventory, *, at: datetime | None = None) -> Inventory:
    """Give the inventory as the next commit finds it: what was decided is written, time has passed."""
    moment = inventory.at if at is None else at
    return replace(
        inventory,
        version=inventory.version + 1,
        at=moment,
        expired=[],
        more_expired=set(),
        changed_sections=set(),
        new_sections=set(),
        settled_sections=set(),
        relined_holds=set(),
        released_lines={},
        holds=Rows(),
        sales=Rows(),
        blocks=Rows(),
        returns=[],
        exchanges=[],
        block_acts={},
        void_versions={},
        new_voids=[],
        controls_changed=False,
        expired_count=0,
        journal_bytes=0,
    )


def lock(tier: str = "tier", *, minor: int = 1000, currency: str = "USD", **fields: Any) -> PriceLock:
    price = LinePrice(price_tier_id=tier, price_tier_version=1, total=Money(minor, currency), body=b"")
    return PriceLock(**{"price": price, "expire_time": later(0.5), **fields})


def priced(quantity: int, price: PriceLock, name: str = "floor", schedule_id: str | None = None) -> LineRequest:
    return LineRequest(name, schedule_id, quantity, tier_id=price.price.price_tier_id, lock=price)


def held(name: str = "hold", quantity: int = 1, *, minutes: float = 15, **fields: Any) -> Hold:
    """Give a hold as its row says, placed at noon for so many minutes."""
    given = {
        "hold_id": name,
        "event_id": "event",
        "customer_id": "ann",
        "placed_by": "ann",
        "state": HoldState.ACTIVE,
        "lines": (Line(1, "floor", None, quantity),),
        "create_time": NOW,
        "expire_time": later(minutes),
        "placed_version": 1,
    }
    return Hold(**{**given, **fields})
