"""Taking over an event's controls, and keeping its sections within the venue's and the dates' maxima."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.controls import EventControls, EventState, ScheduleState
from holdfast.capacity.domain.holds import Void, VoidCause
from holdfast.capacity.domain.sections import Counters, Section
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.capacity.domain.inventory import Inventory

INITIAL_SECTION_NAME: Final = "General Admission"
INITIAL_SECTION_CODE: Final = "GA"
EVENT_TOTAL_MAX: Final = 2**31 - 1
"""The most places of one event: contracts and tables count in 32 bits."""


def apply_controls(inventory: Inventory, controls: EventControls, *, section_id: str) -> bool:
    """Take over newer controls; False when these, or newer ones, were known. `section_id` names the first section.

    A change that ends holds notes a void: it holds from this commit on for everybody, while the rows of many holds
    are brought up to date in later commits. Needs all of the event's sections.
    """
    before = inventory.controls
    first = before.version == 0
    if controls.version <= before.version:
        return False
    inventory.controls = controls
    inventory.controls_changed = True
    inventory.admits = False
    inventory.open_dates.clear()
    for void in _voids(inventory, before, controls):
        inventory.new_voids.append(void)
        inventory.voids = (*inventory.voids, void)
    if first and controls.initial_capacity > 0:
        inventory.put_section(
            Section(
                section_id=section_id,
                event_id=inventory.event_id,
                schedule_id=None,
                name=INITIAL_SECTION_NAME,
                code=INITIAL_SECTION_CODE,
                counters=Counters(total=controls.initial_capacity),
                create_time=inventory.at,
                update_time=inventory.at,
            ),
            new=True,
        )
    if controls.state is EventState.CANCELLED:
        close_sections(inventory)
    return True


def close_sections(inventory: Inventory) -> bool:
    """Close the sections of an event that is cancelled, as many as a commit may; False when some are left."""
    for section in inventory.standing_sections:
        if inventory.full:
            return False
        if section.active:
            inventory.close(section)
    return True


def _voids(inventory: Inventory, before: EventControls, now: EventControls) -> list[Void]:
    def void(cause: VoidCause, schedule_id: str | None = None) -> Void:
        return Void(cause=cause, through_version=inventory.version, at=inventory.at, schedule_id=schedule_id)

    if now.state is EventState.CANCELLED and before.state is not EventState.CANCELLED:
        return [void(VoidCause.EVENT_CANCELLED)]
    voids = []
    if now.state is EventState.POSTPONED and before.state is not EventState.POSTPONED:
        voids.append(void(VoidCause.EVENT_POSTPONED))
    for schedule in now.schedules:
        known = before.schedule(schedule.schedule_id)
        was = None if known is None else known.state
        if schedule.state is ScheduleState.CANCELLED and was is not ScheduleState.CANCELLED:
            voids.append(void(VoidCause.SCHEDULE_CANCELLED, schedule.schedule_id))
    return voids


def check_maxima(inventory: Inventory, changed: Sequence[Section]) -> None:
    """Raise VENUE_CAPACITY_EXCEEDED unless the sections stay within the maxima of every date that `changed` counts on.

    `changed` are sections as they shall be, new ones or others in the place of those that there are. On each date its
    sections and the event-wide ones stay within the venue's maximum and the date's own. The event's lock is held, so
    that sections made at the same time cannot together exceed it. Needs all sections.
    """
    controls = inventory.controls
    totals: dict[str | None, int] = {}
    standing = {each.section_id: each for each in inventory.standing_sections}
    for section in (standing | {each.section_id: each for each in changed}).values():
        totals[section.schedule_id] = totals.get(section.schedule_id, 0) + section.counters.total
    _check(sum(totals.values()), EVENT_TOTAL_MAX, None)
    wide = totals.get(None, 0)
    on = {section.schedule_id for section in changed}
    for schedule in controls.schedules:
        if (None in on or schedule.schedule_id in on) and schedule.live:
            limit = controls.venue_max_capacity
            if schedule.capacity_override is not None:
                limit = min(limit, schedule.capacity_override)
            _check(wide + totals.get(schedule.schedule_id, 0), limit, schedule.schedule_id)
    for schedule_id in on:
        own = 0 if schedule_id is None else totals[schedule_id]
        _check(wide + own, controls.venue_max_capacity, schedule_id)


def _check(total: int, maximum: int, schedule_id: str | None) -> None:
    if total > maximum:
        metadata = {"maximum": str(maximum), "total": str(total)}
        if schedule_id is not None:
            metadata["schedule_id"] = schedule_id
        raise DomainError(
            Reason.VENUE_CAPACITY_EXCEEDED, "the sections together would exceed the maximum", metadata=metadata
        )
