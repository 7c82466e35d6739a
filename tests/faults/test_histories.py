"""C1 and C8 find the planted fault in a history, and are silent about a sound one, however its calls overlap."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.faults import linearizability
from tests.faults.claims import Claim, claims_fit, claims_told
from tests.faults.history import Operation, Target
from tests.faults.linearizability import linearizable

if TYPE_CHECKING:
    from tests.faults.history import Outcome

SEAT, OTHER = Target("section", "A-1"), Target("section", "A-2")
TTL = 10.0


def told(  # noqa: PLR0913 (a line of a history)
    op: str, hold: str, invoke: float, complete: float, outcome: Outcome = "ok", *, said: str = ""
) -> Operation:
    """Return an operation on the seat; `said` is the state that was acknowledged, or the code of the refusal."""
    states = {"place": "ACTIVE", "extend": "ACTIVE", "pay": "PENDING", "confirm": "CONFIRMED", "release": "RELEASED"}
    return Operation(
        seed=1,
        op=op,
        key=hold if op == "place" else f"{op}-{hold}-{invoke}",
        organization="o",
        invoke=invoke,
        complete=complete,
        outcome=outcome,
        hold_id="" if op == "place" and outcome != "ok" else hold,
        quantity=1,
        code=said if outcome == "fail" else "",
        attempts=1,
        answers=("a",),
        targets=(SEAT,),
        named=("A-1",) if said == TAKEN else (),
        ttl_seconds=TTL if op in {"place", "extend", "pay"} else 0.0,
        state=(said or states[op]) if outcome == "ok" else "",
    )


def changed(
    hold: str, invoke: float, complete: float, outcome: Outcome = "ok", *, named: tuple[str, ...] = ()
) -> Operation:
    """Return the change of a hold, which has the seat, to the other one; it is refused for the `named` seats."""
    told_of_release = told("release", hold, invoke, complete, outcome, said=TAKEN if named else "")
    return replace(told_of_release, op="change", gives=(SEAT,), takes=(OTHER,), named=named)


def of_both(hold: str, invoke: float, complete: float, *, named: tuple[str, ...] = ()) -> Operation:
    """Return that both seats were asked for and held, or refused because some are taken."""
    outcome: Outcome = "fail" if named else "ok"
    asked = told("place", hold, invoke, complete, outcome, said=TAKEN if named else "")
    return replace(asked, targets=(SEAT, OTHER), named=named)


def of_other(operation: Operation) -> Operation:
    """Return the same of the other seat."""
    return replace(operation, targets=(OTHER,), named=("A-2",) if operation.named else ())


TAKEN, EXPIRED, ENDED = "SEATS_TAKEN", "HOLD_EXPIRED", "HOLD_NOT_ACTIVE"

SOUND: dict[str, list[Operation]] = {
    "one after the other": [
        told("place", "a", 0, 1),
        told("place", "b", 2, 3, "fail", said=TAKEN),
        told("release", "a", 4, 5),
        told("place", "c", 6, 7),
        told("confirm", "c", 8, 9),
        told("release", "c", 10, 11, "fail", said=ENDED),
        told("confirm", "c", 100, 101),
        told("place", "d", 100, 101, "fail", said=TAKEN),
    ],
    "a refusal while the first is still placed": [
        told("place", "b", 0, 1, "fail", said=TAKEN),
        told("place", "a", 0.5, 2),
    ],
    "a release and its successor overlap": [
        told("place", "a", 0, 1),
        told("release", "a", 2, 6),
        told("place", "b", 3, 4),
        told("place", "c", 4.5, 5, "fail", said=TAKEN),
    ],
    "a hold ends by itself": [
        told("place", "a", 0, 1),
        told("place", "b", 10.5, 10.6),
        told("confirm", "a", 10.7, 10.8, "fail", said=EXPIRED),
        told("release", "a", 10.9, 11, said="EXPIRED"),
        told("release", "b", 12, 13),
        told("release", "b", 14, 15),
    ],
    "confirmed at the last moment, for ever": [
        told("place", "a", 0, 1),
        told("confirm", "a", 9.9, 11),
        told("place", "b", 50, 51, "fail", said=TAKEN),
    ],
    "a race for the end": [
        told("place", "a", 0, 1),
        told("confirm", "a", 2, 3, "fail", said=ENDED),
        told("release", "a", 2, 3),
        told("place", "b", 2.5, 2.6, "fail", said=TAKEN),
        told("place", "c", 2.9, 4),
    ],
    "what was never answered happened": [
        told("place", "a", 0, 1, "unknown"),
        told("place", "b", 5, 6, "fail", said=TAKEN),
    ],
    "what was never answered happened late": [
        told("place", "a", 0, 1, "unknown"),
        told("place", "b", 2, 3),
        told("release", "b", 4, 5),
        told("place", "c", 6, 7, "fail", said=TAKEN),
        told("place", "d", 40, 41),
    ],
    "what was never answered did not happen": [
        told("place", "a", 0, 1, "unknown"),
        told("place", "b", 2, 3),
        told("confirm", "b", 4, 5, "unknown"),
        told("release", "b", 6, 7),
        told("release", "b", 8, 9, "unknown"),
        told("place", "c", 10, 11),
    ],
    "changed for another seat": [
        told("place", "a", 0, 1),
        changed("a", 2, 3),
        told("place", "b", 2.5, 3.5),
        of_other(told("place", "c", 4, 5, "fail", said=TAKEN)),
        of_other(told("release", "a", 6, 7)),
        of_other(told("place", "d", 8, 9)),
    ],
    "a change that was refused": [
        told("place", "a", 0, 1),
        of_other(told("place", "x", 0, 1)),
        changed("a", 2, 3, "fail", named=("A-2",)),
        told("place", "b", 4, 5, "fail", said=TAKEN),
        told("confirm", "a", 6, 7),
    ],
    "a change that was never answered and happened": [
        told("place", "a", 0, 1),
        changed("a", 2, 3, "unknown"),
        told("place", "b", 4, 5),
        of_other(told("place", "c", 4, 5, "fail", said=TAKEN)),
        of_other(told("place", "d", 20, 21)),
    ],
    "extended": [
        told("place", "a", 0, 1),
        told("extend", "a", 5, 6),
        told("place", "b", 12, 13, "fail", said=TAKEN),
        told("place", "c", 16.5, 17),
        told("extend", "a", 18, 19, "fail", said=EXPIRED),
    ],
    "paid for in time": [
        told("place", "a", 0, 1),
        told("pay", "a", 5, 6),
        told("release", "a", 7, 8, "fail", said=ENDED),
        told("extend", "a", 7, 8, "fail", said=ENDED),
        told("confirm", "a", 14, 14.5),
        told("place", "b", 30, 31, "fail", said=TAKEN),
    ],
    "several seats at once": [
        told("place", "a", 0, 1),
        of_both("b", 2, 3, named=("A-1",)),
        of_other(told("place", "c", 4, 5)),
        of_both("d", 6, 7, named=("A-1", "A-2")),
        of_both("e", 20, 21),
    ],
    "a refusal that says nothing of the seat": [told("place", "a", 0, 1, "fail", said="SALES_WINDOW_CLOSED")],
}

PLANTED: dict[str, tuple[list[Operation], str]] = {
    "held twice": ([told("place", "a", 0, 1), told("place", "b", 2, 3)], "place b ok"),
    "held twice in calls that overlap": (
        [told("place", "a", 0, 4), told("place", "b", 0, 4), told("place", "c", 0, 4)],
        "no order",
    ),
    "sold and held again": (
        [told("place", "a", 0, 1), told("confirm", "a", 2, 3), told("place", "b", 100, 101)],
        "place b ok",
    ),
    "sold twice": (
        [
            told("place", "a", 0, 1),
            told("place", "b", 10.5, 11),
            told("confirm", "b", 12, 13),
            told("confirm", "a", 14, 15),
        ],
        "confirm a ok",
    ),
    "freed too early": ([told("place", "a", 0, 1), told("place", "b", 9.5, 9.9)], "place b ok"),
    "kept too long": ([told("place", "a", 0, 1), told("place", "b", 12, 13, "fail", said=TAKEN)], "place b fail"),
    "not given back": (
        [told("place", "a", 0, 1), told("release", "a", 2, 3), told("place", "b", 4, 5, "fail", said=TAKEN)],
        "place b fail",
    ),
    "refused for nobody": ([told("place", "a", 0, 1, "fail", said=TAKEN), told("place", "b", 2, 3)], "place a fail"),
    "confirmed after its time": ([told("place", "a", 0, 1), told("confirm", "a", 11.5, 12)], "confirm a ok"),
    "expired before its time": (
        [told("place", "a", 0, 1), told("confirm", "a", 2, 3, "fail", said=EXPIRED)],
        "confirm a fail",
    ),
    "confirmed and released": (
        [told("place", "a", 0, 1), told("confirm", "a", 2, 3), told("release", "a", 2, 3)],
        "no order",
    ),
    "refused as ended, and alive": (
        [
            told("place", "a", 0, 1),
            told("confirm", "a", 2, 3, "fail", said=ENDED),
            told("place", "b", 4, 5, "fail", said=TAKEN),
        ],
        "confirm a fail",
    ),
    "changed and not given back": (
        [told("place", "a", 0, 1), changed("a", 2, 3), told("place", "b", 4, 5, "fail", said=TAKEN)],
        "place b fail",
    ),
    "changed for a seat that another has": (
        [told("place", "a", 0, 1), of_other(told("place", "x", 0, 1)), changed("a", 2, 3)],
        "change a ok",
    ),
    "refused to change and given back": (
        [
            told("place", "a", 0, 1),
            of_other(told("place", "x", 0, 1)),
            changed("a", 2, 3, "fail", named=("A-2",)),
            told("place", "b", 4, 5),
        ],
        "place b ok",
    ),
    "changed after it ended": (
        [told("place", "a", 0, 1), told("release", "a", 2, 3), changed("a", 4, 5)],
        "change a ok",
    ),
    "extended and freed all the same": (
        [told("place", "a", 0, 1), told("extend", "a", 5, 6), told("place", "b", 12, 13)],
        "place b ok",
    ),
    "extended after its time": ([told("place", "a", 0, 1), told("extend", "a", 11.5, 12)], "too late"),
    "released while payment runs": (
        [told("place", "a", 0, 1), told("pay", "a", 2, 3), told("release", "a", 4, 5)],
        "release a ok",
    ),
    "paid for and freed": (
        [told("place", "a", 0, 1), told("pay", "a", 5, 6), told("place", "b", 12, 13)],
        "place b ok",
    ),
    "a taken seat that is not named": ([told("place", "a", 0, 1), of_both("b", 2, 3, named=("A-2",))], "place b fail"),
    "a free seat that is named": ([of_both("b", 2, 3, named=("A-1",))], "place b fail"),
    "several seats, one of them taken": ([told("place", "a", 0, 1), of_both("b", 2, 3)], "place b ok"),
    "a confirmation reported as unknown frees the seat": (
        [
            told("place", "a", 0, 1),
            told("confirm", "a", 2, 3, "unknown"),
            told("release", "a", 4, 5, "fail", said=ENDED),
            told("place", "b", 12, 13),
        ],
        "place b ok",
    ),
}


@pytest.mark.parametrize("history", [pytest.param(each, id=name) for name, each in SOUND.items()])
def test_a_sound_history_has_an_order(history: list[Operation]) -> None:
    assert linearizable(history, [SEAT, OTHER]) == []
    assert claims_fit(claims_told(history), {}) == []


@pytest.mark.parametrize(
    ("history", "said"), [pytest.param(history, said, id=name) for name, (history, said) in PLANTED.items()]
)
def test_a_planted_fault_has_no_order(history: list[Operation], said: str) -> None:
    assert any(said in fault for fault in linearizable(history, [SEAT, OTHER]))


OVERLAPS = {
    "held twice": "['a', 'b']",
    "sold and held again": "['a', 'b']",
    "freed too early": "['a', 'b']",
    "several seats, one of them taken": "['a', 'b']",
    "extended and freed all the same": "['a', 'b']",
    "paid for and freed": "['a', 'b']",
    "refused to change and given back": "['a', 'b']",
    "changed for a seat that another has": "['a', 'x']",
}


@pytest.mark.parametrize(("name", "holds"), OVERLAPS.items())
def test_two_claims_at_once_are_found_in_what_clients_were_told(name: str, holds: str) -> None:
    (fault,) = claims_fit(claims_told(PLANTED[name][0]), {})
    assert holds in fault


def test_two_claims_at_once_are_found_in_what_is_stored() -> None:
    first, second = Claim(SEAT, 1, 0.0, 5.0, "a"), Claim(SEAT, 1, 5.0, float("inf"), "b")
    assert claims_fit([first, second], {SEAT: 1}) == []
    assert claims_fit([first, replace(second, begin=4.999)], {SEAT: 1}) != []
    floor = Target("floor")
    places = [Claim(floor, 3, 0.0, 5.0, "a"), Claim(floor, 2, 1.0, 2.0, "b"), Claim(floor, 5, 2.0, 3.0, "c")]
    assert claims_fit(places, {floor: 8}) == []
    assert "['a', 'c']" in claims_fit(places, {floor: 7})[0]


def test_a_seat_of_which_nothing_is_asked_is_not_judged() -> None:
    assert linearizable(PLANTED["held twice"][0], [Target("other", "A-1")]) == []


def test_a_history_that_cannot_be_decided_is_not_called_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linearizability, "STATES_MAX", 3)
    many = [told("place", str(number), 0, 100, "unknown") for number in range(6)]
    (fault,) = linearizable([*many, told("place", "a", 0, 1), told("place", "b", 2, 3)], [SEAT])
    assert "not decided" in fault


@pytest.mark.parametrize("life", range(20))
def test_any_history_of_a_real_seat_has_an_order_until_one_answer_is_changed(life: int) -> None:
    history = lived_through(random.Random(life))  # noqa: S311 (reproducible)
    assert linearizable(history, [SEAT]) == []
    assert claims_fit(claims_told(history), {SEAT: 1}) == []
    won = [number for number, each in enumerate(history) if each.op == "place" and each.outcome == "ok"]
    assert won
    lost = next(number for number, each in enumerate(history) if each.code == TAKEN)
    stolen = replace(
        history[lost], outcome="ok", code="", hold_id="stolen", state="ACTIVE", complete=history[lost].invoke
    )
    assert linearizable([*history[:lost], stolen, *history[lost + 1 :]], [SEAT]) != []


def lived_through(chance: random.Random) -> list[Operation]:
    """Live through a seat's life one thing after another, and blur when each was asked and answered.

    Whatever the blur covers: calls overlap, and the moment of each lies between its two ends.
    """
    history: list[Operation] = []
    now, holder, ends, number = 0.0, "", 0.0, 0
    for _ in range(60):
        now += chance.uniform(0.5, 2.0)
        if holder and now >= ends:
            holder = ""
        if holder and chance.random() < 0.3:
            history.append(told("release", holder, now - chance.uniform(0, 1), now + chance.uniform(0, 1)))
            holder = ""
            continue
        number += 1
        invoke, complete = now - chance.uniform(0, 0.2), now + chance.uniform(0, 0.2)
        if holder:
            history.append(told("place", str(number), invoke, complete, "fail", said=TAKEN))
        else:
            holder, ends = str(number), now + TTL
            history.append(told("place", holder, invoke, complete))
    return history
