"""Doing what is due of one event: one step, one commit, safe to run again and in several replicas."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from holdfast.events import messages
from holdfast.events.domain.lifecycle import TERMINAL_STATES
from holdfast.events.domain.timers import StepKind, dates_step, inventory_transition, sales_due, sales_retry_seconds
from holdfast.events.operations.scenes import scene_of, write_change, write_due
from holdfast.events.operations.transitions import apply_transition, missing_for
from holdfast.events.store import due_work
from holdfast.events.store import events as event_store
from holdfast.events.store.due_work import Due, DueKind

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.common.database import Transaction
    from holdfast.events.domain.scenes import Scene
    from holdfast.events.operations.answers import Answers

ACTOR: Final = "service:events"
INVENTORY_ACTOR: Final = "service:capacity"


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of something that was due: the event as it is now if it changed, and what is still missing for it."""

    scene: Scene | None = None
    missing: tuple[str, ...] = ()


async def run_due(transaction: Transaction, due: Due, *, answers: Answers, now: datetime) -> Ran:
    """Make the step that is due, if it still is and nobody else works on the event.

    What was due is looked up before anything else is read: who changes a venue after that notes it anew.
    Raises AnswerNeeded when sales are to start.
    """
    event = await event_store.find_event(transaction, due.organization_id, due.event_id, lock="skip")
    if event is None:
        return Ran()
    taken = await due_work.take_due(transaction, due, now=now)
    if taken is None:
        return Ran()
    scene = await scene_of(transaction, event)
    if due.kind is DueKind.CONTROLS:
        return await _refresh(transaction, scene, now=now)
    if due.kind is DueKind.DATES:
        return await _move_dates(transaction, scene, now=now)
    return await _move_sales(transaction, scene, taken, answers=answers, now=now)


async def _refresh(transaction: Transaction, scene: Scene, *, now: datetime) -> Ran:
    """Give the event a new version, so that capacity takes over what the venue or the organization changed."""
    event = scene.event
    await due_work.set_due(transaction, event.organization_id, event.id, {DueKind.CONTROLS: None})
    if event.delete_time is not None or event.state in TERMINAL_STATES:
        return Ran()
    written = await write_change(
        transaction,
        scene,
        scene,
        actor=ACTOR,
        now=now,
        message=lambda after: messages.event_updated(after, changed_fields=["controls"], now=now),
    )
    return Ran(scene=written)


async def _move_dates(transaction: Transaction, scene: Scene, *, now: datetime) -> Ran:
    step = dates_step(scene.event, scene.schedules, now=now)
    if step is None:
        await write_due(transaction, scene, now=now)
        return Ran()
    if step.kind is not StepKind.MOVE_DATES:
        written = await apply_transition(
            transaction, scene, step.kind.value, actor=ACTOR, reason="", now=now, moves=step.moves
        )
        return Ran(scene=written)
    after = replace(
        scene,
        schedules=tuple(
            replace(one, state=step.moves[one.id]) if one.id in step.moves else one for one in scene.schedules
        ),
    )
    written = await write_change(
        transaction,
        scene,
        after,
        actor=ACTOR,
        now=now,
        message=lambda moved: messages.event_updated(moved, changed_fields=["schedules"], now=now),
    )
    return Ran(scene=written)


async def _move_sales(transaction: Transaction, scene: Scene, due: Due, *, answers: Answers, now: datetime) -> Ran:
    event = scene.event
    figures = await event_store.find_figures(transaction, event.organization_id, [event.id])
    sold_out = event.id in figures and figures[event.id].sold_out
    follow = inventory_transition(event.state, sold_out=sold_out)
    if follow is not None:
        return Ran(
            scene=await apply_transition(
                transaction, scene, follow, actor=INVENTORY_ACTOR, reason="", now=now, moves={}
            )
        )
    moment = sales_due(event, sold_out=sold_out, now=now)
    if moment is None or moment > now:
        await write_due(transaction, scene, now=now)
        return Ran()
    missing = missing_for(scene, "start_sales", answers=answers, now=now)
    if missing:
        await postpone(transaction, due, now=now)
        return Ran(missing=tuple(missing))
    written = await apply_transition(transaction, scene, "start_sales", actor=ACTOR, reason="", now=now, moves={})
    return Ran(scene=written)


async def postpone(transaction: Transaction, due: Due, *, now: datetime) -> None:
    """Try again later: after what is missing had time to come, or what failed to recover; less and less often."""
    await due_work.postpone_due(
        transaction, due, due_time=now + timedelta(seconds=sales_retry_seconds(due.attempt + 1))
    )
