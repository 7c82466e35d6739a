"""The invariants that must hold whatever crashed. Each returns what breaks it; nothing = it holds.

The checkers are pure: they look at a history of what clients were told and at a snapshot of what is stored
and published. Each is shown to fail on a planted fault in test_checkers.py.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.faults.claims import claims_fit, claims_stored, claims_told
from tests.faults.history import Target
from tests.faults.linearizability import linearizable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.faults.history import Operation

Places = tuple[tuple[Target, int], ...]
"""What is claimed, and how many places of it; of a seat, one."""
LIVE = {"ACTIVE": "held", "PENDING": "pending"}
OPERATION_STATE = {"confirm": "CONFIRMED", "release": "RELEASED"}


@dataclass(frozen=True)
class StoredHold:
    """A hold as it is stored.

    It claims places from `begin` until `end`, seconds since the epoch by the database's clock; `end` infinite = sold.
    `over` is whether its time is over although its row was not tidied up.
    """

    id: str
    state: str
    request_id: str
    places: Places
    begin: float = 0.0
    end: float = math.inf
    over: bool = False

    @property
    def seen(self) -> str:
        """The state that everybody is told."""
        return "EXPIRED" if self.over and self.state in LIVE else self.state


@dataclass(frozen=True)
class StoredSale:
    """A sale as it is stored."""

    id: str
    hold_id: str
    state: str
    places: Places


@dataclass(frozen=True)
class Counters:
    """A section's counters."""

    total: int
    held: int
    pending: int
    sold: int
    blocked: int

    @property
    def available(self) -> int:
        """What is neither claimed nor out of sale."""
        return self.total - self.held - self.pending - self.sold - self.blocked


@dataclass(frozen=True)
class Change:
    """A row of the journal, or a message of the stream: counters and states after a commit.

    `time` is when it was, by the database's clock; `places` is what the holds claim that it placed or changed.
    """

    version: int
    sections: dict[str, Counters]
    holds: dict[str, str]
    sales: dict[str, str]
    time: float = 0.0
    places: dict[str, Places] = field(default_factory=dict)


@dataclass(frozen=True)
class Projection:
    """What the events service made of capacity's messages."""

    inventory_version: int
    capacity: int
    available: int
    sold: int
    position: int


@dataclass(frozen=True)
class Snapshot:
    """Everything of one event that is stored or published, read when nothing was going on.

    `projection` is None, and `stream` means nothing, where capacity runs alone.
    """

    version: int
    sections: dict[str, Counters]
    holds: tuple[StoredHold, ...]
    sales: tuple[StoredSale, ...]
    journal: tuple[Change, ...]
    stream: tuple[Change, ...] = ()
    claims: tuple[tuple[Target, str], ...] = ()
    """Claims of seats, each with its hold, as the rows say that no seat has two of."""
    taken: frozenset[Target] = frozenset()
    """Seats that are not free, as their sections say."""
    projection: Projection | None = None
    unpublished: int = 0
    controls_version: int = 0
    """The event's version, as the events service keeps it."""
    controls_known: int = 0
    """The version that capacity goes by."""
    dead: int = 0
    """Messages that a consumer gave up on."""


def counters_add_up(snapshot: Snapshot) -> list[str]:
    """C2: every counter is what its lines add up to, none is negative, and the journal says the same."""
    from_lines = _added_up(snapshot)
    replayed: dict[str, Counters] = {}
    faults: list[str] = []
    for change in snapshot.journal:
        replayed |= change.sections
        faults += [
            f"version {change.version}: section {section} has {counters}"
            for section, counters in change.sections.items()
            if min(counters.available, counters.held, counters.pending, counters.sold, counters.blocked) < 0
        ]
    for section, counters in snapshot.sections.items():
        for name in ("held", "pending", "sold"):
            stored, counted = getattr(counters, name), from_lines[section][name]
            if stored != counted:
                faults.append(f"section {section}: {name} is {stored}, its lines add up to {counted}")
        if counters.available < 0:
            faults.append(f"section {section}: oversold, {counters}")
        if replayed.get(section) != counters:
            faults.append(f"section {section}: stored {counters}, journal {replayed.get(section)}")
    return faults


def _added_up(snapshot: Snapshot) -> dict[str, Counter[str]]:
    """Add up the lines of live holds and of sales, by section and counter."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for hold in snapshot.holds:
        for target, quantity in hold.places:
            if hold.state in LIVE:
                sums[target.section_id][LIVE[hold.state]] += quantity
    for sale in snapshot.sales:
        for target, quantity in sale.places:
            sums[target.section_id]["sold"] += quantity
    return sums


def claims_never_overlap(history: Sequence[Operation], snapshot: Snapshot) -> list[str]:
    """C1: no place was claimed twice at a moment, by what is stored, nor by what clients can be sure of."""
    totals = {Target(section): counters.total for section, counters in snapshot.sections.items()}
    stored = claims_stored(snapshot.holds, snapshot.journal)
    return [
        *(f"stored: {fault}" for fault in claims_fit(stored, totals)),
        *(f"told: {fault}" for fault in claims_fit(claims_told(history), totals)),
        *(f"rows: {fault}" for fault in _claims_of_seats(snapshot)),
    ]


def _claims_of_seats(snapshot: Snapshot) -> list[str]:
    """Tell where the rows that guard seats, or the sections' sets of seats, are not what holds and sales claim.

    Those of a hold whose time is over stay until it is tidied up.
    """
    claims = Counter(snapshot.claims)
    faults = [
        f"{seat} has {count} claims"
        for seat, count in Counter(seat for seat, _ in snapshot.claims).items()
        if count > 1
    ]
    keeping = [hold for hold in snapshot.holds if hold.state in {*LIVE, "CONFIRMED"}]
    wanted = Counter((target, hold.id) for hold in keeping for target, _ in hold.places if target.seat)
    faults += [f"{seat} of hold {hold} has no claim" for seat, hold in wanted - claims]
    faults += [f"{seat} is claimed by {hold}, which does not have it" for seat, hold in claims - wanted]
    faults += [
        f"{seat} is taken and has no claim, or the reverse"
        for seat in {seat for seat, _ in snapshot.claims} ^ snapshot.taken
    ]
    return faults


def seats_are_linearizable(history: Sequence[Operation], snapshot: Snapshot) -> list[str]:
    """C8: what was told of each seat, and of each section with one place, has an order."""
    single = {Target(section) for section, counters in snapshot.sections.items() if counters.total == 1}
    seats = {target for each in history for target in (*each.targets, *each.takes) if target.seat}
    return linearizable(history, single | seats)


def acknowledged_is_there(history: Sequence[Operation], snapshot: Snapshot) -> list[str]:
    """C3: what was acknowledged is stored; what was refused is not; nothing is stored that nobody asked for."""
    claims = _acknowledged_claims(history)
    holds = {hold.id: hold for hold in snapshot.holds}
    stored_keys = {hold.request_id for hold in snapshot.holds if hold.request_id}
    sold = {sale.hold_id for sale in snapshot.sales}
    asked: set[tuple[str, str]] = set()
    faults: list[str] = []
    for operation in history:
        asked.add((operation.op, operation.key if operation.op == "place" else operation.hold_id))
        if operation.outcome == "ok":
            faults += _missing(operation, holds.get(operation.hold_id), sold, claims)
        elif operation.outcome == "fail":
            faults += _done_though_refused(operation, holds.get(operation.hold_id), stored_keys)
    faults += [f"key {key} has a hold and was never used" for key in stored_keys if ("place", key) not in asked]
    for hold in snapshot.holds:
        wanted = {state: op for op, state in OPERATION_STATE.items()}.get(hold.seen)
        if wanted is not None and (wanted, hold.id) not in asked:
            faults.append(f"hold {hold.id} is {hold.state} and nobody asked for it")
    return faults


def _acknowledged_claims(history: Iterable[Operation]) -> dict[str, dict[Target, int]]:
    """Give what each hold claims after all that was acknowledged; nothing of one that may have changed unheard."""
    claims: dict[str, dict[Target, int]] = {}
    unheard = set()
    for each in sorted(history, key=lambda each: each.complete):
        if each.outcome == "ok" and each.op in {"place", "change"}:
            claims[each.hold_id] = {target: 1 if target.seat else each.quantity for target in each.claims}
        if each.op == "change" and each.outcome == "unknown":
            unheard.add(each.hold_id)
    return {hold: places for hold, places in claims.items() if hold not in unheard}


def _missing(
    operation: Operation, hold: StoredHold | None, sold: set[str], claims: dict[str, dict[Target, int]]
) -> list[str]:
    """What of an acknowledged operation is not stored."""
    wanted = operation.state if operation.op in OPERATION_STATE else None
    if hold is None:
        return [f"hold {operation.hold_id} was acknowledged and is not there"]
    faults = []
    if {target for _, target in operation.lines} != set(operation.claims):
        faults.append(f"{operation.op} of {hold.id} was answered with {operation.lines}, asked for {operation.claims}")
    if operation.op in {"place", "change"} and hold.id in claims and dict(hold.places) != claims[hold.id]:
        faults.append(f"hold {hold.id} has {hold.places}, asked for {claims[hold.id]}")
    if wanted is not None and hold.seen != wanted:
        faults.append(f"{operation.op} of {operation.hold_id} was acknowledged as {wanted}; it is {hold.seen}")
    elif wanted == "CONFIRMED" and operation.hold_id not in sold:
        faults.append(f"confirming {operation.hold_id} was acknowledged; there is no sale")
    return faults


def _done_though_refused(operation: Operation, hold: StoredHold | None, stored_keys: set[str]) -> list[str]:
    """What of a refused operation is stored all the same. Nobody asks for the same end of a hold twice."""
    if operation.op == "place" and operation.key in stored_keys:
        return [f"key {operation.key} was refused with {operation.code} and has a hold"]
    if hold is not None and hold.state == OPERATION_STATE.get(operation.op):
        return [f"{operation.op} of {hold.id} was refused with {operation.code}; it is {hold.state}"]
    return []


def one_effect_per_key(history: Iterable[Operation], snapshot: Snapshot) -> list[str]:
    """C4: a key has at most one hold, a hold at most one sale, and repeated calls were answered alike."""
    keys = Counter(hold.request_id for hold in snapshot.holds if hold.request_id)
    sales = Counter(sale.hold_id for sale in snapshot.sales)
    faults = [f"key {key} has {count} holds" for key, count in keys.items() if count > 1]
    faults += [f"hold {hold_id} was sold {count} times" for hold_id, count in sales.items() if count > 1]
    faults += [f"key {o.key} was answered in {len(o.answers)} ways" for o in history if len(o.answers) > 1]
    return faults


def changes_are_messages(snapshot: Snapshot) -> list[str]:
    """C5: versions are gapless, every one is in the stream with the same content, in order of first arrival."""
    faults: list[str] = []
    versions = [change.version for change in snapshot.journal]
    if versions != list(range(1, snapshot.version + 1)):
        faults.append(f"journal has versions {versions[:5]}…{versions[-5:]} of {snapshot.version}")
    if snapshot.unpublished:
        faults.append(f"{snapshot.unpublished} changes are not marked as published")
    first: dict[int, Change] = {}
    for message in snapshot.stream:
        first.setdefault(message.version, message)
    if list(first) != sorted(first):
        faults.append("messages arrived out of order")
    for change in snapshot.journal:
        if change.version not in first:
            faults.append(f"version {change.version} is not in the stream")
        elif first[change.version] != change:
            faults.append(f"version {change.version} differs between journal and stream")
    faults += [f"version {version} is in the stream only" for version in first if version not in set(versions)]
    return faults


def consumers_agree(snapshot: Snapshot) -> list[str]:
    """C6: what events and capacity keep of each other is exactly what all messages together say."""
    capacity = sum(counters.total for counters in snapshot.sections.values())
    if snapshot.projection is None:
        return []
    available = sum(counters.available for counters in snapshot.sections.values())
    sold = sum(counters.sold for counters in snapshot.sections.values())
    wanted = Projection(
        inventory_version=snapshot.version, capacity=capacity, available=available, sold=sold, position=snapshot.version
    )
    faults = [] if snapshot.projection == wanted else [f"events keeps {snapshot.projection}, messages say {wanted}"]
    if snapshot.controls_known != snapshot.controls_version:
        faults.append(f"capacity goes by controls {snapshot.controls_known}, events says {snapshot.controls_version}")
    if snapshot.dead:
        faults.append(f"consumers gave up on {snapshot.dead} messages")
    return faults


def inventory_faults(history: Sequence[Operation], snapshot: Snapshot) -> list[str]:
    """Run the checkers of what capacity stores and tells."""
    return [
        *claims_never_overlap(history, snapshot),
        *counters_add_up(snapshot),
        *acknowledged_is_there(history, snapshot),
        *one_effect_per_key(history, snapshot),
        *seats_are_linearizable(history, snapshot),
    ]


def all_faults(history: Sequence[Operation], snapshot: Snapshot) -> list[str]:
    """Run every checker."""
    return [*inventory_faults(history, snapshot), *changes_are_messages(snapshot), *consumers_agree(snapshot)]
