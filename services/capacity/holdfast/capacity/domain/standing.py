"""Where the seats of a layout stand, in the form in which best available looks at them: made once for each layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class StandingRow:
    """One row. Bit i of `mask` and `adjacent`, and `places[i]`, are of the row's seat i; `middle` is doubled."""

    mask: int
    adjacent: int
    places: tuple[int, ...]
    middle: int


@dataclass(frozen=True, slots=True)
class Standing:
    """All rows.

    With a focal point: `focal_place` is its place, doubled, `distances` the squares of the rows' doubled distances from
    it, and `by_distance` the same with the rows' numbers, the nearest first, of equally near ones the front one.
    """

    rows: Sequence[StandingRow]
    focal_place: int | None
    distances: Sequence[int]
    by_distance: Sequence[tuple[int, int]] | None
