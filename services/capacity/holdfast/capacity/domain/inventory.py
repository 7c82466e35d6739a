"""An event's inventory in memory, as it stands under the event's lock, and what a commit will change of it.

Requests are decided one after another, in arrival order, against this state; what one takes, the next no longer sees.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.holds import Hold, HoldState, Sale, SaleState, Void
from holdfast.capacity.domain.sections import Counters, Crossing, Section, crossings
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from holdfast.capacity.domain.controls import EventControls

ENDED_MAX: Final = 500
"""The most holds, the most sales and the most sections that one commit brings up to date."""
JOURNAL_BYTES_AIM: Final = 192 * 1024
"""Where a commit stops bringing more up to date, so that its row of the journal stays below 256 kB."""
_CLAIM_BYTES: Final = 128
_LINE_BYTES: Final = 192


class TidyFirst(Exception):  # noqa: N818 (what is to be done; nothing failed)
    """So much of the event waits to be brought up to date that commits of their own must do it before this request."""

    def __init__(self, event_id: str) -> None:
        super().__init__(event_id)
        self.event_id = event_id


def journal_bytes(claim: Hold | Sale) -> int:
    """Estimate, never too low, what an ended hold or a marked sale takes of the journal's row."""
    texts = len(claim.customer_id.encode()) + len(claim.order_reference.encode())
    # A line, and the counters of a section that perhaps no other line touches.
    return _CLAIM_BYTES + texts + 2 * _LINE_BYTES * len(claim.lines)


@dataclass(slots=True)
class Inventory:
    """The state under the lock. `at` is the batch time, `version` the last committed one.

    `sections` holds every section that the requests touch. `expired` are holds whose time is over and whose places
    still count as held, oldest first, of the sections that are short of places; `more_expired` are those of which there
    may be more. `next_expire_times` tells by section when the next live hold ends, where places stay short. `due_time`
    is when something of the event is due. Of changed holds, `holds_before` tells what they were, and `void_versions`
    which commit ended those that are voided.
    """

    organization_id: str
    event_id: str
    version: int
    at: datetime
    controls: EventControls
    counters: Counters
    crossed: frozenset[Crossing]
    sections: dict[str, Section]
    live_holds: int = 0
    voids: tuple[Void, ...] = ()
    expired: list[Hold] = field(default_factory=list)
    more_expired: set[str] = field(default_factory=set)
    next_expire_times: dict[str, datetime] = field(default_factory=dict)
    due_time: datetime | None = None

    changed_sections: set[str] = field(default_factory=set)
    new_sections: list[Section] = field(default_factory=list)
    new_holds: list[Hold] = field(default_factory=list)
    changed_holds: dict[str, Hold] = field(default_factory=dict)
    holds_before: dict[str, Hold] = field(default_factory=dict)
    void_versions: dict[str, int] = field(default_factory=dict)
    new_sales: list[Sale] = field(default_factory=list)
    changed_sales: dict[str, Sale] = field(default_factory=dict)
    new_voids: list[Void] = field(default_factory=list)
    controls_changed: bool = False
    journal_bytes: int = 0

    @property
    def next_version(self) -> int:
        """The version that the commit will make."""
        return self.version + 1

    @property
    def dirty(self) -> bool:
        """Whether there is anything to commit."""
        return bool(
            self.changed_sections
            or self.new_sections
            or self.new_holds
            or self.changed_holds
            or self.new_sales
            or self.changed_sales
            or self.new_voids
            or self.controls_changed
        )

    def section(self, section_id: str) -> Section:
        """Find a section of the event; SECTION_NOT_FOUND."""
        section = self.sections.get(section_id)
        if section is None:
            raise DomainError(Reason.SECTION_NOT_FOUND, "there is no such section", metadata={"section_id": section_id})
        return section

    def put_section(self, section: Section, *, new: bool = False) -> None:
        """Take over a section that was made or changed, and keep the event's sums."""
        before = Counters() if new else self.sections[section.section_id].counters
        now = section.counters
        self.counters = Counters(
            total=self.counters.total + now.total - before.total,
            held=self.counters.held + now.held - before.held,
            pending=self.counters.pending + now.pending - before.pending,
            sold=self.counters.sold + now.sold - before.sold,
            blocked=self.counters.blocked + now.blocked - before.blocked,
        )
        self.sections[section.section_id] = section
        if new:
            self.new_sections.append(section)
        else:
            self.changed_sections.add(section.section_id)

    @property
    def full(self) -> bool:
        """Whether the commit has brought as much up to date as one may."""
        return (
            len(self.changed_holds) >= ENDED_MAX
            or len(self.changed_sales) >= ENDED_MAX
            or len(self.changed_sections) >= ENDED_MAX
            or self.journal_bytes >= JOURNAL_BYTES_AIM
        )

    def untidied(self, section_id: str) -> bool:
        """Whether places of a section may be free that this commit cannot free by itself."""
        return (
            bool(self.voids)
            or section_id in self.more_expired
            or any(line.section_id == section_id for hold in self.expired for line in hold.lines)
        )

    def free(self, hold: Hold) -> None:
        """Give back the places that a live hold's row claims."""
        for line in hold.lines:
            section = self.sections[line.section_id]
            if hold.state is HoldState.PENDING:
                self.put_section(section.moved(pending=-line.quantity))
            else:
                self.put_section(section.moved(held=-line.quantity))

    def end(self, hold: Hold, state: HoldState, *, at: datetime, void: Void | None = None) -> Hold:
        """End a live hold and free its places."""
        self.free(hold)
        self.live_holds -= 1
        self.journal_bytes += journal_bytes(hold)
        ended = hold.ended(state, at, cause=None if void is None else void.cause)
        self.change_hold(hold, ended)
        if void is not None:
            self.void_versions[hold.hold_id] = void.noted_version
        return ended

    def change_hold(self, before: Hold, now: Hold) -> None:
        """Note a hold that the commit changes, and what it was when the commit began."""
        self.holds_before.setdefault(before.hold_id, before)
        self.changed_holds[now.hold_id] = now

    def reclaim(self, section_id: str, quantity: int) -> None:
        """Expire holds of a section whose time is over, oldest first, until so many places are free.

        Stops before that when none is left, or when the commit is full.
        """
        kept: list[Hold] = []
        for hold in self.expired:
            enough = self.sections[section_id].counters.available >= quantity
            if enough or self.full or all(line.section_id != section_id for line in hold.lines):
                kept.append(hold)
            else:
                self.end(hold, HoldState.EXPIRED, at=hold.expire_time)
        self.expired = kept

    def close(self, section: Section) -> None:
        """Close a section: no holds from now on."""
        self.journal_bytes += _LINE_BYTES
        self.put_section(replace(section, active=False, revision=section.revision + 1, update_time=self.at))

    def cancel(self, sale: Sale, schedule_id: str | None) -> None:
        """Mark the lines of a date, or all lines, of a sale as cancelled. What is sold stays counted as sold."""
        known = self.changed_sales.get(sale.sale_id)
        if known is None:
            self.journal_bytes += journal_bytes(sale)
        self.changed_sales[sale.sale_id] = (known or sale).cancelled(schedule_id)

    def add_hold(self, hold: Hold) -> None:
        """Claim a new hold's places."""
        for line in hold.lines:
            self.put_section(self.sections[line.section_id].moved(held=line.quantity))
        self.live_holds += 1
        self.new_holds.append(hold)

    def sell(self, hold: Hold, *, sale_id: str, order_reference: str) -> tuple[Hold, Sale]:
        """Turn a live hold into a sale."""
        for line in hold.lines:
            section = self.sections[line.section_id]
            if hold.state is HoldState.PENDING:
                self.put_section(section.moved(pending=-line.quantity, sold=line.quantity))
            else:
                self.put_section(section.moved(held=-line.quantity, sold=line.quantity))
        self.live_holds -= 1
        reference = order_reference or hold.order_reference
        confirmed = replace(hold.ended(HoldState.CONFIRMED, self.at), sale_id=sale_id, order_reference=reference)
        sale = Sale(
            sale_id=sale_id,
            event_id=hold.event_id,
            hold_id=hold.hold_id,
            customer_id=hold.customer_id,
            state=SaleState.SOLD,
            lines=hold.lines,
            create_time=self.at,
            order_reference=reference,
        )
        self.change_hold(hold, confirmed)
        self.new_sales.append(sale)
        return confirmed, sale

    def crossings(self) -> tuple[tuple[str, Crossing], ...]:
        """Tell which lines the commit crosses, as (section or empty for the event, line); keeps what is beyond."""
        found: list[tuple[str, Crossing]] = []
        touched = [*self.changed_sections, *(section.section_id for section in self.new_sections)]
        for section_id in sorted(set(touched)):
            section = self.sections[section_id]
            crossed, beyond = crossings(section.counters, section.crossed)
            found += [(section_id, each) for each in crossed]
            if beyond != section.crossed:
                self.sections[section_id] = replace(section, crossed=beyond)
        crossed, self.crossed = crossings(self.counters, self.crossed)
        return (*found, *(("", each) for each in crossed))

    def touched_sections(self) -> Sequence[Section]:
        """Give every section that the commit makes or changes, as it will be."""
        identifiers = {*self.changed_sections, *(section.section_id for section in self.new_sections)}
        return [self.sections[section_id] for section_id in sorted(identifiers)]
