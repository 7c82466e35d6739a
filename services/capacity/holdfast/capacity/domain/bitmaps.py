"""Sets of seats as integers: bit i stands for the seat of index i.

As bytes the lowest bit of the first byte is seat 0, and the length is fixed by the section's size.
"""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_DIGITS: Final = bytes.maketrans(b"01", b"\x00\x01")


def byte_count(size: int) -> int:
    """Give how many bytes hold the bits of so many seats."""
    return (size + 7) // 8


def to_bytes(mask: int, size: int) -> bytes:
    """Write a set of seats of a section of `size` seats. A seat beyond raises ValueError."""
    _check(mask, size)
    return mask.to_bytes(byte_count(size), "little")


def from_bytes(data: bytes, size: int) -> int:
    """Read what `to_bytes` wrote. Another length than the section's, or a seat beyond it, raises ValueError."""
    if len(data) != byte_count(size):
        raise ValueError(f"{len(data)} bytes do not hold {size} seats")
    mask = int.from_bytes(data, "little")
    _check(mask, size)
    return mask


def _check(mask: int, size: int) -> None:
    if mask < 0 or mask.bit_length() > size:
        raise ValueError(f"a seat beyond the {size} of the section")


def mask_of(indexes: Iterable[int]) -> int:
    """Give the set of some seats; repeated ones count once. A negative index raises ValueError."""
    chosen = indexes if isinstance(indexes, (tuple, list)) else tuple(indexes)
    if not chosen:
        return 0
    if min(chosen) < 0:
        raise ValueError("a seat's index is never negative")
    data = bytearray(max(chosen) // 8 + 1)
    for index in chosen:
        data[index >> 3] |= 1 << (index & 7)
    return int.from_bytes(data, "little")


def indexes_of(mask: int) -> list[int]:
    """Give the indexes of a set's seats, ascending."""
    digits = format(mask, "b").encode()[::-1].translate(_DIGITS)
    return list(compress(range(len(digits)), digits))


def with_set(mask: int, indexes: Iterable[int]) -> int:
    """Give the set with some seats more."""
    return mask | mask_of(indexes)


def with_cleared(mask: int, indexes: Iterable[int]) -> int:
    """Give the set without some seats."""
    return mask & ~mask_of(indexes)


def lowest(mask: int) -> int:
    """Give the lowest index of a set; -1 of the empty one."""
    return (mask & -mask).bit_length() - 1


def first_bits(count: int) -> int:
    """Give the set of the indexes below `count`."""
    return (1 << count) - 1
