"""Moving events along their lifecycle: one operation for every transition, whoever asks for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from holdfast.common.errors import DomainError, Reason, invalid
from holdfast.events import messages
from holdfast.events.domain.dates import DateRules, check_lead
from holdfast.events.domain.events import check_etag, missing_for_publishing, missing_for_sales
from holdfast.events.domain.lifecycle import (
    EventState,
    Transition,
    allowed_transitions,
    check_reason,
    check_requirements,
    target,
)
from holdfast.events.domain.schedules import LIVE_STATES, UPCOMING_STATES, Schedule, ScheduleState, check_move
from holdfast.events.operations.dates import check_dates, check_overlaps, check_times, moved
from holdfast.events.operations.outcomes import Actor, Outcome, once
from holdfast.events.operations.scenes import Shown, lock_scene, read_scene, show, visible_event, write_change
from holdfast.events.store import transitions as transition_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from holdfast.common.database import Transaction
    from holdfast.common.idempotency import RequestKey
    from holdfast.events.domain.scenes import Scene
    from holdfast.events.operations.answers import Answers


@dataclass(frozen=True, slots=True)
class NewDate:
    """A new time of a postponed date; None = as long, and doors as long before the start, as before."""

    schedule_id: str
    start_time: datetime
    end_time: datetime | None
    doors_time: datetime | None


async def transition(  # noqa: PLR0913 - what a request says, by name
    transaction: Transaction,
    name: str,
    *,
    event_id: str,
    reason: str,
    etag: str,
    actor: Actor,
    key: RequestKey,
    answers: Answers,
    now: datetime,
) -> Outcome[Shown]:
    """Make the transition of that name, for every RPC that makes one but RescheduleEvent.

    Raises EVENT_NOT_FOUND, INVALID_TRANSITION, REQUIREMENT_MISSING, ETAG_MISMATCH, VALIDATION_FAILED (no reason),
    IDEMPOTENCY_KEY_REUSED; AnswerNeeded for `start_sales`.
    """

    async def do() -> tuple[str, Shown]:
        before = await lock_scene(transaction, actor.organization_id, event_id)
        check_etag(etag, before.event.etag)
        target(before.event.state, name)
        check_reason(name, reason)
        check_requirements(missing_for(before, name, answers=answers, now=now))
        scene = await apply_transition(transaction, before, name, actor=actor.subject, reason=reason, now=now, moves={})
        return event_id, await show(transaction, scene)

    return await once(
        transaction, key, find=lambda known: _shown_again(transaction, actor.organization_id, known), do=do
    )


def missing_for(scene: Scene, name: str, *, answers: Answers, now: datetime) -> list[str]:
    """List what a transition needs and the event has not; AnswerNeeded if that cannot be told yet."""
    missing: list[str] = []
    if name in {"publish", "start_sales"}:
        missing += missing_for_publishing(scene.event, scene.schedules, now=now)
    if name == "start_sales":
        readiness = answers.need_readiness()
        missing += missing_for_sales(
            active_sections=readiness.active_sections, active_price_tiers=readiness.active_price_tiers
        )
    return missing


async def apply_transition(  # noqa: PLR0913 - what a request says, by name
    transaction: Transaction,
    before: Scene,
    name: str,
    *,
    actor: str,
    reason: str,
    now: datetime,
    moves: Mapping[str, ScheduleState],
    after: Scene | None = None,
) -> Scene:
    """Write a transition of a locked event: state, dates that go with it, history, message, in one version.

    `moves` are dates that move in the same commit; `after` has further changes. Raises INVALID_TRANSITION.
    """
    to_state = target(before.event.state, name)
    scene = before if after is None else after
    event = replace(scene.event, state=to_state)
    if to_state is EventState.CANCELLED:
        event = replace(event, cancel_time=now, cancellation_reason=reason)
    schedules = tuple(_follow(one, to_state, reason=reason, move=moves.get(one.id)) for one in scene.schedules)
    step = Transition(
        version=before.event.version + 1,
        name=name,
        from_state=before.event.state,
        to_state=to_state,
        actor=actor,
        reason=reason,
        create_time=now,
    )
    await transition_store.insert_transition(transaction, event.organization_id, event.id, step)
    return await write_change(
        transaction,
        before,
        replace(scene, event=event, schedules=schedules),
        actor=actor,
        now=now,
        message=lambda written: messages.event_transitioned(written, step, now=now),
    )


def _follow(schedule: Schedule, to_state: EventState, *, reason: str, move: ScheduleState | None) -> Schedule:
    """Take a date along: what is cancelled or postponed is so with its dates, what is over has no running ones."""
    if to_state is EventState.CANCELLED and schedule.state in LIVE_STATES:
        return replace(schedule, state=ScheduleState.CANCELLED, state_reason=reason)
    if to_state is EventState.POSTPONED and schedule.state in UPCOMING_STATES:
        return replace(schedule, state=ScheduleState.POSTPONED, state_reason=reason)
    if to_state is EventState.COMPLETED and schedule.state is ScheduleState.IN_PROGRESS:
        return replace(schedule, state=ScheduleState.COMPLETED)
    return schedule if move is None else replace(schedule, state=move)


async def reschedule_event(  # noqa: PLR0913 - what a request says, by name
    transaction: Transaction,
    *,
    event_id: str,
    dates: Sequence[NewDate],
    reason: str,
    allow_overlap: bool,
    etag: str,
    actor: Actor,
    key: RequestKey,
    now: datetime,
) -> Outcome[Shown]:
    """Give a postponed event new dates. Postponed dates that are not named stay postponed.

    Raises EVENT_NOT_FOUND, SCHEDULE_NOT_FOUND, INVALID_TRANSITION, INVALID_DATE_RANGE, OVERLAPPING_EVENT,
    ETAG_MISMATCH, VALIDATION_FAILED, IDEMPOTENCY_KEY_REUSED.
    """

    async def do() -> tuple[str, Shown]:
        before = await lock_scene(transaction, actor.organization_id, event_id, venue="own")
        check_etag(etag, before.event.etag)
        target(before.event.state, "reschedule")
        schedules = _rescheduled(before, dates, now=now)
        check_dates(before.event, schedules, now=now)
        named = {date.schedule_id for date in dates}
        await check_overlaps(
            transaction, before, [one for one in schedules if one.id in named], allow_overlap=allow_overlap
        )
        scene = await apply_transition(
            transaction,
            before,
            "reschedule",
            actor=actor.subject,
            reason=reason,
            now=now,
            moves={},
            after=replace(before, schedules=schedules),
        )
        return event_id, await show(transaction, scene)

    return await once(
        transaction, key, find=lambda known: _shown_again(transaction, actor.organization_id, known), do=do
    )


def _rescheduled(scene: Scene, dates: Sequence[NewDate], *, now: datetime) -> tuple[Schedule, ...]:
    wanted: dict[str, NewDate] = {}
    for index, date in enumerate(dates):
        if date.schedule_id in wanted:
            raise invalid(f"dates[{index}].schedule_id", "names a date a second time")
        wanted[date.schedule_id] = date
    unknown = wanted.keys() - {one.id for one in scene.schedules}
    if unknown:
        raise schedule_not_found(min(unknown))
    rules, schedules = DateRules.of(scene.organization), []
    for one in scene.schedules:
        date_wanted = wanted.get(one.id)
        if date_wanted is None:
            schedules.append(one)
            continue
        check_move(one.state, ScheduleState.RESCHEDULED, reason=None, new_time=True)
        new = moved(
            one,
            start_time=date_wanted.start_time,
            end_time=date_wanted.end_time,
            doors_time=date_wanted.doors_time,
        )
        check_lead(new.start_time, rules=rules, now=now)
        check_times(new, now=now)
        schedules.append(replace(new, state=ScheduleState.RESCHEDULED))
    return tuple(schedules)


def schedule_not_found(schedule_id: str) -> DomainError:
    """Give the SCHEDULE_NOT_FOUND error."""
    return DomainError(Reason.SCHEDULE_NOT_FOUND, "no such date", metadata={"schedule_id": schedule_id})


@dataclass(frozen=True, slots=True)
class TransitionPage:
    """A page of an event's history; `allowed` = the transitions there are now."""

    steps: tuple[Transition, ...]
    allowed: tuple[str, ...]
    more: bool
    total: int | None


async def list_transitions(  # noqa: PLR0913 - what a request says, by name
    transaction: Transaction, *, event_id: str, after_version: int, size: int, with_total: bool, actor: Actor
) -> TransitionPage:
    """Read a page of an event's history, oldest first, or EVENT_NOT_FOUND."""
    event = await visible_event(transaction, actor.organization_id, event_id, member=actor.member)
    found = await transition_store.list_transitions(
        transaction, actor.organization_id, event_id, after_version=after_version, limit=size + 1
    )
    total = (
        await transition_store.count_transitions(transaction, actor.organization_id, event_id) if with_total else None
    )
    return TransitionPage(
        steps=tuple(found[:size]), allowed=allowed_transitions(event.state), more=len(found) > size, total=total
    )


async def _shown_again(transaction: Transaction, organization_id: str, event_id: str) -> Shown:
    return await show(transaction, await read_scene(transaction, organization_id, event_id, deleted_too=True))
