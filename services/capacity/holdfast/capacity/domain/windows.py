"""Groups of adjacent seats, found for all places of a section at once by shifting whole bitmaps.

A group of `width` seats is named by its first seat, so a set of groups is again a bitmap: the *starts*. `adjacent`
has bit i set where seat i + 1 sits next to seat i. How many seats of some kind each group has is a list of bitmaps,
one a binary digit, the lowest digit first: digit j of the count of the group that starts at seat i is bit i of
`counts[j]`. Every function takes a number of steps that grows with the logarithm of `width`.
"""

from __future__ import annotations

from typing import TypeAlias

Counts: TypeAlias = list[int]
"""Numbers, one for each start, as bitmaps of their binary digits."""


def groups(seats: int, adjacent: int, width: int) -> int:
    """Give the starts of `width` adjacent seats (1 or more) that are all in `seats`."""
    if width == 1:
        return seats
    starts = seats & (seats >> 1) & adjacent  # of pairs; a group is a row of overlapping pairs
    reach, wanted = 1, width - 1
    while reach < wanted and starts:
        step = min(reach, wanted - reach)
        starts &= starts >> step
        reach += step
    return starts


def longest(seats: int, adjacent: int) -> int:
    """Give how many adjacent seats are in `seats` at most."""
    if not seats:
        return 0
    pairs = seats & (seats >> 1) & adjacent
    doubled: list[int] = []
    while pairs:
        doubled.append(pairs)
        pairs &= pairs >> (1 << (len(doubled) - 1))
    if not doubled:
        return 1
    starts, length = doubled[-1], 1 << (len(doubled) - 1)
    for power in range(len(doubled) - 2, -1, -1):
        longer = starts & (doubled[power] >> length)
        if longer:
            starts, length = longer, length + (1 << power)
    return length + 1


def reached(sources: int, through: int, adjacent: int) -> tuple[int, int]:
    """Give which seats of `through` are reached from a seat of `sources`, stepping over seats of `through` only.

    First those that have the source on their left, then those that have it on their right.
    """
    rightward = (sources & adjacent) << 1 & through
    open_way = through & (adjacent << 1)
    step = 1
    while open_way:
        rightward |= (rightward << step) & open_way
        open_way &= open_way << step
        step *= 2
    leftward = (sources >> 1) & adjacent & through
    open_way = through & adjacent
    step = 1
    while open_way:
        leftward |= (leftward >> step) & open_way
        open_way &= open_way >> step
        step *= 2
    return rightward, leftward


def count_in(seats: int, width: int) -> Counts:
    """Count for each start how many of its `width` seats are in `seats`. Width 0 counts nothing."""
    total: Counts = []
    block, size, offset = [seats], 1, 0
    while size <= width:
        if width & size:
            total = add(total, [digit >> offset for digit in block])
            offset += size
        block = add(block, [digit >> size for digit in block])
        size *= 2
    return total


def add(left: Counts, right: Counts) -> Counts:
    """Add two counts, start by start."""
    if len(left) < len(right):
        left, right = right, left
    result: Counts = []
    carry = 0
    for place, digit in enumerate(left):
        other = right[place] if place < len(right) else 0
        half = digit ^ other
        result.append(half ^ carry)
        carry = (digit & other) | (half & carry)
    if carry:
        result.append(carry)
    return result


def fewest(starts: int, counts: Counts) -> int:
    """Keep the starts whose count is the smallest among them."""
    for digit in reversed(counts):
        starts = starts & ~digit or starts
    return starts


def most(starts: int, counts: Counts) -> int:
    """Keep the starts whose count is the largest among them."""
    for digit in reversed(counts):
        starts = starts & digit or starts
    return starts


def at_most(starts: int, counts: Counts, limit: int) -> int:
    """Keep the starts whose count is not above `limit`."""
    if limit < 0:
        return 0
    if limit >> len(counts):
        return starts
    below, equal = 0, starts
    for place in range(len(counts) - 1, -1, -1):
        digit = counts[place]
        if limit >> place & 1:
            below |= equal & ~digit
            equal &= digit
        else:
            equal &= ~digit
    return below | equal


def between(starts: int, counts: Counts, low: int, high: int) -> int:
    """Keep the starts whose count is from `low` to `high`."""
    return at_most(starts, counts, high) & ~at_most(starts, counts, low - 1)
