from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.pricing.domain.rates import divide_half_up, parse_percent, parse_rate, percent_string, rate_string


@pytest.mark.parametrize(
    ("text", "basis_points"),
    [("0", 0), ("1", 10_000), ("0.0875", 875), ("0.1", 1000), ("1.0000", 10_000), ("0.00", 0)],
)
def test_rates_are_read_exactly(text: str, basis_points: int) -> None:
    assert parse_rate(text) == basis_points


@pytest.mark.parametrize("text", ["", "1.1", "2", "-0.1", "0.00001", ".5", "1e-2", "0,1", "NaN", "\u0660", "0.1 "])
def test_what_is_no_rate_is_not_read(text: str) -> None:
    assert parse_rate(text) is None


@pytest.mark.parametrize(("text", "basis_points"), [("15", 1500), ("100", 10_000), ("12.5", 1250), ("0.01", 1)])
def test_percentages_are_read_exactly(text: str, basis_points: int) -> None:
    assert parse_percent(text) == basis_points


@pytest.mark.parametrize("text", ["100.01", "101", "1.234", "-1", "ten"])
def test_what_is_no_percentage_is_not_read(text: str) -> None:
    assert parse_percent(text) is None


@given(st.integers(min_value=0, max_value=10_000))
def test_what_is_written_is_read_back(basis_points: int) -> None:
    assert parse_rate(rate_string(basis_points)) == basis_points
    assert parse_percent(percent_string(basis_points)) == basis_points


@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"), [(1, 2, 1), (3, 2, 2), (1, 3, 0), (2, 3, 1), (0, 7, 0)]
)
def test_halves_go_up(numerator: int, denominator: int, expected: int) -> None:
    assert divide_half_up(numerator, denominator) == expected
