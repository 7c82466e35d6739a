"""Event, its history and its controls ⇄ proto."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from holdfast.api.events.v1 import event_pb2
from holdfast.common.protobuf import to_datetime, to_struct, to_timestamp
from holdfast.events.convert.values import CLEARED, canonical_id, json_values, stamp
from holdfast.events.domain.events import EventKind, Visibility
from holdfast.events.domain.lifecycle import POLICIES, EventState, sales_allowed
from holdfast.events.domain.schedules import last_start, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from holdfast.events.domain.events import Event, Figures
    from holdfast.events.domain.lifecycle import Transition
    from holdfast.events.domain.scenes import Scene
    from holdfast.events.domain.schedules import Schedule

_STRUCTS: Final = frozenset({"streaming_config", "accessibility_info", "settings", "metadata"})
_LISTS: Final = frozenset({"tags", "special_requirements", "meta_keywords", "gate_ids"})
_TIMES: Final = frozenset({"sales_start_time", "sales_end_time"})
_PERCENTAGES: Final = frozenset({"royalty_percentage", "artist_percentage", "venue_percentage"})

_PLAIN: Final = (
    "id",
    "organization_id",
    "venue_id",
    "name",
    "slug",
    "description",
    "short_description",
    "is_featured",
    "priority_score",
    "tags",
    "banner_image_url",
    "thumbnail_image_url",
    "video_url",
    "is_virtual",
    "is_hybrid",
    "streaming_platform",
    "age_restriction",
    "dress_code",
    "special_requirements",
    "cancellation_policy",
    "refund_policy",
    "cancellation_deadline_hours",
    "meta_title",
    "meta_description",
    "meta_keywords",
    "external_id",
    "organizer_id",
    "gate_ids",
    "cancellation_reason",
    "created_by",
    "updated_by",
    "etag",
)
"""Fields whose value is the same on both sides."""


@dataclass(frozen=True, slots=True)
class EventView:
    """An event with what it is shown with. `figures` None = capacity reported nothing yet."""

    event: Event
    venue_name: str
    schedules: Sequence[Schedule]
    figures: Figures | None


@dataclass(frozen=True, slots=True)
class EventStart:
    """The first date that a request to create an event describes; `timezone` empty = the venue's."""

    start_time: datetime
    end_time: datetime | None
    doors_time: datetime | None
    time_zone: str | None


def to_proto(view: EventView, *, member: bool) -> event_pb2.Event:
    """Give an event as the contract has it; where and how it is streamed, and its rules, only to members."""
    event, first = view.event, shown(view.schedules)
    last = last_start(view.schedules)
    door_sales = event.sales_end_time is not None and last is not None and event.sales_end_time > last
    message = event_pb2.Event(
        **{name: getattr(event, name) for name in _PLAIN},
        venue_name=view.venue_name,
        kind=event_pb2.Event.Kind.Value(event.kind.value),
        state=event_pb2.Event.State.Value(event.state.value),
        visibility=event_pb2.Event.Visibility.Value(event.visibility.value),
        accessibility_info=_struct(event.accessibility_info),
        metadata=_struct(event.metadata),
        royalty_percentage=_percentage(event.royalty_percentage),
        artist_percentage=_percentage(event.artist_percentage),
        venue_percentage=_percentage(event.venue_percentage),
        sales_start_time=stamp(event.sales_start_time),
        sales_end_time=stamp(event.sales_end_time),
        cancel_time=stamp(event.cancel_time),
        sales_allowed=sales_allowed(event.state, door_sales=door_sales),
        scanning_allowed=POLICIES[event.state].scanning,
        create_time=to_timestamp(event.create_time),
        update_time=to_timestamp(event.update_time),
        delete_time=stamp(event.delete_time),
    )
    if member:
        if event.virtual_event_url is not None:
            message.virtual_event_url = event.virtual_event_url
        for name in ("streaming_config", "settings"):
            if getattr(event, name) is not None:
                getattr(message, name).CopyFrom(_struct(getattr(event, name)))
    if first is not None:
        message.event_date.CopyFrom(to_timestamp(first.start_time))
        message.starts_at.CopyFrom(to_timestamp(first.start_time))
        message.ends_at.CopyFrom(to_timestamp(first.end_time))
        if first.doors_time is not None:
            message.doors_open.CopyFrom(to_timestamp(first.doors_time))
        message.timezone = first.time_zone
    if view.figures is not None:
        message.capacity = view.figures.capacity
        message.available_capacity = view.figures.available
        message.sold_count = view.figures.sold
        message.inventory_version = view.figures.inventory_version
    return message


def changes(message: event_pb2.Event, fields: Iterable[str]) -> dict[str, Any]:
    """Give the values of the ordinary fields that a request sets, None for those that it clears."""
    result: dict[str, Any] = {}
    for field in fields:
        path = f"event.{field}"
        if field in _LISTS:
            result[field] = tuple(getattr(message, field))
        elif not message.HasField(field):  # type: ignore[arg-type] # a field of the resource, checked before
            result[field] = CLEARED
        elif field in _STRUCTS:
            result[field] = json_values(getattr(message, field), field=path)
        elif field in _TIMES:
            result[field] = to_datetime(getattr(message, field), field=path)
        elif field in _PERCENTAGES:
            result[field] = Decimal(getattr(message, field))
        elif field == "kind":
            result[field] = EventKind(event_pb2.Event.Kind.Name(message.kind)) if message.kind else CLEARED
        elif field == "visibility":
            result[field] = (
                Visibility(event_pb2.Event.Visibility.Name(message.visibility)) if message.visibility else CLEARED
            )
        elif field == "venue_id":
            result[field] = canonical_id(message.venue_id)
        else:
            result[field] = getattr(message, field)
    return result


def start_of(message: event_pb2.Event) -> EventStart | None:
    """Give the first date that a request to create an event describes, None if it describes none."""
    if message.HasField("starts_at"):
        start = to_datetime(message.starts_at, field="event.starts_at")
    elif message.HasField("event_date"):
        start = to_datetime(message.event_date, field="event.event_date")
    else:
        return None
    return EventStart(
        start_time=start,
        end_time=to_datetime(message.ends_at, field="event.ends_at") if message.HasField("ends_at") else None,
        doors_time=to_datetime(message.doors_open, field="event.doors_open")
        if message.HasField("doors_open")
        else None,
        time_zone=message.timezone if message.HasField("timezone") else None,
    )


def state_from_proto(state: event_pb2.Event.State.ValueType) -> EventState | None:
    """Give the state of a filter; None for STATE_UNSPECIFIED."""
    return EventState(event_pb2.Event.State.Name(state)) if state else None


def state_to_proto(state: EventState) -> event_pb2.Event.State.ValueType:
    """Give a state as the contract has it."""
    return event_pb2.Event.State.Value(state.value)


def controls_to_proto(scene: Scene) -> event_pb2.EventControls:
    """Give all that capacity must know of an event, at the event's version."""
    event = scene.event
    return event_pb2.EventControls(
        event_id=event.id,
        organization_id=event.organization_id,
        version=event.version,
        state=state_to_proto(event.state),
        sales_start_time=stamp(event.sales_start_time),
        sales_end_time=stamp(event.sales_end_time),
        venue_max_capacity=scene.venue.max_capacity,
        schedules=[
            event_pb2.ScheduleControls(
                schedule_id=one.id,
                state=one.state.value,
                start_time=to_timestamp(one.start_time),
                end_time=to_timestamp(one.end_time),
                capacity_override=one.capacity_override,
            )
            for one in scene.schedules
        ],
        hold_ttl_seconds_default=scene.organization.hold_ttl_seconds_default,
        hold_ttl_seconds_max=scene.organization.hold_ttl_seconds_max,
        initial_capacity=event.initial_capacity,
        deleted=event.delete_time is not None,
    )


def transition_to_proto(step: Transition) -> event_pb2.EventTransition:
    """Give one step of an event's history as the contract has it."""
    return event_pb2.EventTransition(
        from_state=state_to_proto(step.from_state),
        to_state=state_to_proto(step.to_state),
        name=step.name,
        actor=step.actor,
        reason=step.reason,
        create_time=to_timestamp(step.create_time),
    )


def _struct(values: Any) -> Any:
    return None if values is None else to_struct(values)


def _percentage(share: Decimal | None) -> str | None:
    return None if share is None else f"{share:f}"
