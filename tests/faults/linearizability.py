"""C8: what clients were told of a seat can be put in one order that agrees with what a seat is, and with real time.

The search is Wing and Gong's: take any operation that may come next, because nothing that is still left was over before
it began; go back when none fits. States that were reached before by the same operations are not searched again. What
changes nothing and fits is taken at once: wherever it stood in an order, it may as well stand here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.faults.history import Operation, Target

STATES_MAX = 200_000
"""States that are looked at for one seat; a history that needs more is told to be too large, not to be sound."""
SLACK_SECONDS = 0.02
"""How far the database's clock and the clients' may drift apart while a hold lives."""
TAKEN = frozenset({"INSUFFICIENT_CAPACITY", "SEATS_TAKEN"})


@dataclass(frozen=True)
class Seat:
    """A seat: who has it, whether it is sold to them, and how each hold before ended."""

    holder: str = ""
    sold: bool = False
    ended: frozenset[tuple[str, str]] = frozenset()

    def end(self, state: str) -> Seat:
        """Give the seat back."""
        return Seat(ended=self.ended | {(self.holder, state)})


@dataclass(frozen=True)
class Step:
    """Something that happens once between two moments; what is `optional` may also never happen."""

    name: str
    invoke: float
    complete: float
    apply: Callable[[Seat], Seat | None]
    """The seat afterwards; None if it cannot happen to such a seat."""
    optional: bool = False


def _place(hold: str) -> Callable[[Seat], Seat | None]:
    def apply(seat: Seat) -> Seat | None:
        return None if seat.holder else replace(seat, holder=hold)

    return apply


def _refused_as_taken(seat: Seat) -> Seat | None:
    return seat if seat.holder else None


def _confirm(hold: str) -> Callable[[Seat], Seat | None]:
    def apply(seat: Seat) -> Seat | None:
        return replace(seat, sold=True) if seat.holder == hold else None

    return apply


def _release(hold: str, told: str) -> Callable[[Seat], Seat | None]:
    def apply(seat: Seat) -> Seat | None:
        if seat.holder == hold and not seat.sold and told == "RELEASED":
            return seat.end("RELEASED")
        return seat if (hold, told) in seat.ended else None

    return apply


def _expire(hold: str) -> Callable[[Seat], Seat | None]:
    def apply(seat: Seat) -> Seat | None:
        if seat.holder == hold:
            return seat if seat.sold else seat.end("EXPIRED")
        return seat if any(ended == hold for ended, _ in seat.ended) else None

    return apply


def _refused_as_ended(hold: str, state: str) -> Callable[[Seat], Seat | None]:
    def apply(seat: Seat) -> Seat | None:
        sold = seat.holder == hold and seat.sold and state == "CONFIRMED"
        return seat if sold or (hold, state) in seat.ended else None

    return apply


def _steps(operation: Operation) -> list[Step]:
    """Give what an operation did to its seat: one thing, and a hold's expiry besides; nothing it tells us of."""
    hold, unknown = operation.hold_id or operation.key, operation.outcome == "unknown"
    name = f"{operation.op} {hold} {operation.outcome} {operation.code or operation.state}".strip()
    complete = math.inf if unknown else operation.complete

    def step(apply: Callable[[Seat], Seat | None]) -> Step:
        return Step(name, operation.invoke, complete, apply, optional=unknown)

    if operation.op == "place" and not operation.code:
        expiry = Step(
            f"expiry of {hold}",
            operation.invoke + operation.ttl_seconds - SLACK_SECONDS,
            complete + operation.ttl_seconds + SLACK_SECONDS,
            _expire(hold),
            optional=unknown,
        )
        return [step(_place(hold)), expiry]
    does = {
        ("confirm", ""): _confirm(hold),
        ("release", ""): _release(hold, operation.state or "RELEASED"),
        ("confirm", "HOLD_EXPIRED"): _refused_as_ended(hold, "EXPIRED"),
        ("confirm", "HOLD_NOT_ACTIVE"): _refused_as_ended(hold, "RELEASED"),
        ("release", "HOLD_NOT_ACTIVE"): _refused_as_ended(hold, "CONFIRMED"),
        **{("place", code): _refused_as_taken for code in TAKEN},
    }.get((operation.op, operation.code))
    return [] if does is None else [step(does)]


def linearizable(history: Iterable[Operation], seats: Iterable[Target]) -> list[str]:
    """Tell for which seats there is no order, and what could not be explained."""
    wanted = set(seats)
    by_seat: dict[Target, list[Step]] = defaultdict(list)
    for operation in history:
        if operation.target in wanted:
            by_seat[operation.target] += _steps(operation)
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
    return f"no order explains one of {left} when it is held by {seat.holder or 'nobody'}, sold: {seat.sold}"


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
