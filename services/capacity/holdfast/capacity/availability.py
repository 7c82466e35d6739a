"""What is left of events, in the memory of this process: counters of sections, and when holds end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.capacity import convert
from holdfast.capacity.availability_messages import step_of
from holdfast.capacity.domain.availability import EventAvailability
from holdfast.capacity.following import EVENTS_MAX, Following
from holdfast.capacity.store import availability as store

if TYPE_CHECKING:
    from holdfast.api.capacity.v1 import messages_pb2
    from holdfast.capacity.store.availability import AvailabilityRead
    from holdfast.common.database import Database
    from holdfast.common.metrics import Metrics


class Availabilities(Following[EventAvailability, "AvailabilityRead"]):
    """The availability of the events that are asked for."""

    def __init__(self, *, database: Database, metrics: Metrics, events_max: int = EVENTS_MAX) -> None:
        super().__init__(
            database=database,
            read=store.read,
            made=_event_of,
            follow=_follow,
            readings=metrics.availability_readings_total,
            events_max=events_max,
        )


def _follow(event: EventAvailability, change: messages_pb2.InventoryChanged) -> bool:
    return event.follow(step_of(change))


def _event_of(read: AvailabilityRead) -> EventAvailability:
    controls = (
        convert.stored_controls(read.controls)
        if read.controls
        else convert.no_controls(read.organization_id, read.event_id)
    )
    return EventAvailability(
        controls=controls,
        version=read.version,
        changed_at=read.changed_at,
        at=read.at,
        sections=read.sections,
        claims=read.claims,
        ended_blocks=read.ended_blocks,
    )
