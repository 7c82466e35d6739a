"""How rows and seats get their labels."""

from __future__ import annotations

import pytest

from holdfast.capacity.domain.numbering import Numbering, RowScheme, SeatScheme


@pytest.mark.parametrize(
    ("numbering", "labels"),
    [
        (Numbering(), ["A", "B", "C"]),
        (Numbering(first_row="Y"), ["Y", "Z", "AA"]),
        (Numbering(first_row="ZZ"), ["ZZ", "AAA", "AAB"]),
        (Numbering(rows=RowScheme.LETTERS_WITHOUT_I_O, first_row="H"), ["H", "J", "K"]),
        (Numbering(rows=RowScheme.LETTERS_WITHOUT_I_O, first_row="N"), ["N", "P", "Q"]),
        (Numbering(rows=RowScheme.NUMBERS), ["1", "2", "3"]),
        (Numbering(rows=RowScheme.NUMBERS, first_row="0"), ["0", "1", "2"]),
        (Numbering(rows=RowScheme.NUMBERS, first_row="12", rows_from_back=True), ["14", "13", "12"]),
        (Numbering(rows_from_back=True), ["C", "B", "A"]),
    ],
)
def test_rows_are_named_by_their_scheme(numbering: Numbering, labels: list[str]) -> None:
    assert not numbering.faults()
    assert numbering.row_labels(3) == labels


def test_rows_go_on_with_two_letters_after_the_alphabet() -> None:
    assert Numbering().row_labels(1000)[24:29] == ["Y", "Z", "AA", "AB", "AC"]
    assert len(set(Numbering().row_labels(1000))) == 1000
    without = Numbering(rows=RowScheme.LETTERS_WITHOUT_I_O).row_labels(1000)
    assert without[22:26] == ["Y", "Z", "AA", "AB"]
    assert not any("I" in label or "O" in label for label in without)


@pytest.mark.parametrize(
    ("numbering", "numbers"),
    [
        (Numbering(), [1, 2, 3, 4, 5]),
        (Numbering(first_seat=101), [101, 102, 103, 104, 105]),
        (Numbering(seats_from_right=True), [5, 4, 3, 2, 1]),
        (Numbering(seats=SeatScheme.ODD), [1, 3, 5, 7, 9]),
        (Numbering(seats=SeatScheme.ODD, first_seat=11), [11, 13, 15, 17, 19]),
        (Numbering(seats=SeatScheme.EVEN), [2, 4, 6, 8, 10]),
        (Numbering(seats=SeatScheme.EVEN, first_seat=0), [0, 2, 4, 6, 8]),
        (Numbering(seats=SeatScheme.ODD_LEFT_EVEN_RIGHT), [5, 3, 1, 2, 4]),
        (Numbering(seats=SeatScheme.ODD_LEFT_EVEN_RIGHT, first_seat=101), [105, 103, 101, 102, 104]),
        (Numbering(seats=SeatScheme.ODD_LEFT_EVEN_RIGHT, seats_from_right=True), [4, 2, 1, 3, 5]),
    ],
)
def test_seats_are_numbered_by_their_scheme(numbering: Numbering, numbers: list[int]) -> None:
    assert not numbering.faults()
    assert numbering.seat_numbers(5) == numbers


def test_odd_left_and_even_right_of_an_even_row() -> None:
    assert Numbering(seats=SeatScheme.ODD_LEFT_EVEN_RIGHT).seat_numbers(6) == [5, 3, 1, 2, 4, 6]


@pytest.mark.parametrize(
    ("numbering", "field"),
    [
        (Numbering(first_row="1"), "first_row"),
        (Numbering(first_row="AAAA"), "first_row"),
        (Numbering(first_row="Ä"), "first_row"),
        (Numbering(rows=RowScheme.LETTERS_WITHOUT_I_O, first_row="I"), "first_row"),
        (Numbering(rows=RowScheme.NUMBERS, first_row="A"), "first_row"),
        (Numbering(rows=RowScheme.NUMBERS, first_row="01"), "first_row"),
        (Numbering(rows=RowScheme.NUMBERS, first_row="٣"), "first_row"),
        (Numbering(first_seat=-1), "first_seat"),
        (Numbering(first_seat=100_001), "first_seat"),
        (Numbering(seats=SeatScheme.ODD, first_seat=2), "first_seat"),
        (Numbering(seats=SeatScheme.EVEN, first_seat=1), "first_seat"),
        (Numbering(seats=SeatScheme.ODD_LEFT_EVEN_RIGHT, first_seat=4), "first_seat"),
    ],
)
def test_a_first_label_that_does_not_fit_its_scheme_is_a_fault(numbering: Numbering, field: str) -> None:
    assert [name for name, _ in numbering.faults()] == [field]
