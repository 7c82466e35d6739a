"""Every checker finds the fault that it exists for, and is silent without one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.faults.checkers import (
    Change,
    Counters,
    Projection,
    Snapshot,
    StoredHold,
    StoredSale,
    acknowledged_is_there,
    all_faults,
    changes_are_messages,
    consumers_agree,
    counters_add_up,
    one_effect_per_key,
)
from tests.faults.history import Operation, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.history import Outcome

S = "section"
FLOOR = Target(S)
STATES = {"confirm": "CONFIRMED", "release": "RELEASED"}
CREATED = Change(1, {S: Counters(10, 0, 0, 0, 0)}, {}, {})
PLACED = Change(2, {S: Counters(10, 2, 0, 0, 0)}, {"h1": "ACTIVE"}, {})
CONFIRMED = Change(3, {S: Counters(10, 0, 0, 2, 0)}, {"h1": "CONFIRMED"}, {"s1": "SOLD"})
SECOND = Change(4, {S: Counters(10, 3, 0, 2, 0)}, {"h2": "ACTIVE"}, {})
RELEASED = Change(5, {S: Counters(10, 0, 0, 2, 0)}, {"h2": "RELEASED"}, {})
JOURNAL = (CREATED, PLACED, CONFIRMED, SECOND, RELEASED)

PROJECTION = Projection(inventory_version=5, capacity=10, available=8, sold=2, position=5)
SOUND = Snapshot(
    version=5,
    sections={S: Counters(10, 0, 0, 2, 0)},
    holds=(StoredHold("h1", "CONFIRMED", "k1", ((FLOOR, 2),)), StoredHold("h2", "RELEASED", "k2", ((FLOOR, 3),))),
    sales=(StoredSale("s1", "h1", "SOLD", ((FLOOR, 2),)),),
    journal=JOURNAL,
    stream=JOURNAL,
    projection=PROJECTION,
)


def operation(  # noqa: PLR0913, PLR0917 (the columns of a history, read as a table)
    op: str, key: str, outcome: Outcome, hold_id: str, quantity: int, answers: tuple[str, ...] = ("a",)
) -> Operation:
    """Return an operation of the history."""
    code, state = ("REFUSED", "") if outcome == "fail" else ("", STATES.get(op, "ACTIVE"))
    return Operation(
        1,
        op,
        key,
        "o",
        0.0,
        1.0,
        outcome,
        hold_id,
        quantity,
        code,
        1,
        answers,
        targets=(FLOOR,),
        lines=((1, FLOOR),),
        ttl_seconds=900,
        state=state,
    )


HISTORY = [
    operation("place", "k1", "ok", "h1", 2),
    operation("confirm", "k3", "ok", "h1", 2),
    operation("place", "k2", "ok", "h2", 3),
    operation("release", "k4", "ok", "h2", 3),
    operation("place", "k5", "fail", "", 9),
    operation("place", "k6", "unknown", "", 1),
]


def test_a_sound_history_has_no_faults() -> None:
    assert all_faults(HISTORY, SOUND) == []


def with_history(checker: Callable[[list[Operation], Snapshot], list[str]]) -> Callable[[Snapshot], list[str]]:
    return lambda snapshot: checker(HISTORY, snapshot)


PLANTED: list[tuple[str, Callable[[Snapshot], list[str]], Snapshot, str]] = [
    ("counter drifts", counters_add_up, replace(SOUND, sections={S: Counters(10, 1, 0, 2, 0)}), "held is 1"),
    ("oversold", counters_add_up, replace(SOUND, sections={S: Counters(1, 0, 0, 2, 0)}), "oversold"),
    (
        "negative in between",
        counters_add_up,
        replace(SOUND, journal=(replace(PLACED, sections={S: Counters(1, 2, 0, 0, 0)}), *JOURNAL)),
        "version 2",
    ),
    ("a hold is lost", with_history(acknowledged_is_there), replace(SOUND, holds=SOUND.holds[:1]), "h2"),
    ("a sale is lost", with_history(acknowledged_is_there), replace(SOUND, sales=()), "h1"),
    (
        "fewer places than acknowledged",
        with_history(acknowledged_is_there),
        replace(SOUND, holds=(replace(SOUND.holds[0], places=((FLOOR, 1),)), SOUND.holds[1])),
        "asked for {Target(section_id='section', seat=''): 2}",
    ),
    (
        "a refused hold exists",
        with_history(acknowledged_is_there),
        replace(SOUND, holds=(*SOUND.holds, StoredHold("h3", "ACTIVE", "k5", ((FLOOR, 9),)))),
        "k5",
    ),
    (
        "a hold out of nothing",
        with_history(acknowledged_is_there),
        replace(SOUND, holds=(*SOUND.holds, StoredHold("h3", "ACTIVE", "k9", ((FLOOR, 9),)))),
        "k9 has a hold",
    ),
    (
        "a release out of nothing",
        with_history(acknowledged_is_there),
        replace(SOUND, holds=(*SOUND.holds, StoredHold("h3", "RELEASED", "k6", ((FLOOR, 1),)))),
        "h3 is RELEASED and nobody",
    ),
    (
        "two holds for one key",
        with_history(one_effect_per_key),
        replace(SOUND, holds=(*SOUND.holds, replace(SOUND.holds[0], id="h9"))),
        "k1 has 2",
    ),
    (
        "sold twice",
        with_history(one_effect_per_key),
        replace(SOUND, sales=(*SOUND.sales, replace(SOUND.sales[0], id="s9"))),
        "sold 2 times",
    ),
    ("a version is missing", changes_are_messages, replace(SOUND, journal=JOURNAL[:3] + JOURNAL[4:]), "journal"),
    ("a message is missing", changes_are_messages, replace(SOUND, stream=JOURNAL[:4]), "version 5"),
    ("out of order", changes_are_messages, replace(SOUND, stream=JOURNAL[::-1]), "out of order"),
    (
        "message differs",
        changes_are_messages,
        replace(SOUND, stream=(*JOURNAL[:4], replace(RELEASED, holds={"h2": "EXPIRED"}))),
        "differs",
    ),
    ("not marked", changes_are_messages, replace(SOUND, unpublished=1), "not marked"),
    (
        "applied twice",
        consumers_agree,
        replace(SOUND, projection=replace(PROJECTION, sold=4)),
        "events keeps",
    ),
]


@pytest.mark.parametrize(("checker", "snapshot", "told"), [pytest.param(c, s, t, id=n) for n, c, s, t in PLANTED])
def test_a_planted_fault_is_found(checker: Callable[[Snapshot], list[str]], snapshot: Snapshot, told: str) -> None:
    faults = checker(snapshot)
    assert any(told in fault for fault in faults), faults


@pytest.mark.parametrize(("op", "hold_id"), [("confirm", "h1"), ("release", "h2")])
def test_an_end_that_was_refused_and_happened_is_found(op: str, hold_id: str) -> None:
    history = [each for each in HISTORY if each.op != op]
    assert acknowledged_is_there([*history, operation(op, "k7", "fail", hold_id, 1)], SOUND)


def test_a_controls_message_that_is_missing_is_found() -> None:
    assert consumers_agree(replace(SOUND, controls_version=3, controls_known=2))


def test_a_message_that_was_given_up_is_found() -> None:
    assert consumers_agree(replace(SOUND, dead=1)) == ["consumers gave up on 1 messages"]


def test_different_answers_to_one_key_are_found() -> None:
    history = [operation("place", "k1", "ok", "h1", 2, ("a", "b"))]
    assert one_effect_per_key(history, SOUND) == ["key k1 was answered in 2 ways"]
