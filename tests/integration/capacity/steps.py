"""Steps that several tests of blocks, sales and sections take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.common.ids import new_id

if TYPE_CHECKING:
    from holdfast.api.capacity.v1 import block_pb2, hold_pb2, section_pb2
    from tests.integration.capacity.conftest import Capacity


async def seated(capacity: Capacity, event_id: str, *, rows: int = 2, cols: int = 5) -> section_pb2.Section:
    """Make a section of rows A, B … of seats 1, 2 … each."""
    config = {"rows": rows, "cols": cols, "sections": [{"name": f"Seats {new_id()}"}]}
    made: section_pb2.Section = (await capacity.call("GenerateSeating", event_id=event_id, config=config)).sections[0]
    return made


async def hold_seats(capacity: Capacity, section: section_pb2.Section, *labels: str, **fields: Any) -> hold_pb2.Hold:
    """Hold seats as staff do."""
    answer = await capacity.call("PlaceHold", section_id=section.id, seats={"labels": labels}, **fields)
    hold: hold_pb2.Hold = answer.hold
    return hold


async def sold(capacity: Capacity, hold: hold_pb2.Hold) -> hold_pb2.Sale:
    """Confirm a hold."""
    made: hold_pb2.Sale = (await capacity.call("ConfirmHold", hold_id=hold.id)).sale
    return made


async def blocked(capacity: Capacity, section: section_pb2.Section, what: int | list[str]) -> block_pb2.Block:
    """Block a number of places, or seats."""
    if isinstance(what, int):
        answer = await capacity.call("BlockQuantity", section_id=section.id, quantity=what, note="house")
    else:
        answer = await capacity.call("BlockSeats", section_id=section.id, seats={"labels": what}, note="house")
    made: block_pb2.Block = answer.block
    return made


async def figures(capacity: Capacity, section_id: str) -> tuple[int, int, int, int]:
    """Give what of a section is available, held, sold and blocked, as callers see it."""
    shown = await capacity.read(section_id)
    return shown.available, shown.held, shown.sold, shown.blocked


def claimed_seats(capacity: Capacity, section_id: str) -> dict[int, str]:
    """Give the seats that are claimed, by index: `hold` or `block`."""
    return dict(
        capacity.rows(
            "SELECT seat_index, CASE WHEN block_id IS NULL THEN 'hold' ELSE 'block' END FROM capacity.seat_claims"
            " WHERE section_id = %s ORDER BY seat_index",
            section_id,
        )
    )


def taken_seats(capacity: Capacity, section_id: str) -> list[int]:
    """Give the seats that a section's bitmap has as taken."""
    (stored,) = capacity.rows("SELECT taken FROM capacity.sections WHERE id = %s", section_id)[0]
    bitmap = int.from_bytes(stored, "little")
    return [seat for seat in range(bitmap.bit_length()) if bitmap >> seat & 1]
