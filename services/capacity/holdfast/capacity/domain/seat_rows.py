"""Rows of seats as runs of alike seats, and the same rows seat by seat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LABEL_DIGITS_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class SeatAttributes:
    """What a seat is, besides a place to sit. `category` is empty where there is none."""

    category: str = ""
    wheelchair: bool = False
    companion: bool = False
    restricted_view: bool = False


PLAIN: Final = SeatAttributes()


@dataclass(frozen=True, slots=True)
class AttributeChange:
    """What to make of seats; None leaves an attribute as it is, an empty category takes it away."""

    category: str | None = None
    wheelchair: bool | None = None
    companion: bool | None = None
    restricted_view: bool | None = None

    def applied(self, before: SeatAttributes) -> SeatAttributes:
        """Give what a seat is after it."""
        return SeatAttributes(
            category=before.category if self.category is None else self.category,
            wheelchair=before.wheelchair if self.wheelchair is None else self.wheelchair,
            companion=before.companion if self.companion is None else self.companion,
            restricted_view=before.restricted_view if self.restricted_view is None else self.restricted_view,
        )


@dataclass(frozen=True, slots=True)
class Numbers:
    """Labels that are numbers: `count` of them from `first` on, each `step` more than the one before."""

    first: int
    step: int
    count: int


Labels: TypeAlias = "tuple[Numbers | str, ...]"
"""Seat labels from left to right: numbers together, any other label by itself."""


@dataclass(frozen=True, slots=True)
class SeatRun:
    """Adjacent seats that are alike. `place` is the first one's, counted from the section's left edge, which is 1."""

    place: int
    labels: Labels
    attributes: SeatAttributes = PLAIN

    @property
    def size(self) -> int:
        """How many seats."""
        return sum(1 if isinstance(label, str) else label.count for label in self.labels)

    def seat_labels(self) -> Iterator[str]:
        """Give the seats' labels in their row, from left to right."""
        for label in self.labels:
            if isinstance(label, str):
                yield label
            else:
                number = label.first
                for _ in range(label.count):
                    yield str(number)
                    number += label.step


@dataclass(frozen=True, slots=True)
class Row:
    """A row. `offset` is how many places it starts to the right of the left edge; runs are in the order of places."""

    label: str
    runs: tuple[SeatRun, ...]
    offset: int = 0

    @property
    def size(self) -> int:
        """How many seats."""
        return sum(run.size for run in self.runs)


class Seat(NamedTuple):
    """One seat of a row: where it stands, its label in the row, and what it is."""

    place: int
    label: str
    attributes: SeatAttributes


def seats_of(row: Row) -> list[Seat]:
    """Spell out a row's seats, from left to right."""
    return [
        Seat(run.place + offset, label, run.attributes)
        for run in row.runs
        for offset, label in enumerate(run.seat_labels())
    ]


def runs_of(seats: Sequence[Seat]) -> tuple[SeatRun, ...]:
    """Put the seats of a row together again: adjacent ones that are alike are a run."""
    runs: list[SeatRun] = []
    first = 0
    for end in range(1, len(seats) + 1):
        start = seats[first]
        alike = (
            end < len(seats)
            and seats[end].attributes == start.attributes
            and seats[end].place == start.place + end - first
        )
        if not alike:
            labels = compact([seat.label for seat in seats[first:end]])
            runs.append(SeatRun(place=start.place, labels=labels, attributes=start.attributes))
            first = end
    return tuple(runs)


def compact(labels: Sequence[str]) -> Labels:
    """Put labels together that are numbers at equal distances."""
    result: list[Numbers | str] = []
    for label in labels:
        if not _is_number(label):
            result.append(label)
            continue
        number = int(label)
        last = result[-1] if result else None
        if not isinstance(last, Numbers):
            result.append(Numbers(first=number, step=1, count=1))
        elif last.count == 1:
            result[-1] = Numbers(first=last.first, step=number - last.first, count=2)
        elif number == last.first + last.step * last.count:
            result[-1] = Numbers(first=last.first, step=last.step, count=last.count + 1)
        else:
            result.append(Numbers(first=number, step=1, count=1))
    return tuple(result)


def _is_number(label: str) -> bool:
    """Tell whether a label is a number as Python writes it: `012` and digits of other scripts stay text."""
    return label.isascii() and label.isdigit() and len(label) <= _LABEL_DIGITS_MAX and (label == "0" or label[0] != "0")
