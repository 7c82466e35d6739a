"""Events, venues and dates for the tests of pure rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from holdfast.events.domain.events import FIELD_DEFAULTS, Event
from holdfast.events.domain.lifecycle import EventState
from holdfast.events.domain.organizations import DEFAULT_SETTINGS, Organization, OrganizationState
from holdfast.events.domain.scenes import Scene
from holdfast.events.domain.schedules import Schedule, ScheduleState
from holdfast.events.domain.venues import Venue, VenueKind

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
ORGANIZATION_ID = "018f0000-0000-7000-8000-000000000001"


def organization(**changes: Any) -> Organization:
    values: dict[str, Any] = {
        "organization_id": ORGANIZATION_ID,
        "name": "Paradiso",
        "slug": "paradiso",
        "state": OrganizationState.ACTIVE,
        **DEFAULT_SETTINGS,
        "version": 1,
        "create_time": NOW,
        "update_time": NOW,
    }
    return Organization(**values | changes)


def venue(**changes: Any) -> Venue:
    values: dict[str, Any] = {
        "id": "venue",
        "organization_id": ORGANIZATION_ID,
        "name": "Main Hall",
        "slug": "main-hall",
        "kind": VenueKind.PHYSICAL,
        "time_zone": "Europe/Amsterdam",
        "address": None,
        "max_capacity": 5000,
        "access_rules": None,
        "default_doors_minutes": None,
        "gates": (),
        "version": 1,
        "create_time": NOW,
        "update_time": NOW,
        "delete_time": None,
    }
    return Venue(**values | changes)


def event(**changes: Any) -> Event:
    values: dict[str, Any] = {
        "id": "event",
        "organization_id": ORGANIZATION_ID,
        "venue_id": "venue",
        "name": "Jazz Night",
        "slug": "main-hall-jazz-night",
        "state": EventState.DRAFT,
        **FIELD_DEFAULTS,
        "organizer_id": "ann",
        "cancel_time": None,
        "cancellation_reason": None,
        "initial_capacity": 0,
        "created_by": "ann",
        "updated_by": "ann",
        "create_time": NOW,
        "update_time": NOW,
        "delete_time": None,
        "version": 1,
    }
    return Event(**values | changes)


def schedule(**changes: Any) -> Schedule:
    start = changes.get("start_time", NOW + timedelta(days=10))
    values: dict[str, Any] = {
        "id": "schedule",
        "organization_id": ORGANIZATION_ID,
        "event_id": "event",
        "start_time": start,
        "end_time": start + timedelta(hours=3),
        "doors_time": None,
        "time_zone": "Europe/Amsterdam",
        "state": ScheduleState.SCHEDULED,
        "state_reason": None,
        "capacity_override": None,
        "check_in_open_time": None,
        "check_in_close_time": None,
        "notes": None,
        "version": 1,
        "create_time": NOW,
        "update_time": NOW,
    }
    return Schedule(**values | changes)


def scene(*schedules: Schedule, **changes: Any) -> Scene:
    return Scene(event=event(**changes), organization=organization(), venue=venue(), schedules=schedules)
