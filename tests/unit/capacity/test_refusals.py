"""What would change a refusal for lack of places: holds that end, payments that fail, staff, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from holdfast.capacity.domain.placing import LineRequest
from holdfast.capacity.domain.refusals import Change, Ending, refusal_of
from holdfast.capacity.domain.times import instant
from holdfast.common.errors import DomainError, Reason
from tests.unit.capacity.factories import inventory, later, section

if TYPE_CHECKING:
    from datetime import datetime

NO_PLACES = DomainError(Reason.INSUFFICIENT_CAPACITY, "fewer places are free", metadata={"available": "1"})
HELD = Ending(later(5), pending=False, quantity=2)
HELD_LATER = Ending(later(9), pending=False, quantity=2)
PAYING = Ending(later(7), pending=True, quantity=3)


@pytest.mark.parametrize(
    ("quantity", "taken", "endings", "change", "time"),
    [
        (3, {"held": 4, "pending": 3}, [HELD, PAYING, HELD_LATER], Change.HOLD_EXPIRY, later(5)),
        (4, {"held": 4, "pending": 3}, [HELD, PAYING, HELD_LATER], Change.HOLD_EXPIRY, later(9)),
        (6, {"held": 4, "pending": 3}, [HELD, PAYING, HELD_LATER], Change.PAYMENT_DEADLINE, later(7)),
        (8, {"held": 4, "pending": 3}, [HELD, PAYING, HELD_LATER], Change.PAYMENT_DEADLINE, later(9)),
        (4, {"held": 2, "blocked": 5}, [HELD], Change.STAFF_DECISION, None),
        (9, {"held": 2, "blocked": 5}, [HELD], Change.OTHER_REQUEST, None),
        (2, {"sold": 7}, [], Change.OTHER_REQUEST, None),
        (1, {"sold": 8}, [], Change.NOTHING, None),
    ],
)
def test_what_brings_places_back(
    quantity: int, taken: dict[str, Any], endings: list[Ending], change: Change, time: datetime | None
) -> None:
    stock: Any = inventory(section("floor", 8, **taken))
    told = refusal_of(stock, LineRequest("floor", None, quantity), NO_PLACES, endings=endings)
    assert (told.change, told.time) == (change, time)
    first = {"next_change_time": instant(endings[0].expire_time)} if endings else {}
    assert told.error.metadata == {"available": "1", **first}
