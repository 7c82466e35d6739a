"""An event: its fields, and the rules that hold between them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from holdfast.common.errors import DomainError, Reason, invalid
from holdfast.events.domain.lifecycle import LISTED_STATES, EventState
from holdfast.events.domain.schedules import UPCOMING_STATES
from holdfast.events.domain.venues import VenueKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from holdfast.events.domain.schedules import Schedule
    from holdfast.events.domain.venues import Venue


class EventKind(StrEnum):
    """How many dates; the names of `Event.Kind`."""

    SINGLE = "SINGLE"
    RECURRING = "RECURRING"
    SERIES = "SERIES"


class Visibility(StrEnum):
    """Who finds it; the names of `Event.Visibility`."""

    PUBLIC = "PUBLIC"
    PRIVATE = "PRIVATE"
    UNLISTED = "UNLISTED"


PERCENT_MAX: Final = Decimal(100)

FIELD_DEFAULTS: Final[Mapping[str, Any]] = {
    "description": None,
    "short_description": None,
    "kind": EventKind.SINGLE,
    "visibility": Visibility.PUBLIC,
    "is_featured": False,
    "priority_score": 0,
    "tags": (),
    "banner_image_url": None,
    "thumbnail_image_url": None,
    "video_url": None,
    "is_virtual": False,
    "is_hybrid": False,
    "virtual_event_url": None,
    "streaming_platform": None,
    "streaming_config": None,
    "age_restriction": None,
    "dress_code": None,
    "special_requirements": (),
    "accessibility_info": None,
    "royalty_percentage": None,
    "artist_percentage": None,
    "venue_percentage": None,
    "cancellation_policy": None,
    "refund_policy": None,
    "cancellation_deadline_hours": 24,
    "meta_title": None,
    "meta_description": None,
    "meta_keywords": (),
    "external_id": None,
    "settings": None,
    "metadata": None,
    "gate_ids": (),
    "sales_start_time": None,
    "sales_end_time": None,
}
"""What an event that says nothing gets, and what a cleared field returns to. `organizer_id` returns to the creator;
`name` and `venue_id` cannot be cleared."""

REQUIRED_FIELDS: Final = frozenset({"name", "venue_id"})
ORDINARY_FIELDS: Final = frozenset(FIELD_DEFAULTS) | REQUIRED_FIELDS | {"organizer_id"}
"""What UpdateEvent may change."""


@dataclass(frozen=True, slots=True)
class Event:
    """A show. Times are aware and in UTC, percentages decimals from 0 to 100."""

    id: str
    organization_id: str
    venue_id: str
    name: str
    slug: str
    description: str | None
    short_description: str | None
    kind: EventKind
    state: EventState
    visibility: Visibility
    is_featured: bool
    priority_score: int
    tags: tuple[str, ...]
    banner_image_url: str | None
    thumbnail_image_url: str | None
    video_url: str | None
    is_virtual: bool
    is_hybrid: bool
    virtual_event_url: str | None
    streaming_platform: str | None
    streaming_config: Mapping[str, Any] | None
    age_restriction: int | None
    dress_code: str | None
    special_requirements: tuple[str, ...]
    accessibility_info: Mapping[str, Any] | None
    royalty_percentage: Decimal | None
    artist_percentage: Decimal | None
    venue_percentage: Decimal | None
    cancellation_policy: str | None
    refund_policy: str | None
    cancellation_deadline_hours: int
    meta_title: str | None
    meta_description: str | None
    meta_keywords: tuple[str, ...]
    external_id: str | None
    organizer_id: str
    settings: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None
    gate_ids: tuple[str, ...]
    sales_start_time: datetime | None
    sales_end_time: datetime | None
    cancel_time: datetime | None
    cancellation_reason: str | None
    initial_capacity: int
    created_by: str
    updated_by: str
    create_time: datetime
    update_time: datetime
    delete_time: datetime | None
    version: int

    @property
    def etag(self) -> str:
        """Changes with every change of the event or of one of its dates."""
        return str(self.version)


@dataclass(frozen=True, slots=True)
class Figures:
    """What capacity last reported of an event's inventory, at one of its versions.

    `sold_out` is capacity's own judgement: nothing is available, held or pending.
    """

    capacity: int
    available: int
    sold: int
    sold_out: bool
    inventory_version: int


def visible(event: Event, *, member: bool) -> bool:
    """Tell whether the event exists for a caller; members of the organization see everything that is not deleted."""
    if event.delete_time is not None:
        return False
    return member or (event.state in LISTED_STATES and event.visibility is not Visibility.PRIVATE)


def not_found(event_id: str) -> DomainError:
    """Give the EVENT_NOT_FOUND error; the same whether the event is unknown, somebody else's or hidden."""
    return DomainError(Reason.EVENT_NOT_FOUND, "no such event", metadata={"event_id": event_id})


def check_etag(etag: str, current: str) -> None:
    """Refuse a conditional change of something that changed meanwhile; an empty etag is no condition."""
    if etag and etag != current:
        raise DomainError(Reason.ETAG_MISMATCH, "it changed since the etag was read", metadata={"etag": current})


def check_percentages(event: Event) -> None:
    """Refuse shares outside 0 to 100, and an artist's and a venue's share that are more than all of it together."""
    for name in ("royalty_percentage", "artist_percentage", "venue_percentage"):
        share: Decimal | None = getattr(event, name)
        if share is not None and not 0 <= share <= PERCENT_MAX:
            raise invalid(f"event.{name}", "must be from 0 to 100")
    if (event.artist_percentage or Decimal(0)) + (event.venue_percentage or Decimal(0)) > PERCENT_MAX:
        raise invalid("event.artist_percentage", "with venue_percentage at most 100")


def check_venue_fits(event: Event, venue: Venue) -> None:
    """Refuse a virtual event at a place with doors, one with doors at no place, and gates that the venue has not."""
    if event.is_virtual and event.is_hybrid:
        raise invalid("event.is_hybrid", "an event is virtual or hybrid, not both")
    if event.is_virtual and venue.kind is not VenueKind.VIRTUAL:
        raise invalid("event.venue_id", "a virtual event needs a venue of kind VIRTUAL")
    if not event.is_virtual and venue.kind is VenueKind.VIRTUAL:
        raise invalid("event.venue_id", "only a virtual event can be at a venue of kind VIRTUAL")
    known = {gate.id for gate in venue.gates}
    for index, gate_id in enumerate(event.gate_ids):
        if gate_id not in known:
            raise invalid(f"event.gate_ids[{index}]", f"the venue has no gate {gate_id!r}")


def check_initial_capacity(capacity: int, venue: Venue) -> None:
    """Refuse a first section that the venue cannot take."""
    if capacity > venue.max_capacity:
        raise capacity_exceeded(maximum=venue.max_capacity, total=capacity)


def capacity_exceeded(*, maximum: int, total: int) -> DomainError:
    """Give the VENUE_CAPACITY_EXCEEDED error."""
    return DomainError(
        Reason.VENUE_CAPACITY_EXCEEDED,
        f"the venue takes {maximum}",
        metadata={"maximum": str(maximum), "total": str(total)},
    )


def check_single(kind: EventKind, schedules: Iterable[Schedule]) -> None:
    """Refuse a second live date of a SINGLE event."""
    if kind is EventKind.SINGLE and sum(1 for one in schedules if one.live) > 1:
        raise invalid("event.kind", "a SINGLE event has at most one live date")


def missing_for_publishing(event: Event, schedules: Iterable[Schedule], *, now: datetime) -> list[str]:
    """List what publishing needs and the event has not."""
    missing = []
    if not any(one.state in UPCOMING_STATES and one.start_time > now for one in schedules):
        missing.append("future_schedule")
    if (event.is_virtual or event.is_hybrid) and not event.virtual_event_url:
        missing.append("virtual_event_url")
    return missing


def missing_for_sales(*, active_sections: int, active_price_tiers: int) -> list[str]:
    """List what starting sales needs besides what publishing needs."""
    missing = []
    if active_sections < 1:
        missing.append("active_section")
    if active_price_tiers < 1:
        missing.append("active_price_tier")
    return missing
