"""Percentiles of a sample."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Give the smallest value that `percent` % of an ascending sample do not exceed; 0.0 for an empty sample.

    Nearest rank: what is given was measured, never interpolated. Raises ValueError for a percent outside 0 to 100.
    """
    if not 0 <= percent <= 100:  # noqa: PLR2004 (per cent)
        raise ValueError(f"not a percentile: {percent}")
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
