"""Creating, reading, changing and deleting events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from holdfast.common import outbox
from holdfast.common.errors import invalid
from holdfast.events import messages
from holdfast.events.domain.dates import check_sales_window
from holdfast.events.domain.events import (
    FIELD_DEFAULTS,
    ORDINARY_FIELDS,
    REQUIRED_FIELDS,
    Event,
    Visibility,
    check_etag,
    check_initial_capacity,
    check_percentages,
    check_single,
    check_venue_fits,
    not_found,
    visible,
)
from holdfast.events.domain.lifecycle import (
    LISTED_STATES,
    NEVER_SOLD_STATES,
    EventState,
    check_deletable,
    check_editable,
)
from holdfast.events.domain.organizations import check_in_business
from holdfast.events.domain.scenes import Scene
from holdfast.events.domain.schedules import last_end
from holdfast.events.operations.answers import check_nothing_sold, check_unprotected
from holdfast.events.operations.dates import check_overlaps, new_schedule
from holdfast.events.operations.outcomes import Actor, Outcome, once
from holdfast.events.operations.scenes import (
    Shown,
    lock_scene,
    read_scene,
    require_organization,
    require_venue,
    scene_of,
    show,
    write_change,
    write_due,
)
from holdfast.events.operations.slugs import insert_with_slug, slug_of
from holdfast.events.store import events as event_store
from holdfast.events.store import schedules as schedule_store
from holdfast.events.store import venues as venue_store
from holdfast.events.store.tables import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from holdfast.common.database import Transaction
    from holdfast.common.idempotency import RequestKey
    from holdfast.events.operations.answers import Answers


@dataclass(frozen=True, slots=True)
class NewEvent:
    """What a request to create an event gives. `date` has the field names of Schedule; None = no date."""

    event_id: str
    schedule_id: str
    fields: Mapping[str, Any]
    date: Mapping[str, Any] | None
    initial_capacity: int
    allow_overlap: bool


def _completed(changes: Mapping[str, Any], *, creator: str) -> dict[str, Any]:
    """Put the default in the place of what is cleared; what has none cannot be."""
    completed: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in ORDINARY_FIELDS:
            raise invalid(f"event.{name}", "cannot be changed here")
        if value is not None:
            completed[name] = value
        elif name in REQUIRED_FIELDS:
            raise invalid(f"event.{name}", "cannot be cleared")
        else:
            completed[name] = creator if name == "organizer_id" else FIELD_DEFAULTS[name]
    return completed


async def create_event(
    transaction: Transaction, new: NewEvent, *, actor: Actor, key: RequestKey, now: datetime
) -> Outcome[Shown]:
    """Create a draft, with its first date if one is given, in one commit.

    Raises VENUE_NOT_FOUND, VALIDATION_FAILED, INVALID_DATE_RANGE, UNKNOWN_TIME_ZONE, OVERLAPPING_EVENT,
    VENUE_CAPACITY_EXCEEDED, IDEMPOTENCY_KEY_REUSED.
    """

    async def do() -> tuple[str, Shown]:
        # Shared: settings that change meanwhile either are seen here or find this event when they are spread.
        organization = await require_organization(transaction, actor.organization_id, lock="share")
        check_in_business(organization)
        venue = await require_venue(transaction, actor.organization_id, new.fields["venue_id"], lock=True)
        event = _draft(new, actor=actor, now=now)
        check_percentages(event)
        check_venue_fits(event, venue)
        check_initial_capacity(event.initial_capacity, venue)
        scene = Scene(event=event, organization=organization, venue=venue, schedules=())
        if new.date is not None:
            date = new_schedule(scene, schedule_id=new.schedule_id, values=new.date, now=now)
            scene = replace(scene, schedules=(date,))
        check_sales_window(
            sales_start_time=event.sales_start_time,
            sales_end_time=event.sales_end_time,
            last_end=last_end(scene.schedules),
            now=now,
        )
        await check_overlaps(transaction, scene, scene.schedules, allow_overlap=new.allow_overlap)
        base = slug_of(venue.slug, event.name)
        slug = await insert_with_slug(
            base,
            taken=lambda: event_store.taken_slugs(transaction, actor.organization_id, base),
            insert=lambda slug: event_store.insert_event(transaction, replace(event, slug=slug)),
        )
        scene = replace(scene, event=replace(event, slug=slug))
        for one in scene.schedules:
            await schedule_store.insert_schedule(transaction, one)
        await outbox.append(transaction, messages.event_created(scene, now=now), schema=SCHEMA)
        await write_due(transaction, scene, now=now)
        return new.event_id, Shown(scene=scene, figures=None)

    async def find(known: str) -> Shown:
        return await show(transaction, await read_scene(transaction, actor.organization_id, known, deleted_too=True))

    return await once(transaction, key, find=find, do=do)


def _draft(new: NewEvent, *, actor: Actor, now: datetime) -> Event:
    values = {"organizer_id": actor.subject, **FIELD_DEFAULTS, **_completed(new.fields, creator=actor.subject)}
    return Event(
        id=new.event_id,
        organization_id=actor.organization_id,
        slug="",
        state=EventState.DRAFT,
        **values,
        cancel_time=None,
        cancellation_reason=None,
        initial_capacity=new.initial_capacity,
        created_by=actor.subject,
        updated_by=actor.subject,
        create_time=now,
        update_time=now,
        delete_time=None,
        version=1,
    )


async def get_event(transaction: Transaction, *, event_id: str, slug: str, actor: Actor) -> Shown:
    """Read an event by id or slug, or EVENT_NOT_FOUND, also when it exists for members only."""
    if event_id:
        event = await event_store.find_event(transaction, actor.organization_id, event_id)
    else:
        event = await event_store.find_event_by_slug(transaction, actor.organization_id, slug)
    if event is None or not visible(event, member=actor.member):
        raise not_found(event_id or slug)
    return await show(transaction, await scene_of(transaction, event))


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of events; `total` None = not asked for; `more` = there is a next page."""

    events: tuple[Shown, ...]
    more: bool
    total: int | None


async def list_events(  # noqa: PLR0913 - what a request says, by name
    transaction: Transaction,
    which: event_store.EventFilter,
    *,
    before_id: str | None,
    size: int,
    with_total: bool,
    actor: Actor,
) -> EventPage:
    """Read a page of events, newest first. Who is no member sees PUBLIC events in public states, whatever is asked."""
    if not actor.member:
        states = which.states & LISTED_STATES if which.states else LISTED_STATES
        if not states:
            return EventPage(events=(), more=False, total=0 if with_total else None)
        which = replace(which, states=states, visibility=Visibility.PUBLIC)
    organization_id = actor.organization_id
    found = await event_store.list_events(transaction, organization_id, which, before_id=before_id, limit=size + 1)
    page = found[:size]
    ids = [event.id for event in page]
    figures = await event_store.find_figures(transaction, organization_id, ids)
    schedules = await schedule_store.schedules_of_events(transaction, organization_id, ids)
    organization = await require_organization(transaction, organization_id) if page else None
    venues = await venue_store.find_venues(
        transaction, organization_id, list(dict.fromkeys(event.venue_id for event in page))
    )
    total = await event_store.count_events(transaction, organization_id, which) if with_total else None
    return EventPage(
        events=tuple(
            Shown(
                scene=Scene(
                    event=event,
                    organization=organization,
                    venue=venues[event.venue_id],
                    schedules=tuple(schedules[event.id]),
                ),
                figures=figures.get(event.id),
            )
            for event in page
            if organization is not None
        ),
        more=len(found) > size,
        total=total,
    )


async def update_event(  # noqa: PLR0913 - what a request says, by name
    transaction: Transaction,
    *,
    event_id: str,
    changes: Mapping[str, Any],
    allow_overlap: bool,
    etag: str,
    actor: Actor,
    key: RequestKey,
    answers: Answers,
    now: datetime,
) -> Outcome[Shown]:
    """Change ordinary fields. Another venue is a protected field once anything is held or sold.

    Raises EVENT_NOT_FOUND, VENUE_NOT_FOUND, ETAG_MISMATCH, NOT_EDITABLE, INVALID_DATE_RANGE, OVERLAPPING_EVENT,
    CONFIRMATION_REQUIRED, VALIDATION_FAILED, IDEMPOTENCY_KEY_REUSED; AnswerNeeded.
    """

    async def do() -> tuple[str, Shown]:
        venue_id = changes.get("venue_id")
        before = await lock_scene(transaction, actor.organization_id, event_id, venue=venue_id or "none")
        check_etag(etag, before.event.etag)
        check_editable(before.event.state)
        event = replace(before.event, **_completed(changes, creator=before.event.created_by))
        after = replace(before, event=event)
        if event.venue_id != before.event.venue_id:
            after = replace(after, venue=await require_venue(transaction, actor.organization_id, event.venue_id))
            if event.state not in NEVER_SOLD_STATES:
                check_unprotected(["venue_id"], answers.need_commitments())
            check_initial_capacity(event.initial_capacity, after.venue)
            await check_overlaps(transaction, after, after.schedules, allow_overlap=allow_overlap)
        _check_changed(before, after, changes, now=now)
        scene = await write_change(
            transaction,
            before,
            after,
            actor=actor.subject,
            now=now,
            message=lambda scene: messages.event_updated(scene, changed_fields=changes, now=now),
        )
        return event_id, await show(transaction, scene)

    async def find(known: str) -> Shown:
        return await show(transaction, await read_scene(transaction, actor.organization_id, known, deleted_too=True))

    return await once(transaction, key, find=find, do=do)


def _check_changed(before: Scene, after: Scene, changes: Mapping[str, Any], *, now: datetime) -> None:
    """Check the rules between fields, as far as the change touches them."""
    event = after.event
    check_percentages(event)
    if event.venue_id != before.event.venue_id or {"is_virtual", "is_hybrid", "gate_ids"} & changes.keys():
        check_venue_fits(event, after.venue)
    if "kind" in changes:
        check_single(event.kind, after.schedules)
    if {"sales_start_time", "sales_end_time"} & changes.keys():
        check_sales_window(
            sales_start_time=event.sales_start_time,
            sales_end_time=event.sales_end_time,
            last_end=last_end(after.schedules),
            now=now,
        )
    if event.state in LISTED_STATES and (event.is_virtual or event.is_hybrid) and not event.virtual_event_url:
        raise invalid("event.virtual_event_url", "a public event that is streamed needs it")


async def delete_event(  # noqa: PLR0913 - what a request says, by name
    transaction: Transaction,
    *,
    event_id: str,
    etag: str,
    actor: Actor,
    key: RequestKey,
    answers: Answers,
    now: datetime,
) -> Outcome[Scene]:
    """Delete an event softly. Deleting twice answers the same.

    Raises EVENT_NOT_FOUND, NOT_EDITABLE, TICKETS_SOLD, ETAG_MISMATCH, IDEMPOTENCY_KEY_REUSED; AnswerNeeded.
    """

    async def do() -> tuple[str, Scene]:
        before = await lock_scene(transaction, actor.organization_id, event_id, deleted_too=True)
        if before.event.delete_time is not None:
            return event_id, before
        check_etag(etag, before.event.etag)
        check_deletable(before.event.state)
        check_nothing_sold(answers.need_commitments())
        after = replace(before, event=replace(before.event, delete_time=now))
        scene = await write_change(
            transaction,
            before,
            after,
            actor=actor.subject,
            now=now,
            message=lambda scene: messages.event_deleted(scene, actor=actor.subject, now=now),
        )
        return event_id, scene

    async def find(known: str) -> Scene:
        return await read_scene(transaction, actor.organization_id, known, deleted_too=True)

    return await once(transaction, key, find=find, do=do)
