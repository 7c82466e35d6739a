"""What is left of an event, kept in memory: a reading of the tables that follows the journal and the clock.

Counters of sections count holds until their rows are brought up to date. How much of that ended already, by time or
because the event was cancelled or postponed, is known from the claims of the holds; callers see it as free.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.claims import Claim, Claims
from holdfast.capacity.domain.selling import Sales

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from holdfast.capacity.domain.controls import EventControls, EventState
    from holdfast.capacity.domain.sections import Counters, Section

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TICK: Final = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """Give a moment as microseconds since 1970."""
    return (moment - _EPOCH) // _TICK


def moment_of(microseconds_since_1970: int) -> datetime:
    """Give microseconds since 1970 as a moment in UTC."""
    return _EPOCH + microseconds_since_1970 * _TICK


@dataclass(frozen=True, slots=True)
class SectionStep:
    """A section after a commit. `revision` counts the changes of its settings."""

    section_id: str
    counters: Counters
    active: bool
    revision: int
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A commit, as far as availability goes. `added` and `taken` are claims of holds, by section.

    An `opaque` one tells too little to be followed.
    """

    version: int
    at: datetime
    controls_version: int
    sections: tuple[SectionStep, ...]
    added: tuple[tuple[str, Claim], ...] = ()
    taken: tuple[tuple[str, Claim], ...] = ()
    ended_blocks: tuple[str, ...] = ()
    opaque: bool = False


@dataclass(frozen=True, slots=True)
class SectionAvailability:
    """A section, and its counters as callers see them."""

    section: Section
    counters: Counters


@dataclass(frozen=True, slots=True)
class Availability:
    """What is left of an event. `next_change_time` is when the clock alone changes something, None = never.

    `version` and `clock_version` together name the answer: equal ones are equal answers to the same question.
    """

    state: EventState
    sales_allowed: bool
    sections: tuple[SectionAvailability, ...]
    total: int
    available: int
    version: int
    clock_version: int
    next_change_time: datetime | None


class EventAvailability:
    """An event's availability at a version, read from the tables at a moment; follows commits one by one.

    `sections` are in the order of their creation. `claims` are, by section, those of the holds that are live by their
    rows; `ended_blocks` are blocks that places do not go back to. The version was made at `changed_at`, and was the
    newest at least until `at`.
    """

    def __init__(  # noqa: PLR0913 (what a reading finds)
        self,
        *,
        controls: EventControls,
        version: int,
        changed_at: datetime,
        at: datetime,
        sections: Iterable[Section],
        claims: Iterable[tuple[str, Claim]],
        ended_blocks: Iterable[str] = (),
    ) -> None:
        self.controls = controls
        self.version = version
        self.at = at
        self.sections = {section.section_id: section for section in sections}
        self.claims: defaultdict[str, Claims] = defaultdict(Claims)
        for section_id, claim in claims:
            self.claims[section_id].add(claim)
        self.ended_blocks = set(ended_blocks)
        self._changed_us = microseconds(changed_at)
        self._sales: dict[str | None, Sales] = {}
        self._answers: dict[tuple[str | None, bool], Availability] = {}

    def known_newest(self, at: datetime) -> None:
        """Take note that the version still was the newest at a moment."""
        self.at = max(self.at, at)

    def follow(self, step: Step) -> bool:
        """Apply the next commit. False when it cannot be followed: then the tables must be read anew."""
        if step.version != self.version + 1:
            raise ValueError(f"version {step.version} does not follow {self.version}")
        if step.opaque or step.controls_version != self.controls.version:
            return False
        drifts = self._drifts(step.sections)
        for section_id, claim in step.added:
            self.claims[section_id].add(claim)
        if not all(self.claims[section_id].take(claim) for section_id, claim in step.taken):
            return False
        self.ended_blocks.update(step.ended_blocks)
        for each in step.sections:
            known = self.sections.get(each.section_id)
            if each.deleted:
                self.sections.pop(each.section_id, None)
                self.claims.pop(each.section_id, None)
            elif known is None or known.revision != each.revision:
                return False
            else:
                self.sections[each.section_id] = replace(known, counters=each.counters, active=each.active)
        if self._drifts(step.sections) != drifts:
            return False
        self.version = step.version
        self._changed_us = microseconds(step.at)
        self.known_newest(step.at)
        self._answers.clear()
        return True

    def _drifts(self, steps: Sequence[SectionStep]) -> list[tuple[int, int]]:
        """Tell by how much counters and claims differ; by nothing, unless somebody damaged the tables."""
        drifts = []
        for step in steps:
            section = self.sections.get(step.section_id)
            if section is not None and not step.deleted:
                claims = self.claims[step.section_id]
                drifts.append((section.counters.held - claims.held, section.counters.pending - claims.pending))
        return drifts

    def answer(self, at: datetime, *, schedule_id: str | None, hidden: bool) -> Availability:
        """Tell what is left at a moment: of a date's sections and the event-wide ones, or of all.

        `hidden` sections only if asked for. SCHEDULE_NOT_FOUND.
        """
        known = self._answers.get((schedule_id, hidden))
        if known is not None and (known.next_change_time is None or at < known.next_change_time):
            return known
        answer = self._made(at, schedule_id=schedule_id, hidden=hidden)
        self._answers[schedule_id, hidden] = answer
        return answer

    def shown(self, section: Section, at: datetime) -> Counters:
        """Give a section's counters as callers see them at a moment: what ended is free, or back in its block."""
        known = section.counters
        held, paying, blocked = known.held, known.pending, known.blocked
        for (pending, block_id), quantity in self.claims[section.section_id].ended(microseconds(at)):
            if pending:
                paying -= quantity
            else:
                held -= quantity
            if block_id and block_id not in self.ended_blocks:
                blocked += quantity
        return replace(known, held=held, pending=paying, blocked=blocked)

    def _made(self, at: datetime, *, schedule_id: str | None, hidden: bool) -> Availability:
        sales = self._sales.get(schedule_id)
        if sales is None:
            sales = self._sales[schedule_id] = Sales(self.controls, schedule_id)
        sections = []
        changes = [self._changed_us]
        nexts = []
        for section in self.sections.values():
            if (hidden or section.visible) and (schedule_id is None or section.schedule_id in (None, schedule_id)):
                sections.append(SectionAvailability(section, self.shown(section, at)))
                claims = self.claims[section.section_id]
                changes.append(claims.last_us)
                next_us = claims.next_us
                if next_us is not None:
                    nexts.append(moment_of(next_us))
        last, upcoming = sales.last_change(at), sales.next_change(at)
        if last is not None:
            changes.append(microseconds(last))
        if upcoming is not None:
            nexts.append(upcoming)
        changed_us = max(changes)
        state, allowed = sales.at(at)
        return Availability(
            state=state,
            sales_allowed=allowed,
            sections=tuple(sections),
            total=sum(each.counters.total for each in sections),
            available=sum(each.counters.available for each in sections),
            version=self.version,
            clock_version=changed_us if changed_us > self._changed_us else 0,
            next_change_time=min(nexts, default=None),
        )
