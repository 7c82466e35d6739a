"""Reading an event with all that belongs to it, and writing a change of it as one version with one message."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from holdfast.common import outbox
from holdfast.common.errors import DomainError, Reason
from holdfast.events.domain.events import not_found, visible
from holdfast.events.domain.organizations import check_in_business
from holdfast.events.domain.scenes import Scene
from holdfast.events.domain.timers import dates_due, sales_due
from holdfast.events.store import due_work
from holdfast.events.store import events as event_store
from holdfast.events.store import organizations as organization_store
from holdfast.events.store import schedules as schedule_store
from holdfast.events.store import venues as venue_store
from holdfast.events.store.tables import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from holdfast.common.database import Transaction
    from holdfast.common.message import OutgoingMessage
    from holdfast.events.domain.events import Event, Figures
    from holdfast.events.domain.organizations import Organization
    from holdfast.events.domain.venues import Venue


@dataclass(frozen=True, slots=True)
class Shown:
    """A scene with the figures that capacity reported; None = nothing yet."""

    scene: Scene
    figures: Figures | None


async def require_organization(
    transaction: Transaction, organization_id: str, *, lock: Literal["none", "share", "update"] = "none"
) -> Organization:
    """Read the organization, or ORGANIZATION_NOT_FOUND."""
    organization = await organization_store.find_organization(transaction, organization_id, lock=lock)
    if organization is None:
        raise DomainError(
            Reason.ORGANIZATION_NOT_FOUND, "no such organization", metadata={"organization_id": organization_id}
        )
    return organization


async def require_venue(transaction: Transaction, organization_id: str, venue_id: str, *, lock: bool = False) -> Venue:
    """Read a venue, or VENUE_NOT_FOUND."""
    venue = await venue_store.find_venue(transaction, organization_id, venue_id, lock=lock)
    if venue is None:
        raise DomainError(Reason.VENUE_NOT_FOUND, "no such venue", metadata={"venue_id": venue_id})
    return venue


async def scene_of(transaction: Transaction, event: Event) -> Scene:
    """Read what belongs to an event. After the event's lock, so that what changes later finds the event changed."""
    return Scene(
        event=event,
        organization=await require_organization(transaction, event.organization_id),
        venue=await require_venue(transaction, event.organization_id, event.venue_id),
        schedules=tuple(await schedule_store.schedules_of_event(transaction, event.organization_id, event.id)),
    )


async def read_scene(
    transaction: Transaction, organization_id: str, event_id: str, *, deleted_too: bool = False
) -> Scene:
    """Read an event for a member, or EVENT_NOT_FOUND."""
    event = await event_store.find_event(transaction, organization_id, event_id)
    if event is None or (event.delete_time is not None and not deleted_too):
        raise not_found(event_id)
    return await scene_of(transaction, event)


async def show(transaction: Transaction, scene: Scene) -> Shown:
    """Add the figures."""
    event = scene.event
    figures = await event_store.find_figures(transaction, event.organization_id, [event.id])
    return Shown(scene=scene, figures=figures.get(event.id))


async def lock_scene(
    transaction: Transaction,
    organization_id: str,
    event_id: str,
    *,
    venue: Literal["none", "own"] | str = "none",  # noqa: PYI051 - an id, or one of the two words
    deleted_too: bool = False,
) -> Scene:
    """Lock an event for a change, or EVENT_NOT_FOUND. `venue` = lock its own venue first, or the one of that id.

    What decides over the time at a venue must hold the venue's lock, and that comes before the event's. So the venue is
    read before the event is locked; should the event have moved meanwhile, the caller is told to look again.
    """
    locked: str | None = None
    if venue == "own":
        locked = await event_store.venue_of_event(transaction, organization_id, event_id)
        if locked is None:
            raise not_found(event_id)
    elif venue != "none":
        locked = venue
    if locked is not None:
        await require_venue(transaction, organization_id, locked, lock=True)
    event = await event_store.find_event(transaction, organization_id, event_id, lock="wait")
    if event is None or (event.delete_time is not None and not deleted_too):
        raise not_found(event_id)
    if venue == "own" and event.venue_id != locked:
        raise DomainError(
            Reason.ETAG_MISMATCH, "the event moved to another venue meanwhile", metadata={"etag": event.etag}
        )
    scene = await scene_of(transaction, event)
    check_in_business(scene.organization)
    return scene


async def visible_event(transaction: Transaction, organization_id: str, event_id: str, *, member: bool) -> Event:
    """Read an event that exists for the caller, or EVENT_NOT_FOUND."""
    event = await event_store.find_event(transaction, organization_id, event_id)
    if event is None or not visible(event, member=member):
        raise not_found(event_id)
    return event


async def write_change(  # noqa: PLR0913 - what a request says, by name
    transaction: Transaction,
    before: Scene,
    after: Scene,
    *,
    actor: str,
    now: datetime,
    message: Callable[[Scene], OutgoingMessage],
) -> Scene:
    """Write a changed event with its changed and new dates: the next version, one message, what is due from now on.

    `message` is given the scene as written. The event is locked by this transaction.
    """
    known = {one.id: one for one in before.schedules}
    schedules = []
    for one in after.schedules:
        old = known.get(one.id)
        if old is None:
            await schedule_store.insert_schedule(transaction, one)
            schedules.append(one)
        elif old == one:
            schedules.append(one)
        else:
            changed = replace(one, version=old.version + 1, update_time=now)
            await schedule_store.update_schedule(transaction, changed)
            schedules.append(changed)
    event = replace(after.event, version=before.event.version + 1, updated_by=actor, update_time=now)
    await event_store.update_event(transaction, event)
    scene = replace(after, event=event, schedules=tuple(sorted(schedules, key=lambda one: (one.start_time, one.id))))
    await outbox.append(transaction, message(scene), schema=SCHEMA)
    await write_due(transaction, scene, now=now)
    return scene


async def write_due(transaction: Transaction, scene: Scene, *, now: datetime) -> None:
    """Write what is due of an event as it now is."""
    event = scene.event
    figures = await event_store.find_figures(transaction, event.organization_id, [event.id])
    sold_out = event.id in figures and figures[event.id].sold_out
    await due_work.set_due(
        transaction,
        event.organization_id,
        event.id,
        {
            due_work.DueKind.SALES: sales_due(event, sold_out=sold_out, now=now),
            due_work.DueKind.DATES: dates_due(event, scene.schedules),
        },
    )
