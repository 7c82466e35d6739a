"""The layout of a seated section: its rows from the front, each with its seats, gaps and what the seats are.

A seat's public name is its label `<row>-<seat>`, unique in the section. Its index is its running number from the
leftmost seat of the front row on, row by row, gaps not counted: internal, and never another one for the same seat.
What is kept are runs of alike seats, never single ones, so that a section of 50,000 seats is small and quick to read.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeAlias

from holdfast.capacity.domain import bitmaps
from holdfast.common.errors import DomainError, Reason, invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

CATEGORIES_MAX: Final = 50
CATEGORY_LENGTH_MAX: Final = 50
NAMED_MAX: Final = 100
"""Seats that one refusal names, at most: its metadata has to fit into headers."""

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


@dataclass(frozen=True, slots=True)
class FocalPoint:
    """Where the best seats look at: row 1 is the front row, place 1 the leftmost; both may lie outside."""

    row: int
    place: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What a layout is like, in a few numbers. `categories` in alphabetical order."""

    row_count: int
    first_row: str
    last_row: str
    row_seats_min: int
    row_seats_max: int
    wheelchair_count: int
    companion_count: int
    restricted_view_count: int
    categories: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """A section's rows, the front row first, each with a seat at least. `revision` counts changes of attributes.

    Immutable; what is derived from it is computed once, when it is first asked for.
    """

    rows: tuple[Row, ...]
    focal_point: FocalPoint | None = None
    revision: int = 1
    row_starts: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """The index of each row's first seat, and at the end the number of seats."""

    def __post_init__(self) -> None:
        starts = tuple(accumulate((row.size for row in self.rows), initial=0))
        object.__setattr__(self, "row_starts", starts)

    @property
    def size(self) -> int:
        """How many seats."""
        return self.row_starts[-1]

    @property
    def etag(self) -> str:
        """Changes with the layout and the seats' attributes."""
        return str(self.revision)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels, by index."""
        return tuple(f"{row.label}-{label}" for row in self.rows for run in row.runs for label in run.seat_labels())

    @cached_property
    def _index_of(self) -> dict[str, int]:
        return {label: index for index, label in enumerate(self.labels)}

    def index_of(self, label: str) -> int | None:
        """Find a seat; None if there is none of this label."""
        return self._index_of.get(label)

    def indexes(self, labels: Sequence[str], *, section_id: str) -> tuple[int, ...]:
        """Find seats, in the order of their labels; SEAT_NOT_FOUND names those that there are not."""
        find = self._index_of.get
        found = [find(label) for label in labels]
        if None in found:
            unknown = [label for label, index in zip(labels, found, strict=True) if index is None]
            raise DomainError(
                Reason.SEAT_NOT_FOUND,
                "the section has no such seats",
                metadata={"section_id": section_id, "seats": ",".join(unknown[:NAMED_MAX])},
            )
        return tuple(index for index in found if index is not None)

    def seat_at(self, index: int) -> tuple[Row, Seat]:
        """Give a seat and its row. An index that there is not raises IndexError."""
        number = self.row_number(index)
        row = self.rows[number]
        return row, seats_of(row)[index - self.row_starts[number]]

    def row_number(self, index: int) -> int:
        """Give which row a seat is in, the front row is 0. An index that there is not raises IndexError."""
        if not 0 <= index < self.size:
            raise IndexError(index)
        low, high = 0, len(self.rows) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self.row_starts[middle] <= index:
                low = middle
            else:
                high = middle - 1
        return low

    @property
    def all_seats(self) -> int:
        """The set of all seats."""
        return bitmaps.first_bits(self.size)

    def _runs(self) -> Iterator[tuple[int, SeatRun]]:
        index = 0
        for run in chain.from_iterable(row.runs for row in self.rows):
            yield index, run
            index += run.size

    def _where(self, name: str) -> int:
        mask = 0
        for start, run in self._runs():
            if getattr(run.attributes, name):
                mask |= bitmaps.first_bits(run.size) << start
        return mask

    @cached_property
    def wheelchair(self) -> int:
        """The set of wheelchair places."""
        return self._where("wheelchair")

    @cached_property
    def companion(self) -> int:
        """The set of companion seats."""
        return self._where("companion")

    @cached_property
    def restricted_view(self) -> int:
        """The set of seats with a restricted view."""
        return self._where("restricted_view")

    @cached_property
    def ordinary(self) -> int:
        """The set of seats that are neither wheelchair places nor companion seats."""
        return self.all_seats & ~self.wheelchair & ~self.companion

    @cached_property
    def categories(self) -> Mapping[str, int]:
        """The seats of each category that there is."""
        masks: dict[str, int] = {}
        for start, run in self._runs():
            category = run.attributes.category
            if category:
                masks[category] = masks.get(category, 0) | bitmaps.first_bits(run.size) << start
        return masks

    @cached_property
    def adjacent(self) -> int:
        """The set of seats whose right neighbour is another seat: no gap between them, not the row's last."""
        mask = 0
        end = -1
        for row, start in zip(self.rows, self.row_starts[:-1], strict=True):
            index, beside = start, None
            for run in row.runs:
                inner = bitmaps.first_bits(run.size - 1) << index
                if beside == run.place:
                    inner |= 1 << end
                mask |= inner
                index += run.size
                end, beside = index - 1, run.place + run.size
        return mask

    @cached_property
    def summary(self) -> Summary:
        """What it is like, in a few numbers."""
        sizes = [end - start for start, end in zip(self.row_starts, self.row_starts[1:], strict=False)]
        return Summary(
            row_count=len(self.rows),
            first_row=self.rows[0].label,
            last_row=self.rows[-1].label,
            row_seats_min=min(sizes),
            row_seats_max=max(sizes),
            wheelchair_count=self.wheelchair.bit_count(),
            companion_count=self.companion.bit_count(),
            restricted_view_count=self.restricted_view.bit_count(),
            categories=tuple(sorted(self.categories)),
        )

    def with_attributes(self, indexes: Iterable[int], change: AttributeChange) -> Self:
        """Give the layout after a change of some seats; the very same one if nothing changes.

        Raises VALIDATION_FAILED where a seat would be a wheelchair place and a companion seat, and where there would
        be more than `CATEGORIES_MAX` categories.
        """
        by_row: dict[int, set[int]] = {}
        for index in indexes:
            number = self.row_number(index)
            by_row.setdefault(number, set()).add(index - self.row_starts[number])
        rows = list(self.rows)
        for number, chosen in by_row.items():
            row = rows[number]
            rows[number] = replace(row, runs=runs_of(_changed(seats_of(row), chosen, change)))
        if tuple(rows) == self.rows:
            return self
        changed = replace(self, rows=tuple(rows), revision=self.revision + 1)
        if len(changed.categories) > CATEGORIES_MAX:
            raise invalid("attributes.category", f"a section has at most {CATEGORIES_MAX} categories")
        return changed

    def to_json(self) -> dict[str, Any]:
        """Write it as a plain object, compact: `from_json` reads it."""
        kinds: dict[SeatAttributes, int] = {}
        rows = [
            [
                row.label,
                row.offset,
                [
                    [
                        run.place,
                        kinds.setdefault(run.attributes, len(kinds)),
                        *(
                            label if isinstance(label, str) else [label.first, label.step, label.count]
                            for label in run.labels
                        ),
                    ]
                    for run in row.runs
                ],
            ]
            for row in self.rows
        ]
        focal = self.focal_point
        return {
            "revision": self.revision,
            "focal_point": None if focal is None else [focal.row, focal.place],
            "attributes": [[each.category, each.wheelchair, each.companion, each.restricted_view] for each in kinds],
            "rows": rows,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        kinds = [SeatAttributes(*each) for each in document["attributes"]]
        focal = document["focal_point"]
        return cls(
            rows=tuple(
                Row(
                    label=label,
                    offset=offset,
                    runs=tuple(
                        SeatRun(
                            place=place,
                            attributes=kinds[kind],
                            labels=tuple(each if isinstance(each, str) else Numbers(*each) for each in labels),
                        )
                        for place, kind, *labels in runs
                    ),
                )
                for label, offset, runs in document["rows"]
            ),
            focal_point=None if focal is None else FocalPoint(*focal),
            revision=document["revision"],
        )


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


def _changed(seats: Sequence[Seat], chosen: set[int], change: AttributeChange) -> list[Seat]:
    result: list[Seat] = []
    for number, seat in enumerate(seats):
        if number not in chosen:
            result.append(seat)
            continue
        attributes = change.applied(seat.attributes)
        if attributes.wheelchair and attributes.companion:
            raise invalid("attributes", "a seat is a wheelchair place or a companion seat, not both")
        result.append(seat._replace(attributes=attributes))
    return result
