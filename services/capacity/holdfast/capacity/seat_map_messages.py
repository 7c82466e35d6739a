"""Proto ⇄ domain of seat maps, pure: the journal's rows as steps, and answers."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from holdfast.api.capacity.v1 import hold_pb2, messages_pb2, seat_map_pb2
from holdfast.capacity.convert_seating import section_seats_message, written_layout
from holdfast.capacity.domain.availability import microseconds
from holdfast.capacity.domain.claims import SECOND
from holdfast.capacity.domain.seat_map import BlockStep, HeldSeats, HoldStep, SeatStep
from holdfast.common.errors import invalid
from holdfast.common.protobuf import to_datetime, to_timestamp

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.capacity.domain.layouts import Layout
    from holdfast.capacity.domain.seat_map import SeatMap

SEATS_WITH_LAYOUT_MAX: Final = 200_000
"""Seats of an answer with layouts: about 1 MB."""
REMEMBERED_BYTES_MAX: Final = 32 * 1024 * 1024

_STATE: Final = hold_pb2.Hold.State
_LIVE: Final = frozenset({_STATE.ACTIVE, _STATE.PENDING})


def seat_step_of(message: messages_pb2.InventoryChanged) -> SeatStep:
    """Read a row of the journal as seat maps follow it."""
    return SeatStep(
        version=message.version,
        at=to_datetime(message.occur_time, field="occur_time"),
        controls_version=message.controls_version,
        revisions={each.section_id: None if each.deleted else each.revision for each in message.sections},
        holds=tuple(_hold_step(hold) for hold in message.holds),
        blocks=tuple(
            BlockStep(block.block_id, block.section_id, tuple(block.seats), block.ended) for block in message.blocks
        ),
        taken=tuple((each.section_id, tuple(each.indexes), each.taken) for each in message.seats),
        opaque=message.repaired,
    )


def _hold_step(hold: messages_pb2.HoldChange) -> HoldStep:
    if hold.state not in _LIVE:
        return HoldStep(hold.hold_id, live=False)
    return HoldStep(
        hold.hold_id,
        live=True,
        pending=hold.state == _STATE.PENDING,
        expire_us=hold.expire_time.seconds * SECOND + hold.expire_time.nanos // 1000,
        seats=tuple(HeldSeats(line.section_id, tuple(line.seats), line.block_id) for line in hold.lines if line.seats),
    )


class WrittenLayouts:
    """Layouts as answers have them, remembered by revision: spelling out every label takes far longer than a bitmap."""

    def __init__(self, bytes_max: int = REMEMBERED_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._known: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def of(self, section_id: str, layout: Layout) -> bytes:
        """Give the part of a section's seat map that tells its layout."""
        key = (section_id, layout.revision)
        written = self._known.get(key)
        if written is None:
            written = self._known[key] = written_layout(layout)
            self._bytes += len(written)
            while self._bytes > self._bytes_max and len(self._known) > 1:
                _, gone = self._known.popitem(last=False)
                self._bytes -= len(gone)
        else:
            self._known.move_to_end(key)
        return written


def add_layouts(message: seat_map_pb2.SeatMap, found: SeatMap, layouts: WrittenLayouts) -> None:
    """Add the layouts to an answer. VALIDATION_FAILED when they are more than one answer tells."""
    if sum(each.layout.size for each in found.sections) > SEATS_WITH_LAYOUT_MAX:
        raise invalid("with_layout", f"the layouts of more than {SEATS_WITH_LAYOUT_MAX:,} seats: ask for one date")
    for section, shown in zip(message.sections, found.sections, strict=True):
        section.MergeFromString(layouts.of(shown.section.section_id, shown.layout))


def seat_map_message(  # noqa: PLR0913 (who asks, and for what)
    event_id: str, found: SeatMap, *, at: datetime, newest_at: datetime, hidden: bool, staff: bool
) -> seat_map_pb2.SeatMap:
    """Give an answer; `at` is now, `newest_at` until when its version is known to have been the newest."""
    return seat_map_pb2.SeatMap(
        event_id=event_id,
        sections=[section_seats_message(each, staff=staff) for each in found.sections],
        inventory_version=found.version,
        age_milliseconds=max(0, microseconds(at) - microseconds(newest_at)) // 1000,
        server_time=to_timestamp(at),
        next_change_time=None if found.next_change_time is None else to_timestamp(found.next_change_time),
        etag=etag_of(found, hidden=hidden, staff=staff),
    )


def etag_of(found: SeatMap, *, hidden: bool, staff: bool) -> str:
    """Give the version, what the clock changed since, whether all sections are shown, and whether who has seats is."""
    clock = f".{found.clock_version:x}" if found.clock_version else ""
    return f"{found.version}{clock}{'+' if hidden else ''}{'*' if staff else ''}"
