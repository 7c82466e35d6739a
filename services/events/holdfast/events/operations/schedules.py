"""Adding, reading and changing the dates of events. Each change of a date is a version of its event."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from holdfast.common.errors import invalid
from holdfast.events import messages
from holdfast.events.domain.dates import DateRules, check_lead, check_zone
from holdfast.events.domain.events import check_etag
from holdfast.events.domain.lifecycle import NEVER_SOLD_STATES, TERMINAL_STATES, EventState, check_editable
from holdfast.events.domain.schedules import Schedule, ScheduleState, check_move
from holdfast.events.operations.answers import check_unprotected
from holdfast.events.operations.dates import (
    check_dates,
    check_overlaps,
    check_override,
    check_times,
    moved,
    new_schedule,
)
from holdfast.events.operations.outcomes import Actor, Outcome, once
from holdfast.events.operations.scenes import lock_scene, read_scene, visible_event, write_change
from holdfast.events.operations.transitions import schedule_not_found
from holdfast.events.store import schedules as schedule_store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from holdfast.common.database import Transaction
    from holdfast.common.idempotency import RequestKey
    from holdfast.events.domain.scenes import Scene
    from holdfast.events.operations.answers import Answers

_PROTECTED: Final = frozenset({"start_time", "end_time", "doors_time", "time_zone"})
_STATE: Final = frozenset({"state", "state_reason"})


@dataclass(frozen=True, slots=True)
class DateOf:
    """A date, with its event as it is now."""

    schedule: Schedule
    scene: Scene


def _pick(scene: Scene, schedule_id: str) -> Schedule:
    for one in scene.schedules:
        if one.id == schedule_id:
            return one
    raise schedule_not_found(schedule_id)


async def create_schedule(  # noqa: PLR0913 - what a request says, by name
    transaction: Transaction,
    *,
    event_id: str,
    schedule_id: str,
    values: Mapping[str, Any],
    allow_overlap: bool,
    actor: Actor,
    key: RequestKey,
    now: datetime,
) -> Outcome[DateOf]:
    """Add a date with the id given.

    Raises EVENT_NOT_FOUND, INVALID_DATE_RANGE, UNKNOWN_TIME_ZONE, OVERLAPPING_EVENT, NOT_EDITABLE, VALIDATION_FAILED,
    IDEMPOTENCY_KEY_REUSED.
    """

    async def do() -> tuple[str, DateOf]:
        before = await lock_scene(transaction, actor.organization_id, event_id, venue="own")
        check_editable(before.event.state)
        if values.get("state") not in {None, ScheduleState.SCHEDULED}:
            raise invalid("schedule.state", "a new date is SCHEDULED; UpdateSchedule moves it along")
        date = new_schedule(before, schedule_id=schedule_id, values=values, now=now)
        after = replace(before, schedules=(*before.schedules, date))
        check_dates(after.event, after.schedules, now=now)
        await check_overlaps(transaction, after, [date], allow_overlap=allow_overlap)
        scene = await _write(transaction, before, after, actor=actor.subject, now=now)
        return schedule_id, DateOf(schedule=_pick(scene, schedule_id), scene=scene)

    async def find(known: str) -> DateOf:
        scene = await read_scene(transaction, actor.organization_id, event_id, deleted_too=True)
        return DateOf(schedule=_pick(scene, known), scene=scene)

    return await once(transaction, key, find=find, do=do)


async def update_schedule(  # noqa: PLR0913 - what a request says, by name
    transaction: Transaction,
    *,
    event_id: str,
    schedule_id: str,
    changes: Mapping[str, Any],
    allow_overlap: bool,
    etag: str,
    actor: Actor,
    key: RequestKey,
    answers: Answers,
    now: datetime,
) -> Outcome[DateOf]:
    """Change a date or move it along. Its times are protected fields once anything of the event is held or sold.

    Raises EVENT_NOT_FOUND, SCHEDULE_NOT_FOUND, INVALID_TRANSITION, INVALID_DATE_RANGE, UNKNOWN_TIME_ZONE,
    OVERLAPPING_EVENT, ETAG_MISMATCH, NOT_EDITABLE, CONFIRMATION_REQUIRED, VALIDATION_FAILED, IDEMPOTENCY_KEY_REUSED;
    AnswerNeeded.
    """

    async def do() -> tuple[str, DateOf]:
        # The venue too: a date that gets another time, or its time back, decides over the venue's.
        before = await lock_scene(transaction, actor.organization_id, event_id, venue="own")
        old = _pick(before, schedule_id)
        check_etag(etag, old.etag)
        if changes.keys() - _STATE or before.event.state in TERMINAL_STATES:
            check_editable(before.event.state)
        if before.event.state is EventState.POSTPONED and changes.get("state") is ScheduleState.RESCHEDULED:
            raise invalid("schedule.state", "the event is postponed as a whole; call RescheduleEvent")
        new = _changed(before, old, changes, now=now)
        after = replace(before, schedules=tuple(new if one.id == schedule_id else one for one in before.schedules))
        touched = {name for name in _PROTECTED if getattr(old, name) != getattr(new, name)}
        if touched and old.state is not ScheduleState.POSTPONED and before.event.state not in NEVER_SOLD_STATES:
            check_unprotected(touched, answers.need_commitments())
        if {"start_time", "end_time"} & touched or new.state is ScheduleState.RESCHEDULED is not old.state:
            check_dates(after.event, after.schedules, now=now)
            await check_overlaps(transaction, after, [new], allow_overlap=allow_overlap)
        scene = await _write(transaction, before, after, actor=actor.subject, now=now)
        return schedule_id, DateOf(schedule=_pick(scene, schedule_id), scene=scene)

    async def find(known: str) -> DateOf:
        scene = await read_scene(transaction, actor.organization_id, event_id, deleted_too=True)
        return DateOf(schedule=_pick(scene, known), scene=scene)

    return await once(transaction, key, find=find, do=do)


def _changed(scene: Scene, old: Schedule, changes: Mapping[str, Any], *, now: datetime) -> Schedule:
    """Give the date as it will be, its own rules checked. A cleared end or zone is the default one."""
    values = dict(changes)
    for name in ("start_time", "state"):
        if name in values and values[name] is None:
            raise invalid(f"schedule.{name}", "cannot be cleared")
    if "time_zone" in values:
        values["time_zone"] = check_zone(values["time_zone"] or scene.venue.time_zone)
    to_state: ScheduleState = values.get("state", old.state)
    if to_state is not old.state:
        check_move(old.state, to_state, reason=values.get("state_reason"), new_time="start_time" in values)
        values.setdefault("state_reason", None)
    rules = DateRules.of(scene.organization)
    new = old
    if values.get("start_time", old.start_time) != old.start_time:
        check_lead(values["start_time"], rules=rules, now=now)
        if to_state is ScheduleState.RESCHEDULED and old.state is ScheduleState.POSTPONED:
            new = moved(old, start_time=values["start_time"], end_time=None, doors_time=None)
    if "end_time" in values and values["end_time"] is None:
        from_start = values.get("start_time", old.start_time)
        values["end_time"] = from_start + rules.default_length
    new = replace(new, **values)
    check_times(new, now=now)
    if "capacity_override" in values:
        check_override(new.capacity_override, scene.venue)
    return new


async def _write(transaction: Transaction, before: Scene, after: Scene, *, actor: str, now: datetime) -> Scene:
    return await write_change(
        transaction,
        before,
        after,
        actor=actor,
        now=now,
        message=lambda scene: messages.event_updated(scene, changed_fields=["schedules"], now=now),
    )


async def get_schedule(transaction: Transaction, *, event_id: str, schedule_id: str, actor: Actor) -> Schedule:
    """Read one date, or EVENT_NOT_FOUND, SCHEDULE_NOT_FOUND."""
    await visible_event(transaction, actor.organization_id, event_id, member=actor.member)
    for one in await schedule_store.schedules_of_event(transaction, actor.organization_id, event_id):
        if one.id == schedule_id:
            return one
    raise schedule_not_found(schedule_id)


@dataclass(frozen=True, slots=True)
class SchedulePage:
    """A page of dates; `total` None = not asked for; `more` = there is a next page."""

    schedules: tuple[Schedule, ...]
    more: bool
    total: int | None


async def list_schedules(  # noqa: PLR0913 - what a request says, by name
    transaction: Transaction,
    *,
    event_id: str,
    after: tuple[datetime, str] | None,
    size: int,
    with_total: bool,
    actor: Actor,
) -> SchedulePage:
    """Read a page of an event's dates in the order of their start, or EVENT_NOT_FOUND."""
    await visible_event(transaction, actor.organization_id, event_id, member=actor.member)
    found = await schedule_store.list_schedules(
        transaction, actor.organization_id, event_id, after=after, limit=size + 1
    )
    total = await schedule_store.count_schedules(transaction, actor.organization_id, event_id) if with_total else None
    return SchedulePage(schedules=tuple(found[:size]), more=len(found) > size, total=total)
