"""Sets of seats as integers and as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.capacity.domain import bitmaps

SEATS = st.sets(st.integers(0, 50_000), max_size=200)


@settings(max_examples=100, deadline=None)
@given(seats=SEATS, more=SEATS)
def test_a_set_is_what_was_put_in(seats: set[int], more: set[int]) -> None:
    mask = bitmaps.mask_of(seats)
    assert bitmaps.indexes_of(mask) == sorted(seats)
    assert bitmaps.indexes_of(bitmaps.with_set(mask, more)) == sorted(seats | more)
    assert bitmaps.indexes_of(bitmaps.with_cleared(mask, more)) == sorted(seats - more)
    assert bitmaps.lowest(mask) == min(seats, default=-1)
    assert bitmaps.from_bytes(bitmaps.to_bytes(mask, 50_001), 50_001) == mask


def test_bytes_have_the_lowest_bit_first_and_a_length_of_their_own() -> None:
    assert bitmaps.to_bytes(0b1_0000_0011, 17) == b"\x03\x01\x00"
    assert bitmaps.from_bytes(b"\x03\x01\x00", 17) == 0b1_0000_0011


def test_seats_beyond_the_section_are_refused() -> None:
    with pytest.raises(ValueError, match="beyond the 10"):
        bitmaps.to_bytes(1 << 10, 10)
    with pytest.raises(ValueError, match="beyond the 10"):
        bitmaps.from_bytes(b"\x00\x04", 10)
    with pytest.raises(ValueError, match="3 bytes do not hold 10 seats"):
        bitmaps.from_bytes(b"\x00\x00\x00", 10)
    with pytest.raises(ValueError, match="never negative"):
        bitmaps.mask_of([3, -1])
