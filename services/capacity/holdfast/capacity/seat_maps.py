"""The seats of events, in the memory of this process: who has them, until when, and where they go back to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.capacity import convert
from holdfast.capacity.domain.seat_map import EventSeats, SectionSeats
from holdfast.capacity.following import EVENTS_MAX, Following
from holdfast.capacity.seat_map_messages import seat_step_of
from holdfast.capacity.store import seat_map as store

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.api.capacity.v1 import messages_pb2
    from holdfast.capacity.domain.layouts import Layout
    from holdfast.capacity.engine.layouts import Layouts
    from holdfast.capacity.store.seat_map import SeatMapRead
    from holdfast.common.database import Database, Transaction
    from holdfast.common.metrics import Metrics


class _Read:
    """A reading with its layouts."""

    __slots__ = ("layouts", "tables")

    def __init__(self, tables: SeatMapRead, layouts: dict[str, Layout]) -> None:
        self.tables = tables
        self.layouts = layouts

    @property
    def version(self) -> int:
        """The version that was the newest."""
        return self.tables.version

    @property
    def at(self) -> datetime:
        """When it was that."""
        return self.tables.at


class SeatMaps(Following[EventSeats, _Read]):
    """The seats of the events that are asked for."""

    def __init__(self, *, database: Database, layouts: Layouts, metrics: Metrics, events_max: int = EVENTS_MAX) -> None:
        async def read(transaction: Transaction, event_id: str) -> _Read | None:
            found = await store.read(transaction, event_id)
            if found is None:
                return None
            revisions = {
                section.section_id: section.layout_revision
                for section in found.sections
                if section.section_id in found.rows.taken
            }
            return _Read(found, await layouts.read(transaction, revisions))

        super().__init__(
            database=database,
            read=read,
            made=_event_of,
            follow=_follow,
            readings=metrics.seat_map_readings_total,
            events_max=events_max,
        )


def _follow(event: EventSeats, change: messages_pb2.InventoryChanged) -> bool:
    return event.follow(seat_step_of(change))


def _event_of(read: _Read) -> EventSeats:
    tables, rows = read.tables, read.tables.rows
    controls = (
        convert.stored_controls(tables.controls)
        if tables.controls
        else convert.no_controls(tables.organization_id, tables.event_id)
    )
    return EventSeats(
        controls=controls,
        version=tables.version,
        changed_at=tables.changed_at,
        at=tables.at,
        sections=tables.sections,
        seats={
            section_id: SectionSeats(
                layout=read.layouts[section_id],
                taken=taken,
                claims={hold_id: list(claims) for hold_id, claims in rows.claims.get(section_id, {}).items()},
                blocks=dict(rows.blocks.get(section_id, {})),
            )
            for section_id, taken in rows.taken.items()
        },
    )
