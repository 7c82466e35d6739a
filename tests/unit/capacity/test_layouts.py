"""Layouts: labels, indexes, sets of seats by what they are, and the form in which they are kept."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.capacity.domain import bitmaps
from holdfast.capacity.domain.layouts import FocalPoint, Layout
from holdfast.capacity.domain.seat_rows import (
    AttributeChange,
    Numbers,
    Row,
    Seat,
    SeatAttributes,
    SeatRun,
    compact,
    runs_of,
    seats_of,
)
from holdfast.capacity.domain.seating import grid
from holdfast.common.errors import DomainError, Reason

WHEELCHAIR, COMPANION = SeatAttributes(wheelchair=True), SeatAttributes(companion=True)
RESTRICTED = SeatAttributes(category="Rang", restricted_view=True)

LAYOUT = Layout(
    rows=(
        Row(
            label="A",
            runs=(
                SeatRun(place=1, labels=(Numbers(1, 1, 3),)),
                SeatRun(place=4, labels=("W",), attributes=WHEELCHAIR),
                SeatRun(place=7, labels=("C1", "C2"), attributes=COMPANION),
            ),
        ),
        Row(label="B", offset=2, runs=(SeatRun(place=3, labels=(Numbers(9, -2, 3),), attributes=RESTRICTED),)),
    ),
    focal_point=FocalPoint(row=0, place=4),
)

LABELS = st.one_of(st.integers(0, 99).map(str), st.sampled_from(["W", "012", "٣", "Ä1", "12345678"]))
SEATS = st.lists(
    st.builds(Seat, st.integers(1, 3), LABELS, st.sampled_from([SeatAttributes(), WHEELCHAIR, RESTRICTED])),
    min_size=1,
    max_size=12,
)


def as_row(drawn: list[Seat]) -> list[Seat]:
    """Give seats from left to right, each as many places behind the one before as was drawn."""
    place = 0
    seats = []
    for seat in drawn:
        place += seat.place
        seats.append(seat._replace(place=place))
    return seats


def test_seats_are_counted_through_the_rows_from_the_front() -> None:
    assert LAYOUT.size == 9
    assert LAYOUT.labels == ("A-1", "A-2", "A-3", "A-W", "A-C1", "A-C2", "B-9", "B-7", "B-5")
    assert [LAYOUT.index_of(label) for label in LAYOUT.labels] == list(range(9))
    assert LAYOUT.index_of("B-8") is None
    assert [LAYOUT.row_number(index) for index in range(9)] == [0] * 6 + [1] * 3
    assert LAYOUT.seat_at(6) == (LAYOUT.rows[1], Seat(3, "9", RESTRICTED))
    for index in (-1, 9):
        with pytest.raises(IndexError):
            LAYOUT.seat_at(index)


def test_seats_are_found_in_the_order_in_which_they_are_named() -> None:
    assert LAYOUT.indexes(["B-5", "A-1"], section_id="s") == (8, 0)


def test_seats_that_there_are_not_are_named() -> None:
    with pytest.raises(DomainError) as refusal:
        LAYOUT.indexes(["A-1", "A-4", "C-1"], section_id="s")
    assert refusal.value.reason is Reason.SEAT_NOT_FOUND
    assert refusal.value.metadata == {"section_id": "s", "seats": "A-4,C-1"}


def test_a_refusal_names_a_hundred_seats_at_most() -> None:
    with pytest.raises(DomainError) as refusal:
        LAYOUT.indexes([f"Z-{number}" for number in range(1000)], section_id="s")
    assert refusal.value.metadata["seats"].split(",") == [f"Z-{number}" for number in range(100)]


def test_each_kind_of_seat_is_a_set() -> None:
    assert bitmaps.indexes_of(LAYOUT.wheelchair) == [3]
    assert bitmaps.indexes_of(LAYOUT.companion) == [4, 5]
    assert bitmaps.indexes_of(LAYOUT.restricted_view) == [6, 7, 8]
    assert bitmaps.indexes_of(LAYOUT.ordinary) == [0, 1, 2, 6, 7, 8]
    assert {name: bitmaps.indexes_of(seats) for name, seats in LAYOUT.categories.items()} == {"Rang": [6, 7, 8]}


def test_neighbours_end_at_gaps_and_rows_but_not_between_kinds_of_seats() -> None:
    assert bitmaps.indexes_of(LAYOUT.adjacent) == [0, 1, 2, 4, 6, 7]


def test_a_layout_sums_up() -> None:
    summary = LAYOUT.summary
    assert (summary.row_count, summary.first_row, summary.last_row) == (2, "A", "B")
    assert (summary.row_seats_min, summary.row_seats_max) == (3, 6)
    assert (summary.wheelchair_count, summary.companion_count, summary.restricted_view_count) == (1, 2, 3)
    assert summary.categories == ("Rang",)


def test_a_layout_is_kept_as_json_and_is_the_same_again() -> None:
    assert Layout.from_json(json.loads(json.dumps(LAYOUT.to_json()))) == LAYOUT


def test_fifty_thousand_seats_are_kept_in_runs() -> None:
    layout = grid(1000, 50)
    kept = json.dumps(layout.to_json())
    assert len(kept) < 40_000
    again = Layout.from_json(json.loads(kept))
    assert again.size == 50_000
    assert again.labels[-1] == "ALL-50"
    assert len(set(again.labels)) == 50_000


def test_seats_become_something_else_and_the_revision_moves() -> None:
    changed = LAYOUT.with_attributes([1, 7], AttributeChange(restricted_view=True, category="Eck"))
    assert changed.revision == LAYOUT.revision + 1
    assert changed.etag != LAYOUT.etag
    assert changed.labels == LAYOUT.labels
    assert changed.adjacent == LAYOUT.adjacent
    assert changed.focal_point == LAYOUT.focal_point
    assert bitmaps.indexes_of(changed.restricted_view) == [1, 6, 7, 8]
    assert bitmaps.indexes_of(changed.categories["Eck"]) == [1, 7]
    assert bitmaps.indexes_of(changed.categories["Rang"]) == [6, 8]
    back = changed.with_attributes([1], AttributeChange(restricted_view=False, category=""))
    assert back.rows[0] == LAYOUT.rows[0]  # the runs are together again


def test_a_change_that_changes_nothing_gives_the_same_layout() -> None:
    assert LAYOUT.with_attributes([3], AttributeChange(wheelchair=True)) is LAYOUT
    assert LAYOUT.with_attributes([], AttributeChange(wheelchair=True)) is LAYOUT


def test_no_seat_is_a_wheelchair_place_and_a_companion_seat() -> None:
    with pytest.raises(DomainError, match="not both") as refusal:
        LAYOUT.with_attributes([3], AttributeChange(companion=True))
    assert refusal.value.reason is Reason.VALIDATION_FAILED
    swapped = LAYOUT.with_attributes([3], AttributeChange(companion=True, wheelchair=False))
    assert not swapped.wheelchair


def test_a_section_has_fifty_categories_at_most() -> None:
    layout = grid(1, 60)
    for number in range(50):
        layout = layout.with_attributes([number], AttributeChange(category=f"K{number}"))
    with pytest.raises(DomainError, match="at most 50"):
        layout.with_attributes([50], AttributeChange(category="K50"))
    layout.with_attributes([50], AttributeChange(category="K49"))
    layout.with_attributes([49], AttributeChange(category="K50"))


@settings(max_examples=200, deadline=None)
@given(drawn=SEATS)
def test_seats_put_into_runs_come_out_as_they_were(drawn: list[Seat]) -> None:
    seats = as_row(drawn)
    row = Row(label="A", runs=runs_of(seats))
    assert seats_of(row) == seats
    assert row.size == len(seats)
    layout = Layout(rows=(row,))
    assert Layout.from_json(json.loads(json.dumps(layout.to_json()))) == layout


def test_numbers_at_equal_distances_are_one_run_of_labels() -> None:
    assert compact(["11", "9", "7", "1", "2", "4"]) == (Numbers(11, -2, 3), Numbers(1, 1, 2), Numbers(4, 1, 1))
    assert compact(["5", "5"]) == (Numbers(5, 0, 2),)
    assert compact(["01", "2", "A"]) == ("01", Numbers(2, 1, 1), "A")
