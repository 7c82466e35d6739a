"""Steps that several tests of blocks, sales and sections take."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from holdfast.capacity.domain.layouts import Layout
from holdfast.capacity.domain.placing import LineRequest, PlaceRequest
from holdfast.capacity.domain.seat_rows import Numbers, Row, SeatRun
from holdfast.capacity.operations.holds import PlaceHold
from holdfast.common.ids import new_id

if TYPE_CHECKING:
    from holdfast.api.capacity.v1 import block_pb2, hold_pb2, section_pb2
    from tests.integration.capacity.conftest import Capacity


async def seated(capacity: Capacity, event_id: str, *, rows: str = "AB", seats: int = 5) -> section_pb2.Section:
    """Make a section of rows A, B … of so many seats each, as its rows would be."""
    made = await capacity.section(event_id, len(rows) * seats)
    layout = Layout(tuple(Row(label, (SeatRun(1, (Numbers(1, 1, seats),)),)) for label in rows))
    changed = capacity.change(
        "UPDATE capacity.sections SET kind = 'SEATED', layout_revision = 1, row_layout = %s, taken = %s WHERE id = %s",
        json.dumps(layout.to_json()),
        bytes((layout.size + 7) // 8),
        made.id,
    )
    assert changed == 1
    return await capacity.read(made.id)


async def hold_seats(capacity: Capacity, section: section_pb2.Section, *labels: str, **fields: Any) -> hold_pb2.Hold:
    """Hold seats by a replica's engine; `fields` are of the line (block_id) or of the request."""
    block_id = fields.pop("block_id", None)
    request = PlaceRequest(
        hold_id=new_id(),
        event_id=section.event_id,
        customer_id=fields.pop("customer_id", "user:buyer"),
        placed_by="user:buyer",
        lines=(LineRequest(section.id, None, len(labels), labels=labels, block_id=block_id),),
        **fields,
    )
    async with capacity.engine_of_the_service() as submit:
        await submit(section.event_id, PlaceHold(request))
    return await capacity.hold(request.hold_id)


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
    bitmap = int.from_bytes(
        bytes(capacity.rows("SELECT taken FROM capacity.sections WHERE id = %s", section_id)[0][0]), "little"
    )
    return [seat for seat in range(bitmap.bit_length()) if bitmap >> seat & 1]
