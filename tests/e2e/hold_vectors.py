"""What is expected of holds, as data: what is given, what is done, what comes of it.

Minutes are seconds here, or are waited for until the service says so; the exact instants are the concern of
tests/unit/capacity, where the clock is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.e2e.vectors import (
    SEATED,
    SECTION,
    TIER,
    Race,
    Vector,
    becomes,
    cancel_event,
    counts,
    create,
    expires,
    give_back,
    on_hold,
    place,
    place_lines,
    price_tier,
    reads,
    reprice,
    sales,
    seats,
    show,
    theatre,
    usd,
    venue_and_event,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

LOCKED: Final[Mapping[str, Any]] = {"hold.total.amount": "248.40", "hold.lines.0.locked_price.price_tier_version": "1"}


HOLDS: Final = (
    Vector(
        "section of 10, A holds 3 for a short time, B 4 for a long one: A's end touches nothing of B's",
        show(10),
        (
            place("A", 3, hold_ttl_seconds=2),
            place("B", 4, by="bob", hold_ttl_seconds=900),
            counts(available=3, held=7),
            expires("A"),
            counts(available=6, held=4, sold=0),
            reads("B", by="bob", state="ACTIVE", expire_time="$B.hold.expire_time"),
        ),
    ),
    Vector(
        "the same, A confirmed in time: sold 3, B keeps its own expiry and price",
        show(10),
        (
            place("A", 3, price_tier_id=TIER),
            place("B", 2, by="bob", price_tier_id=TIER, gives=LOCKED),
            becomes("ConfirmHold", "A", "CONFIRMED"),
            counts(available=5, held=2, sold=3),
            on_hold("GetHold", "B", by="bob", gives={"hold.expire_time": "$B.hold.expire_time", **LOCKED}),
        ),
    ),
    Vector(
        "confirm from expire_time on: rejected",
        show(1000),
        (
            place("H", 2, hold_ttl_seconds=1),
            expires("H"),
            on_hold("ConfirmHold", "H", refused="HOLD_EXPIRED", tells={"expire_time": "$H.hold.expire_time"}),
            place("again", 2),
        ),
        shared=True,
    ),
    Vector(
        "confirm twice: same answer, sold once",
        show(10),
        (
            place("H", 2, price_tier_id=TIER),
            becomes("ConfirmHold", "H", "CONFIRMED", named="first"),
            becomes("ConfirmHold", "H", "CONFIRMED", gives={"sale": "$first.sale", "hold": "$first.hold"}),
            counts(sold=2, held=0, available=8),
        ),
    ),
    Vector(
        "release twice: no-op, same answer",
        show(10),
        (
            place("H", 3),
            becomes("ReleaseHold", "H", "RELEASED", named="first"),
            on_hold("ReleaseHold", "H", gives={"hold": "$first.hold"}),
            counts(available=10, held=0),
        ),
    ),
    Vector(
        "release after expiry: no-op, same answer",
        show(1000),
        (
            place("H", 3, hold_ttl_seconds=1),
            expires("H"),
            becomes("ReleaseHold", "H", "EXPIRED", named="first"),
            on_hold("ReleaseHold", "H", gives={"hold": "$first.hold"}),
        ),
        shared=True,
    ),
    Vector(
        "same request_id, same body: the original hold as it is now; other body: refused",
        show(10),
        (
            place("H", 2, price_tier_id=TIER, key="one"),
            place("same", 2, price_tier_id=TIER, key="one", replayed=True, gives={"hold": "$H.hold"}),
            place("other", 3, price_tier_id=TIER, key="one", refused="IDEMPOTENCY_KEY_REUSED"),
            place("another's", 3, by="bob", key="one"),
            becomes("ConfirmHold", "H", "CONFIRMED", key="two", named="sold"),
            on_hold("ConfirmHold", "H", key="two", replayed=True, gives={"sale": "$sold.sale"}),
            place("same", 2, price_tier_id=TIER, key="one", replayed=True, gives={"hold": "$sold.hold"}),
            counts(available=5, held=3, sold=2),
        ),
    ),
    Vector(
        "a key that was refused is judged afresh",
        show(2),
        (
            place("A", 2),
            place("B", 1, by="bob", key="one", refused="INSUFFICIENT_CAPACITY", tells={"available": "0"}),
            becomes("ReleaseHold", "A", "RELEASED"),
            place("B", 1, by="bob", key="one"),
            counts(available=1, held=1),
        ),
    ),
    Vector(
        "extend: by the customer, up to hold_ttl_seconds_max from creation, never shorter",
        show(1000),
        (
            place("H", 1, hold_ttl_seconds=60, gives={"hold.state": "ACTIVE"}),
            becomes("ExtendHold", "H", "ACTIVE", hold_ttl_seconds=3000, named="longer"),
            becomes("ExtendHold", "H", "ACTIVE", hold_ttl_seconds=1, gives={"hold": "$longer.hold"}),
            on_hold("ExtendHold", "H", hold_ttl_seconds=3601, refused="HOLD_LIFETIME_EXCEEDED"),
            reads("H", state="ACTIVE", expire_time="$longer.hold.expire_time"),
        ),
        shared=True,
    ),
    Vector(
        "extend: also by who placed it, by nobody else",
        show(1000),
        (
            place("H", 1, by="box", customer_id="ann", hold_ttl_seconds=60),
            becomes("ExtendHold", "H", "ACTIVE", by="box", hold_ttl_seconds=120),
            becomes("ExtendHold", "H", "ACTIVE", by="ann", hold_ttl_seconds=180),
            on_hold("ExtendHold", "H", by="bob", hold_ttl_seconds=240, refused="HOLD_NOT_FOUND"),
        ),
        shared=True,
    ),
    Vector(
        "extend: never after expiry",
        show(1000),
        (
            place("H", 1, hold_ttl_seconds=1),
            expires("H"),
            on_hold("ExtendHold", "H", hold_ttl_seconds=600, refused="HOLD_EXPIRED"),
        ),
        shared=True,
    ),
    Vector(
        "begin payment: counted as pending, with a deadline of its own that is never reset; no change, no extension",
        show(10),
        (
            place("H", 2, price_tier_id=TIER, hold_ttl_seconds=60),
            on_hold("BeginPayment", "H", expected_total=usd("1.00"), refused="TOTAL_MISMATCH"),
            counts(held=2, pending=0),
            becomes("BeginPayment", "H", "PENDING", expected_total=usd("248.40"), named="paying"),
            counts(available=8, held=0, pending=2),
            on_hold("BeginPayment", "H", payment_ttl_seconds=3000, gives={"hold": "$paying.hold"}),
            on_hold("ExtendHold", "H", hold_ttl_seconds=600, refused="HOLD_NOT_ACTIVE"),
            on_hold("ChangeHold", "H", release_lines=[{"number": 1, "quantity": 1}], refused="HOLD_NOT_ACTIVE"),
            becomes("ConfirmHold", "H", "CONFIRMED"),
            counts(available=8, pending=0, sold=2),
        ),
    ),
    Vector(
        "begin payment: expired at the payment's deadline",
        show(1000),
        (
            place("H", 2, hold_ttl_seconds=1),
            becomes("BeginPayment", "H", "PENDING", payment_ttl_seconds=2),
            expires("H"),
            on_hold("ConfirmHold", "H", refused="HOLD_EXPIRED"),
        ),
        shared=True,
    ),
    Vector(
        "payment came late, places still free: reacquire sells them at the old price, in a new hold",
        show(10),
        (
            place("H", 2, price_tier_id=TIER, hold_ttl_seconds=1),
            expires("H"),
            reprice("150.00"),
            on_hold("ConfirmHold", "H", refused="HOLD_EXPIRED"),
            becomes(
                "ConfirmHold",
                "H",
                "CONFIRMED",
                reacquire=True,
                gives={"hold.replaces_hold_id": "$H.hold.id", "sale.total.amount": "248.40"},
            ),
            reads("H", state="EXPIRED"),
            counts(available=8, held=0, sold=2),
        ),
    ),
    Vector(
        "payment came late, places gone: HOLD_EXPIRED, nothing sold",
        show(3),
        (
            place("H", 2, hold_ttl_seconds=1),
            expires("H"),
            place("B", 2, by="bob"),
            on_hold("ConfirmHold", "H", reacquire=True, refused="HOLD_EXPIRED"),
            counts(available=1, held=2, sold=0),
        ),
    ),
    Vector(
        "payment came late for seats: the same seats or none",
        theatre(),
        (
            place("H", section=SEATED, seats=seats("A-1", "A-2"), hold_ttl_seconds=1),
            expires("H"),
            place("B", by="bob", section=SEATED, seats=seats("A-2")),
            on_hold("ConfirmHold", "H", reacquire=True, refused="HOLD_EXPIRED"),
            becomes("ReleaseHold", "B", "RELEASED", by="bob"),
            becomes("ConfirmHold", "H", "CONFIRMED", reacquire=True, gives={"sale.lines.0.seats": ["A-1", "A-2"]}),
        ),
    ),
    Vector(
        "confirm with an expected_total that differs: nothing sold",
        show(10),
        (
            place("H", 2, price_tier_id=TIER),
            on_hold(
                "ConfirmHold",
                "H",
                expected_total=usd("248.39"),
                refused="TOTAL_MISMATCH",
                tells={"expected_total": "USD 248.39", "total": "USD 248.40"},
            ),
            counts(held=2, sold=0),
            becomes("ConfirmHold", "H", "CONFIRMED", expected_total=usd("248.40"), gives={"sale.state": "SOLD"}),
        ),
    ),
    Vector(
        "change a hold: drop one seat, add another: one commit, same expiry",
        theatre(),
        (
            place("H", section=SEATED, seats=seats("A-1", "A-2"), price_tier_id=TIER),
            place("B", by="bob", section=SEATED, seats=seats("A-4")),
            on_hold(
                "ChangeHold",
                "H",
                release_lines=[{"number": 1, "seats": seats("A-1")}],
                add_lines=[{"section_id": SEATED, "seats": seats("A-4"), "price_tier_id": TIER}],
                refused="SEATS_TAKEN",
                tells={"seats": "A-4"},
            ),
            on_hold("GetHold", "H", gives={"hold": "$H.hold"}),
            on_hold(
                "ChangeHold",
                "H",
                release_lines=[{"number": 1, "seats": seats("A-1")}],
                add_lines=[{"section_id": SEATED, "seats": seats("A-3"), "price_tier_id": TIER}],
                gives={
                    "hold.lines.0.seats": ["A-2"],
                    "hold.lines.1.seats": ["A-3"],
                    "hold.expire_time": "$H.hold.expire_time",
                    "hold.total.amount": "248.40",
                },
            ),
            place("C", by="bob", section=SEATED, seats=seats("A-1")),
            counts(SEATED, available=6, held=4),
        ),
    ),
    Vector(
        "change a hold: what is left of a line keeps the version of its tier",
        show(10),
        (
            place("H", 3, price_tier_id=TIER),
            reprice("150.00"),
            on_hold(
                "ChangeHold",
                "H",
                release_lines=[{"number": 1, "quantity": 1}],
                gives={
                    "hold.lines.0.quantity": 2,
                    "hold.expire_time": "$H.hold.expire_time",
                    **LOCKED,
                },
            ),
            on_hold("ChangeHold", "H", release_lines=[{"number": 1, "quantity": 3}], refused="LINE_EXCEEDED"),
            counts(available=8, held=2),
        ),
    ),
    Vector(
        "explicit seats, one taken: the whole request fails, the taken ones are named",
        theatre(),
        (
            place("B", by="bob", section=SEATED, seats=seats("A-2", "A-3")),
            place(
                "H",
                section=SEATED,
                seats=seats("A-1", "A-2", "A-3", "A-4"),
                refused="SEATS_TAKEN",
                tells={"section_id": SEATED, "seats": "A-2,A-3"},
            ),
            place("H", section=SEATED, seats=seats("A-99"), refused="SEAT_NOT_FOUND", tells={"seats": "A-99"}),
            place("H", section=SEATED, seats=seats("A-1", "A-4")),
            counts(SEATED, available=6, held=4),
        ),
    ),
    Vector(
        "several lines over several sections: all or nothing",
        (*venue_and_event(), create("section", 10), create("balcony", 1), *sales()),
        (
            place_lines(
                "H",
                {"section_id": SECTION, "quantity": 2},
                {"section_id": "$balcony.section.id", "quantity": 2},
                refused="INSUFFICIENT_CAPACITY",
                tells={"section_id": "$balcony.section.id", "available": "1"},
            ),
            counts(held=0, available=10),
            place_lines(
                "H",
                {"section_id": SECTION, "quantity": 2, "price_tier_id": TIER},
                {"section_id": "$balcony.section.id", "quantity": 1, "price_tier_id": TIER},
                gives={"hold.lines.0.quantity": 2, "hold.lines.1.quantity": 1, "hold.total.amount": "372.60"},
            ),
            counts(held=2),
            counts("$balcony.section.id", held=1, available=0),
        ),
    ),
    Vector(
        "1,000 callers, one place: exactly one wins",
        show(1),
        (
            Race(
                tuple(place(f"caller {number}", 1, by=f"caller-{number}") for number in range(1000)),
                wins=1,
                refused="INSUFFICIENT_CAPACITY",
            ),
            counts(available=0, held=1),
        ),
    ),
    Vector(
        "1,000 callers, one seat: exactly one wins",
        theatre(2),
        (
            Race(
                tuple(
                    place(f"caller {number}", by=f"caller-{number}", section=SEATED, seats=seats("A-1"))
                    for number in range(1000)
                ),
                wins=1,
                refused="SEATS_TAKEN",
            ),
            counts(SEATED, available=1, held=1),
        ),
    ),
    Vector(
        "min and max per order of the section",
        show(100, min_per_order=2, max_per_order=6),
        (
            place("H", 1, refused="PURCHASE_LIMIT", tells={"limit": "min_per_order", "value": "2"}),
            place("H", 7, refused="PURCHASE_LIMIT", tells={"limit": "max_per_order", "value": "6"}),
            place("H", 6),
            place("more", 6),
            counts(held=12),
        ),
    ),
    Vector(
        "max_per_order and max_per_customer of the tier: over live holds and sales",
        (
            *venue_and_event(),
            create("section", 100),
            *sales(),
            price_tier("limited", max_per_order=4, max_per_customer=6),
        ),
        (
            place(
                "H",
                5,
                price_tier_id="$limited.price_tier.id",
                refused="PURCHASE_LIMIT",
                tells={"limit": "max_per_order", "value": "4", "price_tier_id": "$limited.price_tier.id"},
            ),
            place("A", 2, price_tier_id="$limited.price_tier.id"),
            becomes("ConfirmHold", "A", "CONFIRMED"),
            place("B", 3, price_tier_id="$limited.price_tier.id"),
            place(
                "C",
                2,
                price_tier_id="$limited.price_tier.id",
                refused="PURCHASE_LIMIT",
                tells={"limit": "max_per_customer", "value": "6", "current": "5"},
            ),
            place("C", 2, by="bob", price_tier_id="$limited.price_tier.id"),
            becomes("ReleaseHold", "B", "RELEASED"),
            place("D", 4, price_tier_id="$limited.price_tier.id"),
            counts(held=6, sold=2),
        ),
    ),
    Vector(
        "hold of 5 on 1000 total, 100 sold, 50 held: available 850 → 845, held 50 → 55",
        show(1000),
        (
            place("sold", 100, by="bob"),
            becomes("ConfirmHold", "sold", "CONFIRMED", by="bob"),
            place("held", 50, by="bob"),
            counts(available=850, held=50, sold=100),
            place("H", 5),
            counts(available=845, held=55, sold=100),
        ),
    ),
    Vector(
        "price changes after the hold: it keeps its own; a new hold after its expiry gets the new one",
        show(10),
        (
            place("H", 2, price_tier_id=TIER, hold_ttl_seconds=3, gives=LOCKED),
            reprice("150.00"),
            on_hold("GetHold", "H", gives=LOCKED),
            expires("H"),
            place(
                "new",
                2,
                price_tier_id=TIER,
                gives={"hold.total.amount": "356.40", "hold.lines.0.locked_price.price_tier_version": "2"},
            ),
        ),
    ),
    Vector(
        "cancel the event: every live hold voided, new ones refused, sales cancelled",
        show(10),
        (
            place("A", 1),
            place("B", 2, by="bob"),
            place("sold", 3, by="bob"),
            becomes("ConfirmHold", "sold", "CONFIRMED", by="bob"),
            cancel_event(),
            reads("A", state="VOIDED", void_cause="EVENT_CANCELLED"),
            reads("B", by="bob", state="VOIDED", void_cause="EVENT_CANCELLED"),
            place("C", 1, refused="EVENT_CANCELLED"),
            counts(held=0),
        ),
    ),
    Vector(
        "sale returned: places come back to sale, or stay out",
        show(10),
        (
            place("H", 5, price_tier_id=TIER),
            becomes("ConfirmHold", "H", "CONFIRMED", named="sold"),
            give_back(
                {"quantity": 2},
                gives={
                    "sale.state": "PARTIALLY_RETURNED",
                    "sale.lines.0.returned_quantity": 2,
                    "sale_return.amount.amount": "248.40",
                },
            ),
            counts(available=7, sold=3, blocked=0),
            give_back(
                {"all": True},
                return_to="BLOCKED",
                gives={"sale.state": "RETURNED", "sale.returned_total.amount": "621.00"},
            ),
            counts(available=7, sold=0, blocked=3),
            give_back({"quantity": 1}, refused="SALE_NOT_ACTIVE", tells={"state": "RETURNED"}),
        ),
    ),
)
