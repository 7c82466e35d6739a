"""C1: at every moment, the claims on a place are no more than the place: a seat's claim intervals never overlap."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.faults.linearizability import SLACK_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
    to live from the moment it was asked for, at the earliest; one whose confirmation was acknowledged, for ever.
    """
    may_end: dict[str, float] = {}
    sold = {each.hold_id for each in history if each.op == "confirm" and each.outcome == "ok"}
    for each in history:
        if each.op == "release" and each.outcome != "fail":
            may_end[each.hold_id] = min(each.invoke, may_end.get(each.hold_id, math.inf))
    claims = []
    for each in history:
        if each.op == "place" and each.outcome == "ok":
            end = min(each.invoke + each.ttl_seconds - SLACK_SECONDS, may_end.get(each.hold_id, math.inf))
            if each.hold_id in sold:
                end = math.inf
            claims.append(Claim(each.target, each.quantity, each.complete, end, each.hold_id))
    return claims
