"""The words in which vectors are written: what is called, by whom, and what must come of it.

Texts in fields and expectations may be `$name.path`, a value of an earlier answer that was given that name, and
`@+30d`, `@-1h`: a moment so far from now. Expectations are `path: value` of an answer; a value that is 0, empty or
false may be missing, as JSON leaves such values out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

CALLERS: Final = {
    "olga": "organizer",
    "box": "box_office",
}
"""Roles of the callers; everybody else is a buyer."""

VENUE: Final = "$venue.venue.id"
EVENT: Final = "$event.event.id"
DATE: Final = "$event.schedule.id"
SECTION: Final = "$section.section.id"
TIER: Final = "$tier.price_tier.id"
SEATED: Final = "$seating.sections.0.id"


@dataclass(frozen=True)
class Call:
    """One call. With `refused` it must be refused for this reason, and `tells` is the refusal's metadata.

    `names` are the fields that the refusal must name. `key` names an idempotency key of the vector; calls without one
    get a new one each. With `until` the call is repeated until the answer is as expected.
    """

    rpc: str
    fields: Mapping[str, Any]
    by: str
    gives: Mapping[str, Any] = field(default_factory=dict)
    refused: str = ""
    tells: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    named: str = ""
    key: str = ""
    replayed: bool = False
    until: bool = False


@dataclass(frozen=True)
class Race:
    """Calls at the same time: so many must be answered, all others refused for this reason."""

    calls: tuple[Call, ...]
    wins: int
    refused: str


Step = Call | Race


@dataclass(frozen=True)
class Vector:
    """What is given, what is done, what is expected. Vectors that are `shared` and have the same stage use one."""

    given: str
    stage: tuple[Step, ...]
    steps: tuple[Step, ...]
    shared: bool = False


def usd(amount: str) -> dict[str, str]:
    """Write an amount of dollars."""
    return {"currency_code": "USD", "amount": amount}


# Stages


def venue_and_event(*, max_capacity: int = 10_000, **event: Any) -> tuple[Step, ...]:
    """Give a venue and an event there with one date, not published."""
    given = {"venue_id": VENUE, "name": "Night of Vectors", "starts_at": "@+30d", **event}
    return (
        Call("CreateVenue", {"venue": {"name": "Hall", "max_capacity": max_capacity}}, "olga", named="venue"),
        Call("CreateEvent", {"event": given}, "olga", named="event"),
    )


def sales() -> tuple[Step, ...]:
    """Put the event on sale, with a price tier of 100.00 + 10.00 + 5.00 and 8 % tax."""
    return (
        price_tier("tier"),
        Call("PublishEvent", {"event_id": EVENT}, "olga"),
        Call("StartSales", {"event_id": EVENT}, "olga", gives={"event.state": "ON_SALE"}),
    )


def show(total: int = 10, *, max_capacity: int = 10_000, **section: Any) -> tuple[Step, ...]:
    """Give an event on sale with one section and one price tier."""
    return (*venue_and_event(max_capacity=max_capacity), create("section", total, **section), *sales())


def theatre(seats: int = 10) -> tuple[Step, ...]:
    """Give an event on sale with a seated section of one row: A-1, A-2 and so on."""
    config = {"rows": 1, "cols": seats, "sections": [{"name": "Stalls"}]}
    seating = Call(
        "GenerateSeating",
        {"event_id": EVENT, "config": config},
        "olga",
        gives={"seat_count": seats, "sections.0.total": seats, "sections.0.kind": "SEATED"},
        named="seating",
    )
    return (*venue_and_event(), seating, *sales())


# What organizers do


def create(name: str, total: int, *, refused: str = "", tells: Mapping[str, Any] | None = None, **section: Any) -> Call:
    """Create a section of the event."""
    fields = {"event_id": EVENT, "section": {"name": name.title(), "total": total, **section}}
    return Call("CreateSection", fields, "olga", named=name, refused=refused, tells=tells or {})


def price_tier(name: str, **terms: Any) -> Call:
    """Create a price tier of the event."""
    given = {
        "name": name.title(),
        "base_price": usd("100.00"),
        "service_fee": usd("10.00"),
        "facility_fee": usd("5.00"),
        "tax_rate": "0.08",
        **terms,
    }
    return Call("CreatePriceTier", {"event_id": EVENT, "price_tier": given}, "olga", named=name)


def resize(total: int, *, refused: str = "", tells: Mapping[str, Any] | None = None) -> Call:
    """Change the section's total."""
    fields = {"section_id": SECTION, "section": {"total": total}}
    gives = {} if refused else {"section.total": total}
    return Call("UpdateSection", fields, "olga", gives=gives, refused=refused, tells=tells or {})


def reprice(amount: str) -> Call:
    """Change the base price of the tier, which makes its next version."""
    return Call("UpdatePriceTier", {"price_tier_id": TIER, "price_tier": {"base_price": usd(amount)}}, "olga")


def block(quantity: int) -> Call:
    """Take places of the section out of sale."""
    return Call(
        "BlockQuantity",
        {"section_id": SECTION, "quantity": quantity, "note": "press"},
        "olga",
        gives={
            "block.quantity": quantity,
            "block.note": "press",
            "block.actor": "olga",
            "block.kind": "HOUSE",
        },
        named="block",
    )


def unblock(quantity: int = 0, *, left: int = 0) -> Call:
    """Give places of the block back to sale: a number, or all; so many are left in it."""
    fields = {"block_id": "$block.block.id", **({"quantity": quantity} if quantity else {})}
    return Call("Unblock", fields, "olga", gives={"block.quantity": left})


def set_buffer(quantity: int, *, refused: str = "") -> Call:
    """Set the section's buffer."""
    return Call("SetBuffer", {"section_id": SECTION, "quantity": quantity}, "olga", refused=refused)


def give_back(line: Mapping[str, Any], *, gives: Mapping[str, Any] | None = None, **more: Any) -> Call:
    """Return a part of the sale `$sold`."""
    options = {key: more.pop(key) for key in ("refused", "tells") if key in more}
    fields = {"sale_id": "$sold.sale.id", "lines": [{"number": 1, **line}], "note": "refunded", **more}
    return Call("ReturnSale", fields, "box", gives=gives or {}, **options)


def cancel_event() -> Call:
    """Cancel the event."""
    return Call("CancelEvent", {"event_id": EVENT, "reason": "storm"}, "olga", gives={"event.state": "CANCELLED"})


def postpone_event() -> Call:
    """Postpone the event."""
    return Call("PostponeEvent", {"event_id": EVENT, "reason": "storm"}, "olga", gives={"event.state": "POSTPONED"})


# What everybody does with holds


def place(name: str, quantity: int = 0, *, by: str = "ann", section: str = SECTION, **more: Any) -> Call:
    """Hold places of one section: a number, or what `more` says."""
    options = {key: more.pop(key) for key in ("gives", "refused", "tells", "names", "key", "replayed") if key in more}
    fields = {"section_id": section, **({"quantity": quantity} if quantity else {}), **more}
    return Call("PlaceHold", fields, by, named=name, **options)


def place_lines(name: str, *lines: Mapping[str, Any], by: str = "ann", **options: Any) -> Call:
    """Hold places of several sections."""
    return Call("PlaceHold", {"event_id": EVENT, "lines": list(lines)}, by, named=name, **options)


def seats(*labels: str) -> dict[str, Any]:
    """Choose seats by their labels."""
    return {"labels": list(labels)}


def on_hold(rpc: str, name: str, *, by: str = "ann", **more: Any) -> Call:
    """Do something with a hold."""
    keys = ("gives", "refused", "tells", "names", "key", "replayed", "until", "named")
    options = {key: more.pop(key) for key in keys if key in more}
    return Call(rpc, {"hold_id": f"${name}.hold.id", **more}, by, **options)


def becomes(rpc: str, name: str, state: str, *, by: str = "ann", **more: Any) -> Call:
    """Do something with a hold, after which it is in a state."""
    return on_hold(rpc, name, by=by, gives={"hold.state": state, **more.pop("gives", {})}, **more)


def reads(name: str, *, by: str = "ann", **hold: Any) -> Call:
    """See a hold as it is."""
    return on_hold("GetHold", name, by=by, gives={f"hold.{path}": value for path, value in hold.items()})


def expires(name: str, *, by: str = "ann") -> Call:
    """Wait until the service says that a hold is expired."""
    return on_hold("GetHold", name, by=by, gives={"hold.state": "EXPIRED"}, until=True)


def counts(section: str = SECTION, **counters: int) -> Call:
    """See a section's counters."""
    gives = {f"section.{name}": value for name, value in counters.items()}
    return Call("GetSection", {"section_id": section}, "olga", gives=gives)
