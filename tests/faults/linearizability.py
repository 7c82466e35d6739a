"""C8: what clients were told of a seat can be put in one order that agrees with what a seat is, and with real time.

The search is Wing and Gong's: take any operation that may come next, because nothing that is still left was over before
it began; go back when none fits. States that were reached before by the same operations are not searched again. What
changes nothing and fits is taken at once: wherever it stood in an order, it may as well stand here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.faults.history import Operation, Target

STATES_MAX = 200_000
"""States that are looked at for one seat; a history that needs more is told to be too large, not to be sound."""
SLACK_SECONDS = 0.02
"""How far the database's clock and the clients' may drift apart while a hold lives."""
LIVE, ENDED_OR_SOLD = ("ACTIVE", "PENDING"), ("RELEASED", "CONFIRMED")
NOT_ACTIVE = {
    "confirm": ("RELEASED",),
    "release": ("PENDING", "CONFIRMED"),
    "pay": ENDED_OR_SOLD,
    "extend": ("PENDING", *ENDED_OR_SOLD),
    "change": ("PENDING", *ENDED_OR_SOLD),
}
"""What became of a hold for which these operations are refused with HOLD_NOT_ACTIVE, to a buyer."""


@dataclass(frozen=True)
class Seat:
    """A seat: who has it, in which state that hold is, and how each hold before let go of it."""

    holder: str = ""
    state: str = ""
    ended: frozenset[tuple[str, str]] = frozenset()

    def end(self, state: str) -> Seat:
        """Give the seat back."""
        return Seat(ended=self.ended | {(self.holder, state)})

    def held(self, hold: str, *states: str) -> bool:
        """Tell whether a hold in one of these states has it."""
        return self.holder == hold and self.state in states


Apply = Callable[[Seat], "Seat | None"]
"""Gives the seat afterwards; None if it cannot happen to such a seat."""


@dataclass(frozen=True)
class Step:
    """Something that happens once between two moments; what is `optional` may also never happen."""

    name: str
    invoke: float
    complete: float
    apply: Apply
    optional: bool = False


def _take(hold: str) -> Apply:
    def apply(seat: Seat) -> Seat | None:
        free = not seat.holder and (hold, "EXPIRED") not in seat.ended
        return replace(seat, holder=hold, state="ACTIVE") if free else None

    return apply


def _keep(hold: str) -> Apply:
    return lambda seat: seat if seat.held(hold, "ACTIVE") else None


def _give(hold: str) -> Apply:
    return lambda seat: seat.end("GIVEN") if seat.held(hold, "ACTIVE") else None


def _go_on(hold: str, state: str) -> Apply:
    return lambda seat: replace(seat, state=state) if seat.held(hold, state, *LIVE) else None


def _refused_as_taken(seat: Seat) -> Seat | None:
    return seat if seat.holder else None


def _refused_for_others(seat: Seat) -> Seat | None:
    return None if seat.holder else seat


def _release(hold: str, told: str) -> Apply:
    def apply(seat: Seat) -> Seat | None:
        if seat.held(hold, "ACTIVE") and told == "RELEASED":
            return seat.end("RELEASED")
        return seat if (hold, told) in seat.ended else None

    return apply


def _expire(hold: str) -> Apply:
    def apply(seat: Seat) -> Seat | None:
        if seat.holder == hold:
            return seat if seat.state == "CONFIRMED" else seat.end("EXPIRED")
        if (hold, "GIVEN") in seat.ended:  # the hold goes on without it, and might take it again until now
            return replace(seat, ended=seat.ended | {(hold, "EXPIRED")})
        return seat if any(ended == hold for ended, _ in seat.ended) else None

    return apply


def _refused_as(hold: str, *states: str) -> Apply:
    return lambda seat: seat if seat.held(hold, *states) or any((hold, each) in seat.ended for each in states) else None


def _effects(operation: Operation) -> list[tuple[Target, Apply]]:
    """Give what an operation did to each seat that it was about; nothing where its answer tells nothing of them."""
    hold, op, code, targets = operation.hold, operation.op, operation.code, operation.targets
    wanted = targets if op == "place" else operation.takes
    others = () if op == "place" else targets
    if code in {"SEATS_TAKEN", "INSUFFICIENT_CAPACITY"}:  # all that are taken are named, and of other seats none is
        taken = {each for each in wanted if not each.seat or each.seat in operation.named}
        return [
            *((each, _refused_as_taken if each in taken else _refused_for_others) for each in wanted),
            *((each, _keep(hold)) for each in others),
        ]
    if code == "HOLD_EXPIRED":
        return [(each, _refused_as(hold, "EXPIRED")) for each in targets]
    if code == "HOLD_NOT_ACTIVE":
        return [(each, _refused_as(hold, *NOT_ACTIVE[op])) for each in targets]
    if code:
        return []
    if op in {"place", "change"}:
        return [
            *((each, _give(hold) if each in operation.gives else _keep(hold)) for each in others),
            *((each, _take(hold)) for each in wanted),
        ]
    does = {
        "extend": _keep(hold),
        "pay": _go_on(hold, "PENDING"),
        "confirm": _go_on(hold, "CONFIRMED"),
        "release": _release(hold, operation.state or "RELEASED"),
    }[op]
    return [(each, does) for each in targets]


def _steps(operation: Operation) -> list[tuple[Target, Step]]:
    """Give what happened to each seat by an operation."""
    unknown = operation.outcome == "unknown"
    name = f"{operation.op} {operation.hold} {operation.outcome} {operation.code or operation.state}".strip()
    complete = math.inf if unknown else operation.complete
    return [
        (target, Step(name, operation.invoke, complete, apply, optional=unknown))
        for target, apply in _effects(operation)
    ]


def _expiries(history: Sequence[Operation]) -> list[tuple[Target, Step]]:
    """Give when each hold's time is over, for each seat that it had.

    It lasts as long as was said when it was placed, when it was extended last, or when payment began, whatever is
    latest; payment begins once in these histories. What lets it last longer cannot happen when it is over.
    """
    by_hold: dict[str, list[Operation]] = defaultdict(list)
    for each in history:
        if not each.code:
            by_hold[each.hold].append(each)
    found = []
    for hold, operations in by_hold.items():
        lasting = sorted((each for each in operations if each.ttl_seconds), key=lambda each: each.invoke)
        if not lasting:
            continue
        ends = [math.inf if each.outcome == "unknown" else each.complete + each.ttl_seconds for each in lasting]
        certain = [each for each in lasting if each.outcome == "ok"] or lasting
        begin = max(each.invoke + each.ttl_seconds for each in certain) - SLACK_SECONDS
        end = max(ends) + SLACK_SECONDS
        for each in operations:
            for target in {"place": each.targets, "change": each.takes}.get(each.op, ()):
                optional = each.outcome == "unknown"
                found.append((target, Step(f"expiry of {hold}", begin, end, _expire(hold), optional=optional)))
        late = [
            each
            for number, each in enumerate(lasting)
            if number and each.outcome == "ok" and each.invoke > max(ends[:number]) + SLACK_SECONDS
        ]
        found += [
            (target, Step(f"{each.op} {hold} ok, too late", each.invoke, each.complete, lambda _: None))
            for each in late
            for target in each.targets
        ]
    return found


def linearizable(history: Iterable[Operation], seats: Iterable[Target]) -> list[str]:
    """Tell for which seats there is no order, and what could not be explained."""
    wanted, operations = set(seats), list(history)
    by_seat: dict[Target, list[Step]] = defaultdict(list)
    told = (each for operation in operations for each in _steps(operation))
    for target, step in (*told, *_expiries(operations)):
        if target in wanted:
            by_seat[target].append(step)
    return [f"{seat}: {fault}" for seat, steps in by_seat.items() if (fault := _unexplained(steps))]


def _unexplained(steps: Sequence[Step]) -> str:
    """Return an empty text when the steps have an order, else what stands in its way."""
    ordered = sorted(steps, key=lambda each: each.invoke)
    needed = sum(1 << number for number, each in enumerate(ordered) if not each.optional)
    start = _settle(ordered, 0, Seat())
    stack, seen, furthest = [start], {start}, start
    while stack:
        done, seat = stack.pop()
        if done & needed == needed:
            return ""
        if (done & needed).bit_count() > (furthest[0] & needed).bit_count():
            furthest = done, seat
        for number in reversed(_next(ordered, done)):
            after = ordered[number].apply(seat)
            if after is None:
                continue
            reached = _settle(ordered, done | 1 << number, after)
            if reached not in seen:
                seen.add(reached)
                stack.append(reached)
        if len(seen) > STATES_MAX:
            return f"not decided after {STATES_MAX} states"
    done, seat = furthest
    left = [ordered[number].name for number in _next(ordered, done)]
    return f"no order explains one of {left} when it is held by {seat.holder or 'nobody'}, {seat.state}"


def _settle(ordered: Sequence[Step], done: int, seat: Seat) -> tuple[int, Seat]:
    """Take everything that may come next and changes nothing, until there is no more of it."""
    while True:
        idle = [number for number in _next(ordered, done) if ordered[number].apply(seat) == seat]
        if not idle:
            return done, seat
        for number in idle:
            done |= 1 << number


def _next(ordered: Sequence[Step], done: int) -> list[int]:
    """Return the numbers of the steps that may come next: no step that is left was over before they began."""
    found: list[int] = []
    bound = math.inf
    first = (~done & (done + 1)).bit_length() - 1  # the lowest step that is left
    for number in range(first, len(ordered)):
        step = ordered[number]
        if step.invoke > bound:
            break
        if not done >> number & 1:
            found.append(number)
            bound = min(bound, step.complete)
    return found
