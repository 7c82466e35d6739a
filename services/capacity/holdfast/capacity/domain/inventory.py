"""An event's inventory in memory, as it stands under the event's lock, and what a commit will change of it.

Requests are decided one after another, in arrival order, against this state; what one takes, the next no longer sees.
A rule first checks all that could refuse a request and then changes the state, so that a refusal leaves no trace.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.bitmaps import mask_of
from holdfast.capacity.domain.holds import Hold, HoldState
from holdfast.capacity.domain.journal_sizes import (
    AIM_BYTES,
    SECTION_BYTES,
    block_bytes,
    claim_bytes,
    exchange_bytes,
    return_bytes,
)
from holdfast.capacity.domain.rows import Rows
from holdfast.capacity.domain.sales import Sale, SaleExchange, SaleReturn, SaleState
from holdfast.capacity.domain.seats import SeatOwner
from holdfast.capacity.domain.sections import Counters, Crossing, Section, crossings
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from holdfast.capacity.domain.blocks import Act, Block
    from holdfast.capacity.domain.controls import EventControls
    from holdfast.capacity.domain.holds import Line, Void
    from holdfast.capacity.domain.parts import Part
    from holdfast.capacity.domain.seats import Seating

CHANGES_MAX: Final = 500
"""The most holds, the most sales and the most sections that one commit makes or brings up to date."""


class TidyFirst(Exception):  # noqa: N818 (what is to be done; nothing failed)
    """So much of the event waits to be brought up to date that commits of their own must do it before this request."""

    def __init__(self, event_id: str) -> None:
        super().__init__(event_id)
        self.event_id = event_id


@dataclass(slots=True)
class Inventory:
    """The state under the lock. `at` is the batch time, `version` the last committed one.

    `sections` holds every section that the requests touch, deleted ones too, `seatings` the seats of those that are
    seated. `expired` are holds whose time is over and whose places still count as held, oldest first, of the sections
    and blocks that are short of places; `more_expired` are those of which there may be more. `next_expire_times` tells
    by section when the next live hold ends, where places stay short; of seated sections it is not known before somebody
    is refused, and `untold` are those. `claimed` is how many tickets of a tier a customer has in live holds and sales,
    of the pairs that the requests ask for. `due_time` is when something of the event is due. `released_lines` are by
    hold the places that it gave back while it lives on, with what its price falls by. `void_versions` tells of voided
    holds which commit ended them, `block_acts` who did something to blocks. `repaired` says that the commit puts right
    what did not agree.
    `admits` and `open_dates` remember, for the requests of one batch, that the event takes new holds, and the dates on
    sale that they ask for.
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
    due_time: datetime | None = None
    seatings: dict[str, Seating] = field(default_factory=dict)
    claimed: dict[tuple[str, str], int] = field(default_factory=dict)
    expired: list[Hold] = field(default_factory=list)
    more_expired: set[str] = field(default_factory=set)
    next_expire_times: dict[str, datetime] = field(default_factory=dict)
    untold: set[str] = field(default_factory=set)
    holds: Rows[Hold] = field(default_factory=Rows)
    sales: Rows[Sale] = field(default_factory=Rows)
    blocks: Rows[Block] = field(default_factory=Rows)
    changed_sections: set[str] = field(default_factory=set)
    new_sections: set[str] = field(default_factory=set)
    settled_sections: set[str] = field(default_factory=set)
    relined_holds: set[str] = field(default_factory=set)
    released_lines: dict[str, list[Line]] = field(default_factory=dict)
    returns: list[SaleReturn] = field(default_factory=list)
    exchanges: list[SaleExchange] = field(default_factory=list)
    block_acts: dict[str, Act] = field(default_factory=dict)
    void_versions: dict[str, int] = field(default_factory=dict)
    new_voids: list[Void] = field(default_factory=list)
    controls_changed: bool = False
    repaired: bool = False
    admits: bool = False
    open_dates: dict[tuple[str | None, str | None], str | None] = field(default_factory=dict)
    expired_count: int = 0
    journal_bytes: int = 0

    @property
    def next_version(self) -> int:
        """The version that the commit will make."""
        return self.version + 1

    def version_of(self, hold_id: str) -> int:
        """Give the version at which a hold is as it is now: the commit's, if the commit makes or changes it."""
        return self.next_version if self.holds.touched(hold_id) else self.version

    @property
    def dirty(self) -> bool:
        """Whether there is anything to commit."""
        return bool(
            self.changed_sections
            or self.new_sections
            or self.holds.changes
            or self.sales.changes
            or self.blocks.changes
            or self.new_voids
            or self.controls_changed
            or self.repaired
        )

    @property
    def full(self) -> bool:
        """Whether the commit has taken in as much as one may."""
        return (
            self.holds.changes >= CHANGES_MAX
            or self.sales.changes >= CHANGES_MAX
            or self.blocks.changes >= CHANGES_MAX
            or len(self.changed_sections) >= CHANGES_MAX
            or self.journal_bytes >= AIM_BYTES
        )

    def section(self, section_id: str) -> Section:
        """Find a section of the event; SECTION_NOT_FOUND."""
        section = self.sections.get(section_id)
        if section is None or section.deleted:
            raise DomainError(Reason.SECTION_NOT_FOUND, "there is no such section", metadata={"section_id": section_id})
        return section

    @property
    def standing_sections(self) -> list[Section]:
        """Give the sections that are not deleted, of those that were read."""
        return [section for section in self.sections.values() if not section.deleted]

    def put_section(self, section: Section, *, new: bool = False) -> None:
        """Take over a section that was made, or whose settings or total changed, and keep the event's sums."""
        self._count(section.counters, 1)
        if not new:
            self._count(self.sections[section.section_id].counters, -1)
        self.sections[section.section_id] = section
        if new:
            self.new_sections.add(section.section_id)
        elif section.section_id not in self.new_sections:
            self.changed_sections.add(section.section_id)
            self.settled_sections.add(section.section_id)

    def delete_section(self, section: Section) -> None:
        """Take a section out of the event for good. Its row stays, with the last counters."""
        self._count(section.counters, -1)
        self.sections[section.section_id] = replace(
            section, delete_time=self.at, update_time=self.at, revision=section.revision + 1
        )
        self.changed_sections.add(section.section_id)
        self.settled_sections.add(section.section_id)

    def _count(self, part: Counters, sign: int) -> None:
        sums = self.counters
        sums.total += sign * part.total
        sums.held += sign * part.held
        sums.pending += sign * part.pending
        sums.sold += sign * part.sold
        sums.blocked += sign * part.blocked
        sums.buffer += sign * part.buffer

    def move(self, section_id: str, *, held: int = 0, pending: int = 0, sold: int = 0, blocked: int = 0) -> None:
        """Change what of a section is claimed how."""
        counters, sums = self.sections[section_id].counters, self.counters
        if held:
            counters.held += held
            sums.held += held
        if pending:
            counters.pending += pending
            sums.pending += pending
        if sold:
            counters.sold += sold
            sums.sold += sold
        if blocked:
            counters.blocked += blocked
            sums.blocked += blocked
        if section_id not in self.new_sections:
            self.changed_sections.add(section_id)

    def untidied(self, section_id: str) -> bool:
        """Whether places of a section may be free that this commit cannot free by itself."""
        return (
            bool(self.voids)
            or section_id in self.more_expired
            or any(line.section_id == section_id for hold in self.expired for line in hold.lines)
        )

    def untidied_block(self, block_id: str) -> bool:
        """Whether places may be back in a block that this commit cannot put there by itself."""
        return (
            bool(self.voids)
            or block_id in self.more_expired
            or any(line.block_id == block_id for hold in self.expired for line in hold.lines)
        )

    def untidied_seats(self, section_id: str, seats: int) -> bool:
        """Whether seats of a bitmap may be free that this commit cannot free by itself."""
        return bool(self.voids) or any(_has_seats(hold, section_id, seats) for hold in self.expired)

    def add_hold(self, hold: Hold) -> None:
        """Claim a new hold's places."""
        for line in hold.lines:
            self.claim(hold, line)
        self.live_holds += 1
        self.journal_bytes += claim_bytes(hold)
        self.holds.make(hold.hold_id, hold)

    def claim(self, hold: Hold, line: Line) -> None:
        """Take a line's places for a hold: free ones, or those of a block."""
        self.move(line.section_id, held=line.quantity)
        if line.block_id is None:
            ends = self.next_expire_times.get(line.section_id)
            if ends is None or hold.expire_time < ends:
                self.next_expire_times[line.section_id] = hold.expire_time
        self._take(line, hold_id=hold.hold_id, customer_id=hold.customer_id)

    def sell_line(self, sale: Sale, line: Line) -> None:
        """Take a further line's places for a sale, as `claim` does. Its hold, which was confirmed, claims the seats."""
        self.move(line.section_id, sold=line.quantity)
        self._take(line, hold_id=sale.hold_id, customer_id=sale.customer_id)

    def _take(self, line: Line, *, hold_id: str, customer_id: str) -> None:
        if line.block_id is not None:
            self.move(line.section_id, blocked=-line.quantity)
            block = self.blocks.now[line.block_id]
            self.put_block(block, block.less(line.quantity, line.seats, taken=line.quantity))
        if line.seats:
            self.seatings[line.section_id].claim(line.seats, SeatOwner(hold_id=hold_id))
        self.count_claimed(customer_id, line, line.quantity)

    def unsell(self, sale: Sale, line: Line, part: Part) -> None:
        """Give back places of a line of a sale."""
        self.move(line.section_id, sold=-part.quantity)
        if part.seats:
            self.seatings[line.section_id].free(part.seats)
        self.count_claimed(sale.customer_id, line, -part.quantity)

    def free(self, line: Line, *, pending: bool) -> None:
        """Give back the places that a line of a live hold claims: to sale, or to the block that they came from."""
        quantity = line.quantity
        block = None if line.block_id is None else self.blocks.now[line.block_id]
        back = block is not None and not block.ended
        if pending:
            self.move(line.section_id, pending=-quantity, blocked=quantity if back else 0)
        else:
            self.move(line.section_id, held=-quantity, blocked=quantity if back else 0)
        if line.seats:
            seating = self.seatings[line.section_id]
            if back:
                seating.claim(line.seats, SeatOwner(block_id=line.block_id))
            else:
                seating.free(line.seats)
        if block is not None:
            self.put_block(block, block.back(quantity, zip(line.seats, line.labels, strict=True)))

    def make_block(self, block: Block, act: Act) -> None:
        """Take over a new block, whose places were free or sold before."""
        self.move(block.section_id, blocked=block.quantity)
        if block.seats:
            self.seatings[block.section_id].claim(block.seats, SeatOwner(block_id=block.block_id))
        self.journal_bytes += block_bytes(block)
        self.block_acts[block.block_id] = act
        self.blocks.make(block.block_id, block)

    def put_block(self, before: Block, now: Block) -> None:
        """Take over another state of a block."""
        if not self.blocks.touched(now.block_id):
            self.journal_bytes += block_bytes(now)
        self.blocks.change(now.block_id, now.changed(self.at), before=before)

    def count_claimed(self, customer_id: str, line: Line, quantity: int) -> None:
        """Keep the sums of what customers have, for the requests that come after."""
        if line.price is not None:
            key = (customer_id, line.price.price_tier_id)
            if key in self.claimed:
                self.claimed[key] += quantity

    def end(self, hold: Hold, state: HoldState, *, at: datetime, void: Void | None = None) -> Hold:
        """End a live hold and free its places."""
        for line in hold.lines:
            self.free(line, pending=hold.state is HoldState.PENDING)
            if state is HoldState.RELEASED:  # what time or a void ended was not counted any more
                self.count_claimed(hold.customer_id, line, -line.quantity)
        self.live_holds -= 1
        self.expired_count += state is HoldState.EXPIRED
        ended = hold.ended(state, at, cause=None if void is None else void.cause)
        self.put_hold(hold, ended)
        if void is not None:
            self.void_versions[hold.hold_id] = void.noted_version
        return ended

    def put_hold(self, before: Hold, now: Hold) -> None:
        """Take over another state of a hold."""
        if not self.holds.touched(now.hold_id):
            self.journal_bytes += claim_bytes(now)
        self.holds.change(now.hold_id, now, before=before)

    def reline(self, hold: Hold, lines: tuple[Line, ...], *, given: Sequence[Line], taken: Sequence[Line]) -> Hold:
        """Let an active hold have other lines: `given` are the places that it gives back, `taken` those it takes."""
        for line in given:
            self.free(line, pending=False)
            self.count_claimed(hold.customer_id, line, -line.quantity)
        for line in taken:
            self.claim(hold, line)
        now = replace(hold, lines=lines, revision=hold.revision + 1)
        self.journal_bytes += claim_bytes(replace(hold, lines=(*given, *taken)))
        self.put_hold(hold, now)
        self.relined_holds.add(hold.hold_id)
        self.released_lines.setdefault(hold.hold_id, []).extend(given)
        return now

    def reclaim(self, section_id: str, quantity: int) -> None:
        """Expire holds of a section whose time is over, oldest first, until so many places are free.

        Stops before that when none is left, or when the commit is full.
        """
        counters = self.sections[section_id].counters
        self._expire(
            lambda hold: any(line.section_id == section_id for line in hold.lines),
            enough=lambda: counters.available >= quantity,
        )

    def reclaim_seats(self, section_id: str, seats: int) -> None:
        """Expire holds whose time is over and that have seats of a bitmap."""
        self._expire(lambda hold: _has_seats(hold, section_id, seats))

    def reclaim_block(self, block_id: str, quantity: int) -> None:
        """Expire holds from a block whose time is over, oldest first, until so many places are in it again.

        Stops before that when none is left, or when the commit is full.
        """
        self._expire(
            lambda hold: any(line.block_id == block_id for line in hold.lines),
            enough=lambda: self.blocks.now[block_id].quantity >= quantity,
        )

    def _expire(self, concerned: Callable[[Hold], bool], *, enough: Callable[[], bool] = lambda: False) -> None:
        kept: list[Hold] = []
        for hold in self.expired:
            if self.holds.now[hold.hold_id] is not hold:
                continue  # an earlier request of the batch ended it
            if self.full or enough() or not concerned(hold):
                kept.append(hold)
            else:
                self.end_over(hold)
        self.expired = kept

    def end_over(self, hold: Hold) -> Hold:
        """End a hold whose time is over, as it was seen from then on: by a void, if one ended it before its time."""
        void = next((each for each in self.voids if each.ends(hold)), None)
        if void is not None:
            return self.end(hold, HoldState.VOIDED, at=void.at, void=void)
        return self.end(hold, HoldState.EXPIRED, at=hold.expire_time)

    def close(self, section: Section) -> None:
        """Close a section: no holds from now on."""
        self.journal_bytes += SECTION_BYTES
        self.put_section(replace(section, active=False, revision=section.revision + 1, update_time=self.at))

    def cancel(self, sale: Sale, schedule_id: str | None) -> None:
        """Mark the lines of a date, or all lines, of a sale as cancelled. What is sold stays counted as sold."""
        known = self.sales.now.get(sale.sale_id, sale)
        self.put_sale(known, known.cancelled(schedule_id, at=self.at))

    def add_return(self, made: SaleReturn) -> None:
        """Take over what came back of a sale."""
        self.journal_bytes += return_bytes(made)
        self.returns.append(made)

    def add_exchange(self, made: SaleExchange) -> None:
        """Take over what was exchanged in a sale."""
        self.journal_bytes += exchange_bytes(made)
        self.exchanges.append(made)

    def put_sale(self, before: Sale, now: Sale) -> None:
        """Take over another state of a sale."""
        if not self.sales.touched(now.sale_id):
            self.journal_bytes += claim_bytes(now)
        self.sales.change(now.sale_id, now, before=before)

    def sell(self, hold: Hold, *, sale_id: str, order_reference: str) -> tuple[Hold, Sale]:
        """Turn a live hold into a sale. Its seats stay claimed by it."""
        for line in hold.lines:
            if hold.state is HoldState.PENDING:
                self.move(line.section_id, pending=-line.quantity, sold=line.quantity)
            else:
                self.move(line.section_id, held=-line.quantity, sold=line.quantity)
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
        self.put_hold(hold, confirmed)
        self.journal_bytes += claim_bytes(sale)
        self.sales.make(sale_id, sale)
        return confirmed, sale

    def crossings(self) -> tuple[tuple[str, Crossing], ...]:
        """Tell which lines the commit crosses, as (section or empty for the event, line); keeps what is beyond."""
        found: list[tuple[str, Crossing]] = []
        for section_id in sorted(self.changed_sections | self.new_sections):
            section = self.sections[section_id]
            crossed, beyond = crossings(section.counters, section.crossed)
            found += [(section_id, each) for each in crossed]
            if beyond != section.crossed:
                self.sections[section_id] = replace(section, crossed=beyond)
        crossed, self.crossed = crossings(self.counters, self.crossed)
        return (*found, *(("", each) for each in crossed))

    def touched_sections(self) -> Sequence[Section]:
        """Give every section that the commit makes or changes, as it will be."""
        return [self.sections[section_id] for section_id in sorted(self.changed_sections | self.new_sections)]


def _has_seats(hold: Hold, section_id: str, seats: int) -> bool:
    return any(seats & mask_of(line.seats) for line in hold.lines if line.section_id == section_id)
