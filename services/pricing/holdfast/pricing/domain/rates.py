"""Rates and percentages as whole basis points: exact, never a float.

One basis point is a ten-thousandth, so that a tax rate with four decimals (`0.0875`) and a percentage with two
(`8.75`) are the same whole number, 875.
"""

from __future__ import annotations

import re
from typing import Final

BASIS_POINTS: Final = 10_000
"""How many basis points make the whole."""

_DECIMAL: Final = re.compile(r"([0-9]{1,3})(?:\.([0-9]{1,4}))?", re.ASCII)


def parse_rate(text: str) -> int | None:
    """Read a rate from `0` to `1` with at most four decimals; None when the text is not one."""
    return _parse(text, decimals=4)


def parse_percent(text: str) -> int | None:
    """Read a percentage from `0` to `100` with at most two decimals; None when the text is not one."""
    return _parse(text, decimals=2)


def rate_string(basis_points: int) -> str:
    """Write a rate as a decimal without idle zeros: 875 is `0.0875`."""
    return _string(basis_points, decimals=4)


def percent_string(basis_points: int) -> str:
    """Write a percentage without idle zeros: 875 is `8.75`."""
    return _string(basis_points, decimals=2)


def divide_half_up(numerator: int, denominator: int) -> int:
    """Divide whole numbers that are not negative and round half up."""
    return (2 * numerator + denominator) // (2 * denominator)


def _parse(text: str, *, decimals: int) -> int | None:
    match = _DECIMAL.fullmatch(text)
    if match is None:
        return None
    fraction = match[2] or ""
    if len(fraction) > decimals:
        return None
    basis_points = int(match[1] + fraction.ljust(decimals, "0"))
    return basis_points if basis_points <= BASIS_POINTS else None


def _string(basis_points: int, *, decimals: int) -> str:
    whole, fraction = divmod(basis_points, 10**decimals)
    digits = f"{fraction:0{decimals}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
