"""How rows and seats get their labels where a layout names none."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ALPHABET_WITHOUT_I_O: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_FIRST_SEAT_MAX: Final = 100_000
_LETTERS_MAX: Final = 3
_DIGITS_MAX: Final = 4


class RowScheme(StrEnum):
    """How rows are named, the first row first."""

    LETTERS = "LETTERS"
    LETTERS_WITHOUT_I_O = "LETTERS_WITHOUT_I_O"
    NUMBERS = "NUMBERS"


class SeatScheme(StrEnum):
    """How the seats of a row are named."""

    CONSECUTIVE = "CONSECUTIVE"
    ODD = "ODD"
    EVEN = "EVEN"
    ODD_LEFT_EVEN_RIGHT = "ODD_LEFT_EVEN_RIGHT"


@dataclass(frozen=True, slots=True)
class Numbering:
    """How rows and seats are named. An empty `first_row` and a `first_seat` None are the scheme's first."""

    rows: RowScheme = RowScheme.LETTERS
    first_row: str = ""
    rows_from_back: bool = False
    seats: SeatScheme = SeatScheme.CONSECUTIVE
    first_seat: int | None = None
    seats_from_right: bool = False

    def faults(self) -> list[tuple[str, str]]:
        """Give what is wrong with it: the field and why. Nothing, if it can be used."""
        found: list[tuple[str, str]] = []
        if self.first_row and _row_rank(self.rows, self.first_row) is None:
            found.append(("first_row", f"is not a label of {self.rows.value}"))
        first = self.first_seat
        if first is not None:
            odd = self.seats in (SeatScheme.ODD, SeatScheme.ODD_LEFT_EVEN_RIGHT)
            if not 0 <= first <= _FIRST_SEAT_MAX:
                found.append(("first_seat", f"must be from 0 to {_FIRST_SEAT_MAX}"))
            elif odd and first % 2 == 0:
                found.append(("first_seat", f"must be odd for {self.seats.value}"))
            elif self.seats is SeatScheme.EVEN and first % 2:
                found.append(("first_seat", "must be even for EVEN"))
        return found

    def row_labels(self, count: int) -> list[str]:
        """Name so many rows, the front row first."""
        first = _row_rank(self.rows, self.first_row) if self.first_row else 1
        if first is None:
            raise ValueError(self.first_row)
        labels = [_row_label(self.rows, first + number) for number in range(count)]
        return labels[::-1] if self.rows_from_back else labels

    def seat_numbers(self, count: int) -> list[int]:
        """Give the numbers of so many seats of a row, the leftmost first.

        ODD_LEFT_EVEN_RIGHT goes from the middle outwards: 5 3 1 2 4 6, and of an odd number of seats 5 3 1 2 4.
        From the right the same numbers stand the other way round.
        """
        if self.seats is SeatScheme.ODD_LEFT_EVEN_RIGHT:
            first = 1 if self.first_seat is None else self.first_seat
            left = (count + 1) // 2
            odd = [first + 2 * number for number in range(left)]
            even = [first + 1 + 2 * number for number in range(count - left)]
            numbers = odd[::-1] + even
        else:
            step = 1 if self.seats is SeatScheme.CONSECUTIVE else 2
            lowest = 2 if self.seats is SeatScheme.EVEN else 1
            first = lowest if self.first_seat is None else self.first_seat
            numbers = list(range(first, first + step * count, step))
        return numbers[::-1] if self.seats_from_right else numbers


DEFAULT: Final = Numbering()


def _row_rank(scheme: RowScheme, label: str) -> int | None:
    """Give which label of its scheme this is; A and AA are 1 and 27, a number is itself. None if it is none."""
    if scheme is RowScheme.NUMBERS:
        plain = label.isascii() and label.isdigit() and len(label) <= _DIGITS_MAX and str(int(label)) == label
        return int(label) if plain else None
    alphabet = _alphabet(scheme)
    rank = 0
    for letter in label:
        if letter not in alphabet:
            return None
        rank = rank * len(alphabet) + alphabet.index(letter) + 1
    return rank if len(label) <= _LETTERS_MAX else None


def _row_label(scheme: RowScheme, rank: int) -> str:
    if scheme is RowScheme.NUMBERS:
        return str(rank)
    alphabet = _alphabet(scheme)
    label = ""
    while rank:
        rank, letter = divmod(rank - 1, len(alphabet))
        label = alphabet[letter] + label
    return label


def _alphabet(scheme: RowScheme) -> str:
    return _ALPHABET if scheme is RowScheme.LETTERS else _ALPHABET_WITHOUT_I_O
