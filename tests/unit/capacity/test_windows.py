"""Groups of adjacent seats by shifting bitmaps, against counting one by one."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.capacity.domain import windows

SIZE = 24
MASKS = st.integers(0, 2**SIZE - 1)
WIDTHS = st.integers(1, 10)


def has(mask: int, index: int) -> bool:
    return bool(mask >> index & 1)


def linked(adjacent: int, start: int, width: int) -> bool:
    return all(has(adjacent, index) for index in range(start, start + width - 1))


@settings(max_examples=300, deadline=None)
@given(seats=MASKS, adjacent=MASKS, width=WIDTHS)
def test_groups_start_where_all_their_seats_are_and_sit_together(seats: int, adjacent: int, width: int) -> None:
    starts = windows.groups(seats, adjacent, width)
    for start in range(SIZE):
        wanted = all(has(seats, index) for index in range(start, start + width)) and linked(adjacent, start, width)
        assert has(starts, start) == wanted


@settings(max_examples=300, deadline=None)
@given(seats=MASKS, adjacent=MASKS)
def test_the_longest_group_is_the_largest_width_that_has_a_start(seats: int, adjacent: int) -> None:
    widths = [width for width in range(1, SIZE + 1) if windows.groups(seats, adjacent, width)]
    assert windows.longest(seats, adjacent) == max(widths, default=0)


@settings(max_examples=300, deadline=None)
@given(seats=MASKS, width=st.integers(0, 12), low=st.integers(-1, 13), high=st.integers(-1, 13))
def test_counts_are_those_of_every_start(seats: int, width: int, low: int, high: int) -> None:
    counts = windows.count_in(seats, width)
    everywhere = 2**SIZE - 1
    by_hand = [sum(has(seats, index) for index in range(start, start + width)) for start in range(SIZE)]
    assert [sum(has(digit, start) << place for place, digit in enumerate(counts)) for start in range(SIZE)] == by_hand
    chosen = windows.between(everywhere, counts, low, high)
    assert [has(chosen, start) for start in range(SIZE)] == [low <= count <= high for count in by_hand]
    least, largest = windows.fewest(everywhere, counts), windows.most(everywhere, counts)
    assert [has(least, start) for start in range(SIZE)] == [count == min(by_hand) for count in by_hand]
    assert [has(largest, start) for start in range(SIZE)] == [count == max(by_hand) for count in by_hand]


@settings(max_examples=300, deadline=None)
@given(sources=MASKS, through=MASKS, adjacent=MASKS)
def test_seats_are_reached_over_seats_of_their_kind_only(sources: int, through: int, adjacent: int) -> None:
    through &= ~sources
    from_left, from_right = windows.reached(sources, through, adjacent)
    for index in range(SIZE):
        left = index
        while left > 0 and has(through, left) and has(adjacent, left - 1):
            left -= 1
        right = index
        while has(through, right) and has(adjacent, right):
            right += 1
        assert has(from_left, index) == (has(through, index) and has(sources, left))
        assert has(from_right, index) == (has(through, index) and has(sources, right))
