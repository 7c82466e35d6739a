"""What is expected of sections and their places, as data: maxima, blocks, the best seats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.e2e.vectors import (
    DATE,
    EVENT,
    SEATED,
    SECTION,
    VENUE,
    Call,
    Race,
    Vector,
    becomes,
    block,
    counts,
    create,
    place,
    resize,
    seats,
    set_buffer,
    show,
    theatre,
    unblock,
    venue_and_event,
)

if TYPE_CHECKING:
    from tests.e2e.vectors import Step


def sold_out_but(*free: str, of: int) -> tuple[Step, ...]:
    """Hold all seats of the row but some."""
    others = [f"A-{number}" for number in range(1, of + 1) if f"A-{number}" not in free]
    return (place("others", by="bob", section=SEATED, seats=seats(*others)),)


PLACES: Final = (
    Vector(
        "cut a section's total below held + pending + sold + blocked: rejected",
        show(10),
        (
            place("sold", 3),
            becomes("ConfirmHold", "sold", "CONFIRMED"),
            place("held", 2),
            resize(4, refused="CAPACITY_COMMITTED", tells={"section_id": SECTION, "committed": "5"}),
            resize(5),
            counts(total=5, available=0, held=2, sold=3),
        ),
    ),
    Vector(
        "the same with pending and blocked places",
        show(10),
        (
            place("H", 3),
            becomes("BeginPayment", "H", "PENDING"),
            block(2),
            resize(4, refused="CAPACITY_COMMITTED", tells={"committed": "5"}),
            resize(5),
            counts(total=5, available=0, pending=3, blocked=2),
        ),
    ),
    Vector(
        "sections 2000 + 2500 + 1000 for a venue of 5000: the third is rejected",
        (*venue_and_event(max_capacity=5000), create("section", 2000), create("balcony", 2500)),
        (create("boxes", 1000, refused="VENUE_CAPACITY_EXCEEDED", tells={"maximum": "5000", "total": "5500"}),),
    ),
    Vector(
        "sections 2000, then 2500 and 1000 at once: one of the two is rejected",
        (*venue_and_event(max_capacity=5000), create("section", 2000)),
        (Race((create("balcony", 2501), create("boxes", 500)), wins=1, refused="VENUE_CAPACITY_EXCEEDED"),),
    ),
    Vector(
        "several dates: a date's sections and the event-wide ones stay within the venue's maximum",
        (
            *venue_and_event(max_capacity=5000, kind="SERIES"),
            Call("CreateSchedule", {"event_id": EVENT, "schedule": {"start_time": "@+31d"}}, "olga", named="second"),
        ),
        (
            create("first night", 3000, schedule_id=DATE),
            create("second night", 3000, schedule_id="$second.schedule.id"),
            create("section", 2000),
            create("boxes", 1, refused="VENUE_CAPACITY_EXCEEDED", tells={"maximum": "5000", "total": "5001"}),
            create("first boxes", 1, schedule_id=DATE, refused="VENUE_CAPACITY_EXCEEDED"),
        ),
    ),
    Vector(
        "several dates: and within the date's capacity_override",
        (
            *venue_and_event(max_capacity=5000, kind="SERIES"),
            Call(
                "CreateSchedule",
                {"event_id": EVENT, "schedule": {"start_time": "@+31d", "capacity_override": 1000}},
                "olga",
                named="second",
            ),
        ),
        (
            create("first night", 3000, schedule_id=DATE),
            create("second night", 600, schedule_id="$second.schedule.id"),
            create("section", 401, refused="VENUE_CAPACITY_EXCEEDED", tells={"maximum": "1000", "total": "1001"}),
            create("section", 400),
        ),
    ),
    Vector(
        "a section's own numbers: total ≥ 1 on create, ≥ 0 on update; 1 ≤ min ≤ max per order",
        venue_and_event(),
        (
            create("empty", 0, refused="VALIDATION_FAILED"),
            create("odd", 10, min_per_order=3, max_per_order=2, refused="VALIDATION_FAILED"),
            create("none", 10, min_per_order=0, refused="VALIDATION_FAILED"),
            create("section", 10, min_per_order=2, max_per_order=2),
            resize(0),
            resize(-1, refused="VALIDATION_FAILED"),
            counts(total=0, available=0),
        ),
    ),
    Vector(
        "a section's own numbers: rows add up to its total",
        venue_and_event(),
        (
            Call(
                "GenerateSeating",
                {"event_id": EVENT, "config": {"rows": 3, "cols": 7, "sections": [{"name": "Stalls"}]}},
                "olga",
                gives={"seat_count": 21, "sections.0.total": 21, "sections.0.layout.row_count": 3},
            ),
        ),
    ),
    Vector(
        "a section's own numbers: the buffer is a counter of its own inside blocked",
        show(10),
        (
            block(2),
            set_buffer(3),
            counts(available=5, blocked=5, buffer=3),
            set_buffer(1),
            counts(available=7, blocked=3, buffer=1),
            set_buffer(9, refused="INSUFFICIENT_CAPACITY"),
            unblock(),
            counts(available=9, blocked=1, buffer=1),
        ),
    ),
    Vector(
        "create with capacity 5000: one general-admission section of 5000",
        (
            Call("CreateVenue", {"venue": {"name": "Arena", "max_capacity": 5000}}, "olga", named="venue"),
            Call(
                "CreateEvent",
                {"event": {"venue_id": VENUE, "name": "Big Night", "starts_at": "@+30d", "capacity": 5000}},
                "olga",
                named="event",
            ),
        ),
        (
            Call(
                "ListSections",
                {"event_id": EVENT},
                "olga",
                gives={"sections.0.kind": "GENERAL", "sections.0.total": 5000, "sections.1": None},
            ),
        ),
    ),
    Vector(
        "block and unblock a quantity: never sellable while blocked, with a note and an actor",
        show(10),
        (
            block(4),
            counts(available=6, blocked=4),
            place("H", 7, refused="INSUFFICIENT_CAPACITY", tells={"available": "6"}),
            place("H", 6),
            unblock(1, left=3),
            place("more", 1),
            counts(available=0, blocked=3, held=7),
        ),
    ),
    Vector(
        "block and unblock seats; a hold from a block needs the permission",
        theatre(),
        (
            Call(
                "BlockSeats",
                {"section_id": SEATED, "seats": seats("A-1", "A-2"), "kind": "KILL", "note": "camera"},
                "olga",
                gives={"block.seats": ["A-1", "A-2"], "block.kind": "KILL", "block.actor": "olga"},
                named="block",
            ),
            counts(SEATED, available=8, blocked=2),
            place("H", section=SEATED, seats=seats("A-2", "A-3"), refused="SEATS_TAKEN", tells={"seats": "A-2"}),
            place(
                "H",
                section=SEATED,
                seats=seats("A-1"),
                block_id="$block.block.id",
                refused="PERMISSION_MISSING",
            ),
            place("guest", by="box", section=SEATED, seats=seats("A-1"), block_id="$block.block.id"),
            counts(SEATED, available=8, blocked=1, held=1),
            unblock(),
            place("H", section=SEATED, seats=seats("A-2", "A-3")),
            counts(SEATED, available=7, blocked=0, held=3),
        ),
    ),
    Vector(
        "best available, 4, the fifth of ten taken: seats 1-4",
        theatre(10),
        (
            place("B", by="bob", section=SEATED, seats=seats("A-5")),
            place(
                "H",
                section=SEATED,
                best_available={"quantity": 4},
                gives={"hold.lines.0.seats": ["A-1", "A-2", "A-3", "A-4"]},
            ),
        ),
    ),
    Vector(
        "best available, 4, only two free: fails, nothing held",
        theatre(6),
        (
            *sold_out_but("A-3", "A-4", of=6),
            place("H", section=SEATED, best_available={"quantity": 4}, refused="INSUFFICIENT_CAPACITY"),
            counts(SEATED, available=2, held=4),
        ),
    ),
    Vector(
        "best available, nothing contiguous: fails, or with allow_split the largest blocks first",
        theatre(9),
        (
            *sold_out_but("A-1", "A-2", "A-3", "A-4", "A-6", "A-7", "A-9", of=9),
            place("H", section=SEATED, best_available={"quantity": 6}, refused="INSUFFICIENT_CAPACITY"),
            place(
                "H",
                section=SEATED,
                best_available={"quantity": 6, "allow_split": True},
                gives={"hold.lines.0.seats": ["A-1", "A-2", "A-3", "A-4", "A-6", "A-7"]},
            ),
            counts(SEATED, available=1, held=8),
        ),
    ),
)
