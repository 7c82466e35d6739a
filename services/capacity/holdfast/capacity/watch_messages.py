"""Proto ⇄ domain of following availability, pure: what rows of the journal touched, and steps as they are told."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from holdfast.api.capacity.v1 import (
    availability_pb2,
    inventory_service_pb2,
    messages_pb2,
    seat_map_pb2,
)
from holdfast.capacity.availability_messages import availability_message
from holdfast.capacity.domain.bitmaps import indexes_of, mask_of
from holdfast.capacity.domain.watching import Touched
from holdfast.capacity.seat_map_messages import seat_map_message

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from holdfast.capacity.domain.watching import Delta, Told, View


def touched_by(bodies: Iterable[bytes], *, after_version: int, version: int) -> Touched | None:
    """Read from rows of the journal what the commits after a version touched; None unless they are all there."""
    sections: dict[str, str | None] = {}
    seats: dict[str, int] = {}
    labels: defaultdict[str, set[str]] = defaultdict(set)
    opaque = False
    for body in bodies:
        change = messages_pb2.InventoryChanged.FromString(body)
        after_version += 1
        if change.version != after_version:
            return None
        opaque |= change.repaired
        for section in change.sections:
            sections[section.section_id] = section.schedule_id or None
        for each in change.seats:
            seats[each.section_id] = seats.get(each.section_id, 0) | mask_of(each.indexes)
        for line in _taken_lines(change):
            labels[line.section_id].update(line.seats)
    return Touched(sections, seats, labels, opaque) if after_version == version else None


def _taken_lines(
    change: messages_pb2.InventoryChanged,
) -> Iterator[messages_pb2.LineAmount | messages_pb2.BlockChange]:
    """Give what a commit let somebody have, and what they had before."""
    for hold in change.holds:
        yield from hold.lines
    for exchange in change.exchanges:
        yield from exchange.taken_lines
    yield from change.blocks


def step_message(event_id: str, told: Told, *, hidden: bool) -> inventory_service_pb2.WatchAvailabilityResponse:
    """Give what somebody who follows an event is told."""
    if told.delta is None:
        return _snapshot(event_id, told.view, hidden=hidden)
    return inventory_service_pb2.WatchAvailabilityResponse(delta=_delta(event_id, told.view, told.delta, hidden=hidden))


def _snapshot(event_id: str, view: View, *, hidden: bool) -> inventory_service_pb2.WatchAvailabilityResponse:
    answer = inventory_service_pb2.WatchAvailabilityResponse(
        snapshot=availability_message(event_id, view.availability, at=view.at, newest_at=view.newest_at, hidden=hidden)
    )
    if view.seats is not None:
        answer.seat_map.CopyFrom(
            seat_map_message(
                event_id,
                view.seats,
                at=view.at,
                newest_at=view.newest_at,
                hidden=hidden,
                staff=False,
            )
        )
    return answer


def _delta(event_id: str, view: View, delta: Delta, *, hidden: bool) -> inventory_service_pb2.AvailabilityDelta:
    availability = availability_message(
        event_id, view.availability, at=view.at, newest_at=view.newest_at, hidden=hidden, sections=delta.sections
    )
    availability.sections.extend(
        availability_pb2.SectionAvailability(section_id=section_id, deleted=True) for section_id in delta.gone
    )
    return inventory_service_pb2.AvailabilityDelta(
        availability=availability,
        after_version=delta.after_version,
        seats=[
            seat_map_pb2.SeatChange(section_id=section_id, indexes=indexes_of(mask), taken=taken)
            for masks, taken in ((delta.taken, True), (delta.freed, False))
            for section_id, mask in masks.items()
        ],
    )
