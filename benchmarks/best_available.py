"""What a decision of best available costs: `.venv/bin/python benchmarks/best_available.py`.

Microseconds a decision, the best of interleaved rounds, over the same random maps: other work on the machine only ever
adds time.
"""

from __future__ import annotations

import random
import time
from dataclasses import replace

from holdfast.capacity.domain import bitmaps
from holdfast.capacity.domain.best_available import Wish, choose
from holdfast.capacity.domain.layouts import FocalPoint, Layout
from holdfast.capacity.domain.seating import grid

ROUNDS = 15
MAPS = 50
SIZES = ((25, 20), (100, 50), (1000, 50))
TAKEN = (0.0, 0.5, 0.9)
WISHES = (Wish(2), Wish(4), Wish(4, allow_split=True))


def maps(size: int, share: float) -> list[int]:
    """Give sets of taken seats, each seat taken with the same odds; the same ones each time."""
    rng = random.Random(size)  # noqa: S311 (a seed that reproduces the maps)
    return [bitmaps.mask_of([seat for seat in range(size) if rng.random() < share]) for _ in range(MAPS)]


def seconds(layout: Layout, taken: list[int], wish: Wish) -> float:
    """Give what one round over all maps takes."""
    start = time.perf_counter()
    for mask in taken:
        choose(layout, taken=mask, wish=wish)
    return time.perf_counter() - start


def main() -> None:
    """Measure every case and print it."""
    cases = [
        (layout, share, maps(layout.size, share), wish)
        for rows, cols in SIZES
        for layout in (grid(rows, cols), replace(grid(rows, cols), focal_point=FocalPoint(rows // 3, cols // 2)))
        for share in TAKEN
        for wish in WISHES
    ]
    best = [float("inf")] * len(cases)
    for _ in range(ROUNDS):
        for number, (layout, _share, taken, wish) in enumerate(cases):
            best[number] = min(best[number], seconds(layout, taken, wish))
    print(f"{'seats':>6} {'focal':>6} {'taken':>6} {'wish':>8} {'µs':>7}")
    for (layout, share, _taken, wish), least in zip(cases, best, strict=True):
        focal = "yes" if layout.focal_point else "no"
        name = f"{wish.quantity} split" if wish.allow_split else str(wish.quantity)
        print(f"{layout.size:>6} {focal:>6} {share:>6.0%} {name:>8} {least / MAPS * 1e6:>7.1f}")


if __name__ == "__main__":
    main()
