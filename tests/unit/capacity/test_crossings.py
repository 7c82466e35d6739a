"""Warnings, sold out and reopened: once for each crossing, of sections and of the event over all its dates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from holdfast.capacity.domain.sections import Crossing
from tests.unit.capacity.factories import committed, inventory, section

if TYPE_CHECKING:
    from holdfast.capacity.domain.inventory import Inventory

W, C, S, R = Crossing
FRIDAY: Final = "friday"
SATURDAY: Final = "saturday"

Step = tuple[str, dict[str, int], list[tuple[str, Crossing]]]


def hold(quantity: int) -> dict[str, int]:
    return {"held": quantity}


def pay(quantity: int) -> dict[str, int]:
    return {"held": -quantity, "pending": quantity}


def sell(quantity: int) -> dict[str, int]:
    return {"sold": quantity}


def give_back(quantity: int, *, blocked: int = 0) -> dict[str, int]:
    return {"sold": -quantity, "blocked": blocked}


def stock() -> Inventory:
    """Two dates of a section each, a hundred and twenty places."""
    return inventory(section(FRIDAY, 100, schedule_id=FRIDAY), section(SATURDAY, 20, schedule_id=SATURDAY))


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(
            [
                (FRIDAY, sell(79), []),
                (FRIDAY, sell(1), [(FRIDAY, W)]),
                (FRIDAY, sell(14), []),
                (FRIDAY, sell(1), [(FRIDAY, C)]),
                (FRIDAY, sell(4), [("", W)]),
                (FRIDAY, sell(1), [(FRIDAY, S)]),
                (SATURDAY, sell(16), [(SATURDAY, W), ("", C)]),
                (SATURDAY, sell(4), [(SATURDAY, C), (SATURDAY, S), ("", S)]),
            ],
            id="one date after the other fills up",
        ),
        pytest.param(
            [(FRIDAY, sell(100), [(FRIDAY, W), (FRIDAY, C), (FRIDAY, S), ("", W)])],
            id="a commit may cross several lines",
        ),
        pytest.param(
            [
                (FRIDAY, sell(96), [(FRIDAY, W), (FRIDAY, C), ("", W)]),
                (FRIDAY, hold(4), []),
                (FRIDAY, pay(4), []),
                (FRIDAY, {"pending": -4, "sold": 4}, [(FRIDAY, S)]),
            ],
            id="what is held or being paid for may come back",
        ),
        pytest.param(
            [
                (SATURDAY, sell(20), [(SATURDAY, W), (SATURDAY, C), (SATURDAY, S)]),
                (SATURDAY, give_back(1), [(SATURDAY, R)]),
                (SATURDAY, hold(1), []),
                (SATURDAY, {"held": -1, "sold": 1}, [(SATURDAY, S)]),
                (SATURDAY, give_back(5), [(SATURDAY, R)]),
                (SATURDAY, sell(1), [(SATURDAY, W)]),
            ],
            id="a return reopens, and lines count anew once the section was below them",
        ),
        pytest.param(
            [
                (FRIDAY, sell(100), [(FRIDAY, W), (FRIDAY, C), (FRIDAY, S), ("", W)]),
                (SATURDAY, sell(20), [(SATURDAY, W), (SATURDAY, C), (SATURDAY, S), ("", C), ("", S)]),
                (SATURDAY, give_back(2), [(SATURDAY, R), ("", R)]),
                (FRIDAY, give_back(1), [(FRIDAY, R)]),
                (FRIDAY, sell(1), [(FRIDAY, S)]),
                (SATURDAY, sell(2), [(SATURDAY, C), (SATURDAY, S), ("", S)]),
            ],
            id="the event is sold out when its last date is, and reopens with the first that comes back",
        ),
        pytest.param(
            [
                (SATURDAY, sell(20), [(SATURDAY, W), (SATURDAY, C), (SATURDAY, S)]),
                (SATURDAY, give_back(5, blocked=5), []),
                (SATURDAY, give_back(15, blocked=15), []),
                (SATURDAY, {"blocked": -1}, [(SATURDAY, R)]),
            ],
            id="places that come back blocked do not reopen",
        ),
        pytest.param(
            [
                (SATURDAY, {"blocked": 20}, []),
                (SATURDAY, {"blocked": -20}, []),
                (SATURDAY, {"blocked": 10}, []),
                (SATURDAY, sell(8), [(SATURDAY, W)]),
                (SATURDAY, {"blocked": 2}, [(SATURDAY, C), (SATURDAY, S)]),
            ],
            id="what is blocked is not counted, and blocking all that was never sold is not selling out",
        ),
    ],
)
def test_each_line_is_told_once_for_each_crossing(steps: list[Step]) -> None:
    now = stock()
    for section_id, moves, expected in steps:
        now.move(section_id, **moves)
        assert list(now.crossings()) == expected
        now = committed(now)
