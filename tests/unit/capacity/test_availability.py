"""Availability in memory against the tables: following the journal tells the same as reading anew, at any moment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from holdfast.api.capacity.v1 import block_pb2, hold_pb2, messages_pb2, section_pb2
from holdfast.capacity.availability_messages import etag_of, step_of
from holdfast.capacity.domain.availability import Availability, EventAvailability, microseconds
from holdfast.capacity.domain.claims import Claim
from holdfast.capacity.domain.sections import Counters, Section
from holdfast.common.protobuf import to_timestamp
from tests.unit.capacity.factories import NOW, controls, section

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

STATE: Final = hold_pb2.Hold.State
LIVE: Final = (STATE.ACTIVE, STATE.PENDING)
TOTALS: Final = {"floor": 500, "balcony": 300}
BLOCKED: Final = 100
"""Places of the floor that begin in the block."""

wanted = st.dictionaries(
    st.sampled_from([("floor", ""), ("floor", "block"), ("balcony", "")]), st.integers(1, 3), min_size=1
)
moments = st.integers(1, 40).map(lambda quarters: timedelta(milliseconds=250 * quarters))
which = st.integers(0, 1_000)


@dataclass(frozen=True)
class Row:
    """A hold as its row says, and the version that voided it without the row being written; 0 = none did."""

    hold_id: str
    state: hold_pb2.Hold.State.ValueType
    expire_time: datetime
    places: dict[tuple[str, str], int]
    void_version: int = 0


def places_of(places: dict[tuple[str, str], int]) -> list[messages_pb2.SectionPlaces]:
    return [
        messages_pb2.SectionPlaces(section_id=section_id, block_id=block_id, quantity=quantity)
        for (section_id, block_id), quantity in places.items()
    ]


class Following(RuleBasedStateMachine):
    """One event; every rule is a commit or lets time pass."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.version = 1
        self.changed_at = NOW
        self.controls_version = 1
        self.rows: dict[str, Row] = {}
        self.sold = dict.fromkeys(TOTALS, 0)
        self.block_open = True
        self.block_size = BLOCKED
        self.told: dict[str, object] = {}
        self.event = self.read()

    def counters(self) -> dict[str, Counters]:
        """What the sections' rows say."""
        found = {}
        for name, total in TOTALS.items():
            held, pending = (
                sum(
                    quantity
                    for row in self.rows.values()
                    if row.state == state
                    for (section_id, _), quantity in row.places.items()
                    if section_id == name
                )
                for state in LIVE
            )
            out = sum(row.places.get((name, "block"), 0) for row in self.rows.values())
            blocked = self.block_size - out if name == "floor" and self.block_open else 0
            found[name] = Counters(total=total, held=held, pending=pending, sold=self.sold[name], blocked=blocked)
        return found

    def sections(self) -> list[Section]:
        return [replace(section(name), counters=counters) for name, counters in self.counters().items()]

    def read(self) -> EventAvailability:
        """Read the tables."""
        return EventAvailability(
            controls=controls(version=self.controls_version),
            version=self.version,
            changed_at=self.changed_at,
            at=self.now,
            sections=self.sections(),
            claims=[
                (
                    section_id,
                    Claim(
                        pending=row.state == STATE.PENDING,
                        expire_us=microseconds(row.expire_time),
                        quantity=quantity,
                        block_id=block_id,
                        voided=bool(row.void_version),
                    ),
                )
                for row in self.rows.values()
                for (section_id, block_id), quantity in row.places.items()
            ],
            ended_blocks=[] if self.block_open else ["block"],
        )

    def commit(self, changes: Iterable[messages_pb2.HoldChange], *, block_ended: bool = False) -> None:
        """Commit what was changed in the rows and tell the event's availability in memory."""
        self.version += 1
        self.changed_at = self.now
        message = messages_pb2.InventoryChanged(
            event_id="event",
            organization_id="org",
            version=self.version,
            controls_version=self.controls_version,
            occur_time=to_timestamp(self.now),
            holds=changes,
            blocks=[block_ended_message()] if block_ended else [],
            sections=[
                section_pb2.SectionCounters(
                    section_id=each.section_id,
                    total=each.counters.total,
                    held=each.counters.held,
                    pending=each.counters.pending,
                    sold=each.counters.sold,
                    blocked=each.counters.blocked,
                    active=True,
                    revision=each.revision,
                )
                for each in self.sections()
            ],
        )
        followed = self.event.follow(step_of(messages_pb2.InventoryChanged.FromString(message.SerializeToString())))
        assert followed == (self.controls_version == self.event.controls.version)
        if not followed:
            self.event = self.read()

    def change(
        self, before: Row, state: hold_pb2.Hold.State.ValueType, *, now: Row | None = None
    ) -> messages_pb2.HoldChange:
        """Change a row, or end it, and tell of it."""
        after = now or before
        if now is None:
            del self.rows[before.hold_id]
        else:
            self.rows[before.hold_id] = now
        return messages_pb2.HoldChange(
            hold_id=before.hold_id,
            state=state,
            expire_time=to_timestamp(after.expire_time),
            lines=lines_of(after),
            before=messages_pb2.HoldBefore(
                state=before.state,
                expire_time=to_timestamp(before.expire_time),
                places=places_of(before.places) if after.places != before.places else [],
            ),
            void_version=before.void_version,
        )

    def live(self, number: int) -> Row | None:
        """Give one of the holds that are truly live."""
        found = [row for row in self.rows.values() if not row.void_version and row.expire_time > self.now]
        return found[number % len(found)] if found else None

    @rule(places=wanted, ttl=moments)
    def place(self, places: dict[tuple[str, str], int], ttl: timedelta) -> None:
        if not self.block_open:
            places = {(name, ""): quantity for (name, _), quantity in places.items()}
        row = Row(f"hold-{self.version}", STATE.ACTIVE, self.now + ttl, places)
        self.rows[row.hold_id] = row
        self.commit(
            [
                messages_pb2.HoldChange(
                    hold_id=row.hold_id,
                    state=row.state,
                    expire_time=to_timestamp(row.expire_time),
                    lines=lines_of(row),
                )
            ]
        )

    @rule(number=which, state=st.sampled_from([STATE.CONFIRMED, STATE.RELEASED]))
    def end(self, *, number: int, state: hold_pb2.Hold.State.ValueType) -> None:
        row = self.live(number)
        if row is None:
            return
        if state == STATE.CONFIRMED:
            for (name, _), quantity in row.places.items():
                self.sold[name] += quantity
            self.block_size -= row.places.get(("floor", "block"), 0)
        self.commit([self.change(row, state)])

    @rule(number=which, ttl=moments, pending=st.booleans())
    def prolong(self, *, number: int, ttl: timedelta, pending: bool) -> None:
        row = self.live(number)
        if row is not None:
            state = STATE.PENDING if pending else row.state
            now = replace(row, state=state, expire_time=max(row.expire_time, self.now + ttl))
            self.commit([self.change(row, state, now=now)])

    @rule(number=which, places=wanted)
    def change_places(self, *, number: int, places: dict[tuple[str, str], int]) -> None:
        row = self.live(number)
        if row is not None and self.block_open:
            self.commit([self.change(row, row.state, now=replace(row, places=places))])

    @rule(amount=st.integers(1, 3))
    def tidy(self, *, amount: int) -> None:
        over = [row for row in self.rows.values() if row.void_version or row.expire_time <= self.now][:amount]
        if over:
            self.commit([self.change(row, STATE.VOIDED if row.void_version else STATE.EXPIRED) for row in over])

    @rule(pending=st.booleans())
    def void(self, *, pending: bool) -> None:
        """Cancel or postpone: holds end at once, their rows later."""
        self.controls_version += 1
        for row in list(self.rows.values()):
            if not row.void_version and row.expire_time > self.now and (pending or row.state == STATE.ACTIVE):
                self.rows[row.hold_id] = replace(row, void_version=self.version + 1)
        self.commit([])

    @rule(number=which)
    def close(self, number: int) -> None:
        """End a hold as voided in the commit that decides it."""
        row = self.live(number)
        if row is not None:
            self.commit([self.change(replace(row, void_version=self.version + 1), STATE.VOIDED)])

    @rule()
    def end_block(self) -> None:
        if self.block_open:
            self.block_open = False
            self.commit([], block_ended=True)

    @rule(passed=moments)
    def wait(self, passed: timedelta) -> None:
        self.now += passed

    @invariant()
    def the_answer_is_the_truth(self) -> None:
        followed, fresh = (each.answer(self.now, schedule_id=None, hidden=False) for each in (self.event, self.read()))
        assert {each.section.section_id: each.counters for each in fresh.sections} == self.truth()
        ends = [row.expire_time for row in self.rows.values() if not row.void_version]
        assert fresh.next_change_time == min((end for end in ends if end > self.now), default=None)
        for answer in (followed, fresh):
            assert told(answer) == told(fresh)
            assert self.told.setdefault(etag_of(answer, hidden=False), told(answer)) == told(answer)

    def truth(self) -> dict[str, Counters]:
        """Count the holds that are truly live, and nothing else."""
        kept = self.rows
        self.rows = {name: row for name, row in kept.items() if not row.void_version and row.expire_time > self.now}
        try:
            return self.counters()
        finally:
            self.rows = kept


def lines_of(row: Row) -> list[messages_pb2.LineAmount]:
    return [
        messages_pb2.LineAmount(number=number, section_id=section_id, block_id=block_id, quantity=quantity)
        for number, ((section_id, block_id), quantity) in enumerate(row.places.items(), start=1)
    ]


def block_ended_message() -> messages_pb2.BlockChange:
    return messages_pb2.BlockChange(
        block_id="block", section_id="floor", kind=block_pb2.Block.Kind.HOUSE, quantity=0, ended=True
    )


def told(answer: Availability) -> object:
    """What an answer says, without the name of its moment."""
    return replace(answer, clock_version=0)


Following.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestFollowing = Following.TestCase
