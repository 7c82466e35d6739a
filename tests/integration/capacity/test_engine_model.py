"""The engine against a model so simple that it is plainly right: one request after another, in the order of arrival.

What is asked together is decided in batches, across round trips, with arrays and a journal; the answers, and what the
rows say afterwards, must be those of a list that is gone through by hand.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.capacity.domain.ending import Confirmation
from holdfast.capacity.domain.placing import LineRequest, PlaceRequest
from holdfast.capacity.operations.access import Viewer
from holdfast.capacity.operations.ending import ConfirmHold, ReleaseHold
from holdfast.capacity.operations.holds import PlaceHold
from holdfast.common.errors import DomainError
from holdfast.common.idempotency import RequestKey
from holdfast.common.ids import new_id

if TYPE_CHECKING:
    from tests.integration.capacity.conftest import Capacity

TOTAL = 6
LABELS = ("A-1", "A-2", "A-3", "A-4")
STAFF = Viewer("staff", reads_all=True, manages=True)

PLACES = st.tuples(st.just("place"), st.sampled_from(["floor", "stalls"]), st.integers(1, 4), st.integers(0, 5))
SEATS = st.tuples(st.just("seats"), st.sets(st.sampled_from(LABELS), min_size=1), st.integers(0, 5), st.just(0))
ENDS = st.tuples(st.sampled_from(["confirm", "release"]), st.integers(0, 30), st.just(0), st.just(0))
BATCHES = st.lists(st.lists(st.one_of(PLACES, SEATS, ENDS), min_size=1, max_size=12), min_size=1, max_size=4)


@dataclass
class Model:
    """Sections as sets of what is left of them, holds as what they have; keys as the request that used them."""

    left: dict[str, int]
    seats: set[str] = field(default_factory=lambda: set(LABELS))
    holds: dict[str, tuple[str, dict[str, int], frozenset[str]]] = field(default_factory=dict)
    keys: dict[str, tuple[object, str]] = field(default_factory=dict)

    def place(self, hold_id: str, section: str, quantity: int, seats: frozenset[str], key: str) -> str:
        asked = (section, quantity, seats)
        if key in self.keys:
            return self.keys[key][1] if self.keys[key][0] == asked else "IDEMPOTENCY_KEY_REUSED"
        if seats:
            if not seats <= self.seats:
                return "SEATS_TAKEN"
            self.seats -= seats
        elif quantity > self.left[section]:
            return "INSUFFICIENT_CAPACITY"
        else:
            self.left[section] -= quantity
        self.holds[hold_id] = ("ACTIVE", {section: quantity}, seats)
        if key:
            self.keys[key] = (asked, hold_id)
        return hold_id

    def end(self, how: str, hold_id: str) -> str:
        state, places, seats = self.holds[hold_id]
        if state == "CONFIRMED":
            return "CONFIRMED" if how == "confirm" else "HOLD_NOT_ACTIVE"
        if state == "RELEASED":
            return "HOLD_NOT_ACTIVE" if how == "confirm" else "RELEASED"
        now = "CONFIRMED" if how == "confirm" else "RELEASED"
        self.holds[hold_id] = (now, places, seats)
        if how == "release":
            self.seats |= seats
            for section, quantity in places.items():
                if not seats:
                    self.left[section] += quantity
        return now

    def claimed(self, state: str) -> int:
        return sum(sum(places.values()) for now, places, _ in self.holds.values() if now == state)


@given(batches=BATCHES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_batches_answer_as_one_request_after_another_would(capacity: Capacity, batches: list[list[Any]]) -> None:
    event_id = await capacity.event()
    ids = {name: (await capacity.section(event_id, TOTAL, name=name)).id for name in ("floor", "stalls")}
    layout = {"rows": 1, "cols": len(LABELS), "sections": [{"name": "Box"}]}
    ids["box"] = (await capacity.call("GenerateSeating", event_id=event_id, config=layout)).sections[0].id
    model = Model({"floor": TOTAL, "stalls": TOTAL})
    prefix = new_id()
    async with capacity.engine_of_the_service() as submit:
        for batch in batches:
            commands: list[Any] = []
            expected: list[str] = []
            before = list(model.holds)
            for asked in batch:
                if asked[0] in ("confirm", "release"):
                    if not before:
                        continue
                    hold_id = before[asked[1] % len(before)]
                    expected.append(model.end(asked[0], hold_id))
                    if asked[0] == "confirm":
                        commands.append(ConfirmHold(hold_id, Confirmation(new_id()), STAFF, None))
                    else:
                        key_of_release = RequestKey("staff", "ReleaseHold", new_id(), b"")
                        commands.append(ReleaseHold(hold_id, "", STAFF, key_of_release))
                    continue
                if asked[0] == "seats":
                    section, seats, number = "box", frozenset(asked[1]), asked[2]
                    quantity = len(seats)
                else:
                    section, quantity, number, seats = asked[1], asked[2], asked[3], frozenset()
                key = f"{prefix} {number}" if number else ""
                hold_id = new_id()
                expected.append(model.place(hold_id, section, quantity, seats, key))
                line = LineRequest(ids[section], None, quantity, labels=tuple(sorted(seats)))
                digest = repr((section, quantity, sorted(seats))).encode()
                commands.append(
                    PlaceHold(
                        PlaceRequest(
                            hold_id, event_id, "ann", "ann", lines=(line,), request_id=key, request_hash=digest
                        )
                    )
                )
            answers = await asyncio.gather(*(submit(event_id, command) for command in commands), return_exceptions=True)
            for command, answer, wanted in zip(commands, answers, expected, strict=True):
                if isinstance(answer, DomainError):
                    assert answer.reason.value == wanted
                else:
                    assert not isinstance(answer, BaseException), answer
                    placed = isinstance(command, PlaceHold)
                    assert (answer.hold.hold_id if placed else answer.hold.state.value) == wanted
    totals = await capacity.call("GetTotals", event_id=event_id)
    assert (totals.held, totals.sold) == (model.claimed("ACTIVE"), model.claimed("CONFIRMED"))
    assert totals.available == sum(model.left.values()) + len(model.seats)
    owners = capacity.rows("SELECT seat_index FROM capacity.seat_claims WHERE section_id = %s", ids["box"])
    assert {LABELS[seat] for (seat,) in owners} == set(LABELS) - model.seats
    await capacity.check(event_id)
