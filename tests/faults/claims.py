"""C1: at every moment, the claims on a place are no more than the place: a seat's claim intervals never overlap."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.faults.linearizability import SLACK_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.faults.checkers import Change, Places, StoredHold
    from tests.faults.history import Operation, Target


@dataclass(frozen=True)
class Claim:
    """So many places of a target, from `begin` up to but without `end`, seconds of one clock; `end` infinite = sold."""

    target: Target
    quantity: int
    begin: float
    end: float
    hold_id: str


def claims_fit(claims: Iterable[Claim], totals: Mapping[Target, int]) -> list[str]:
    """Tell where more was claimed than there is. `totals` says how much there is; of a seat, one."""
    by_target: dict[Target, list[Claim]] = defaultdict(list)
    for claim in claims:
        if claim.begin < claim.end:
            by_target[claim.target].append(claim)
    return [
        fault for target, those in by_target.items() for fault in _overfull(target, those, totals.get(target, 1))[:1]
    ]


def _overfull(target: Target, claims: Sequence[Claim], total: int) -> list[str]:
    # What ends at a moment is free for what begins at it.
    moments = sorted(
        (moment, begins, number)
        for number, claim in enumerate(claims)
        for moment, begins in ((claim.begin, True), (claim.end, False))
    )
    open_claims: dict[int, Claim] = {}
    faults = []
    for moment, begins, number in moments:
        if not begins:
            del open_claims[number]
            continue
        open_claims[number] = claims[number]
        if sum(claim.quantity for claim in open_claims.values()) > total:
            holds = sorted(claim.hold_id for claim in open_claims.values())
            faults.append(f"{target}: {total} claimed at {moment:.6f} by {holds}")
    return faults


def claims_told(history: Sequence[Operation]) -> list[Claim]:
    """Give the claims that clients can be sure of, by their own clock.

    A hold claims its places from its acknowledgement, at the latest, until it may have been released, and for its time
    to live from the moment it was asked for or extended, at the earliest; one whose confirmation was acknowledged, for
    ever. What a change takes it claims from the change's acknowledgement, what one may have given back until then.
    """
    by_hold: dict[str, list[Operation]] = defaultdict(list)
    for each in history:
        by_hold[each.hold].append(each)
    claims = []
    for operations in by_hold.values():
        end = _surely_until(operations)
        for each in operations:
            if each.outcome != "ok" or each.op not in {"place", "change"}:
                continue
            for target in each.targets if each.op == "place" else each.takes:
                given = min(
                    (
                        other.invoke
                        for other in operations
                        if target in other.gives and other.outcome != "fail" and other.complete > each.complete
                    ),
                    default=math.inf,
                )
                quantity = 1 if target.seat else each.quantity
                claims.append(Claim(target, quantity, each.complete, min(end, given), each.hold_id))
    return claims


def _surely_until(operations: Sequence[Operation]) -> float:
    """Tell until when a hold lives at least: for the times that were acknowledged, and not past a possible release."""
    if any(each.op == "confirm" and each.outcome == "ok" for each in operations):
        return math.inf
    lives = [each.invoke + each.ttl_seconds for each in operations if each.outcome == "ok" and each.ttl_seconds]
    released = (each.invoke for each in operations if each.op == "release" and each.outcome != "fail")
    return min(max(lives, default=0.0) - SLACK_SECONDS, *released, math.inf)


def claims_stored(holds: Iterable[StoredHold], journal: Iterable[Change]) -> list[Claim]:
    """Give the claims that are stored, by the database's clock.

    A hold's row says what it claims at last; what it claimed before changes, and when they were, the journal says.
    """
    had: dict[str, list[tuple[float, Places]]] = defaultdict(list)
    for change in journal:
        for hold_id, places in change.places.items():
            had[hold_id].append((change.time, places))
    claims = []
    for hold in holds:
        before = had.get(hold.id, [])
        moments = [hold.begin, *(time for time, _ in before[1:]), hold.end]
        contents = [*(places for _, places in before[:-1]), hold.places]
        for begin, end, places in zip(moments[:-1], moments[1:], contents, strict=True):
            claims += [Claim(target, count, begin, min(end, hold.end), hold.id) for target, count in places]
    return claims
