"""Percentiles are values that were measured."""

from __future__ import annotations

import pytest

from benchmarks.percentiles import percentile


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1.0), (1, 1.0), (50, 50.0), (98.5, 99.0), (99, 99.0), (100, 100.0)]
)
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(percent: float, expected: float) -> None:
    assert percentile([float(value) for value in range(1, 101)], percent) == expected


def test_a_single_value_is_every_percentile() -> None:
    assert percentile([7.0], 1) == percentile([7.0], 50) == percentile([7.0], 99) == 7.0


def test_an_empty_sample_has_none() -> None:
    assert percentile([], 99) == 0.0


@pytest.mark.parametrize("percent", [-1, 100.5])
def test_what_is_no_percentile_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile([1.0], percent)
