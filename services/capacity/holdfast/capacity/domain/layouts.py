"""The layout of a seated section: its rows from the front, each with its seats, gaps and what the seats are.

A seat's public name is its label `<row>-<seat>`, unique in the section. Its index is its running number from the
leftmost seat of the front row on, row by row, gaps not counted: internal, and never another one for the same seat.
What is kept are runs of alike seats, never single ones, so that a section of 50,000 seats is small and quick to read.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, Final, Self

from holdfast.capacity.domain import bitmaps
from holdfast.capacity.domain.seat_rows import Numbers, Row, Seat, SeatAttributes, SeatRun, runs_of, seats_of
from holdfast.capacity.domain.standing import Standing, StandingRow
from holdfast.common.errors import DomainError, Reason, invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from holdfast.capacity.domain.seat_rows import AttributeChange

CATEGORIES_MAX: Final = 50
CATEGORY_LENGTH_MAX: Final = 50
NAMED_MAX: Final = 100
"""Seats that one refusal names, at most: its metadata has to fit into headers."""


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
        return bisect_right(self.row_starts, index) - 1

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
    def standing(self) -> Standing:
        """Where its seats stand, as best available looks at them."""
        adjacent = self.adjacent
        rows: list[StandingRow] = []
        for row, start in zip(self.rows, self.row_starts[:-1], strict=True):
            places = tuple(place for run in row.runs for place in range(run.place, run.place + run.size))
            mask = bitmaps.first_bits(len(places))
            rows.append(
                StandingRow(mask=mask, adjacent=adjacent >> start & mask, places=places, middle=places[0] + places[-1])
            )
        focal = self.focal_point
        if focal is None:
            return Standing(rows=rows, focal_place=None, distances=(), by_distance=None)
        distances = [4 * (number + 1 - focal.row) ** 2 for number in range(len(rows))]
        return Standing(
            rows=rows,
            focal_place=2 * focal.place,
            distances=distances,
            by_distance=sorted((distance, number) for number, distance in enumerate(distances)),
        )

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

    def with_focal_point(self, focal_point: FocalPoint | None) -> Self:
        """Give the layout with another focal point; the very same one if nothing changes."""
        if focal_point == self.focal_point:
            return self
        return replace(self, focal_point=focal_point, revision=self.revision + 1)

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
