"""Domain change → outgoing message. Each change of an event is one message, with the version that it made.

What only members of the organization may see of an event (where and how it is streamed, its rules) is not in its
messages: they stay on the bus for days, and whoever may know it can ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.api.events.v1 import messages_pb2
from holdfast.common.message import outgoing
from holdfast.common.protobuf import to_timestamp
from holdfast.events.convert import events as convert_events
from holdfast.events.convert import organizations as convert_organizations
from holdfast.events.convert import venues as convert_venues
from holdfast.events.convert.events import EventView

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from google.protobuf.message import Message

    from holdfast.api.events.v1 import event_pb2
    from holdfast.common.message import OutgoingMessage
    from holdfast.events.domain.lifecycle import Transition
    from holdfast.events.domain.organizations import Organization
    from holdfast.events.domain.scenes import Scene
    from holdfast.events.domain.venues import Venue

STREAM: Final = "events"


def event_created(scene: Scene, *, now: datetime) -> OutgoingMessage:
    """Tell that an event was created."""
    return _of_event(
        scene,
        messages_pb2.EventCreated(
            controls=convert_events.controls_to_proto(scene), event=_public(scene), occur_time=to_timestamp(now)
        ),
        now,
    )


def event_updated(scene: Scene, *, changed_fields: Iterable[str], now: datetime) -> OutgoingMessage:
    """Tell that fields or dates changed; `changed_fields` are sorted, a date's are `schedules`."""
    return _of_event(
        scene,
        messages_pb2.EventUpdated(
            controls=convert_events.controls_to_proto(scene),
            event=_public(scene),
            changed_fields=sorted(set(changed_fields)),
            occur_time=to_timestamp(now),
        ),
        now,
    )


def event_transitioned(scene: Scene, step: Transition, *, now: datetime) -> OutgoingMessage:
    """Tell that the state changed, by the message that is meant for this transition."""
    controls, occur_time = convert_events.controls_to_proto(scene), to_timestamp(now)
    body: Message
    if step.name == "publish":
        body = messages_pb2.EventPublished(controls=controls, event=_public(scene), occur_time=occur_time)
    elif step.name == "cancel":
        body = messages_pb2.EventCancelled(
            controls=controls, reason=step.reason, actor=step.actor, occur_time=occur_time
        )
    elif step.name == "reschedule":
        body = messages_pb2.EventRescheduled(
            controls=controls, transition=convert_events.transition_to_proto(step), occur_time=occur_time
        )
    else:
        body = messages_pb2.EventStateChanged(
            controls=controls, transition=convert_events.transition_to_proto(step), occur_time=occur_time
        )
    return _of_event(scene, body, now)


def event_deleted(scene: Scene, *, actor: str, now: datetime) -> OutgoingMessage:
    """Tell that an event was deleted."""
    return _of_event(
        scene,
        messages_pb2.EventDeleted(
            controls=convert_events.controls_to_proto(scene), actor=actor, occur_time=to_timestamp(now)
        ),
        now,
    )


def venue_changed(venue: Venue, *, now: datetime) -> OutgoingMessage:
    """Tell that a venue was created or changed."""
    return outgoing(
        messages_pb2.VenueChanged(
            venue=convert_venues.to_proto(venue), version=venue.version, occur_time=to_timestamp(now)
        ),
        stream=STREAM,
        organization_id=venue.organization_id,
        event_id=None,
        aggregate_id=venue.id,
        version=venue.version,
        occur_time=now,
    )


def organization_changed(organization: Organization, *, now: datetime) -> OutgoingMessage:
    """Tell that an organization was created or changed."""
    return outgoing(
        messages_pb2.OrganizationChanged(
            organization=convert_organizations.to_proto(organization),
            version=organization.version,
            occur_time=to_timestamp(now),
        ),
        stream=STREAM,
        organization_id=organization.organization_id,
        event_id=None,
        aggregate_id=organization.organization_id,
        version=organization.version,
        occur_time=now,
    )


def _public(scene: Scene) -> event_pb2.Event:
    view = EventView(event=scene.event, venue_name=scene.venue.name, schedules=scene.schedules, figures=None)
    return convert_events.to_proto(view, member=False)


def _of_event(scene: Scene, body: Message, now: datetime) -> OutgoingMessage:
    return outgoing(
        body,
        stream=STREAM,
        organization_id=scene.event.organization_id,
        event_id=scene.event.id,
        aggregate_id=scene.event.id,
        version=scene.event.version,
        occur_time=now,
    )
