"""Best available: which seats a wish gets.

A *group* is a number of seats side by side in one row, without a gap between them, all of them free and such as the
wish may take: of its category; with a restricted view only if it allows that; no wheelchair places and companion
seats unless it asks for wheelchair places. If it does, a group has exactly so many wheelchair places, and of companion
seats only those that lead, over companion seats of the group, to a wheelchair place of the group.

Of all groups of the wanted size the best is taken, which is the first by these rules, each deciding where those
before it leave a tie:

1. the fewest seats with a restricted view;
2. for wheelchair places: the most companion seats directly beside one of the group's wheelchair places, then the
   fewest other companion seats, so that ordinary seats go before them;
3. of the groups of each row only those stand for election that leave the fewest single seats: free ordinary seats
   that had a free ordinary neighbour and have none after it. Of these the one whose middle is nearest to the focal
   point, or without a focal point to the middle of its row, the row's first and last seat being its ends; of two
   equally near ones the left one;
4. of the rows, the one whose elected group's middle is nearest to the focal point, of equally near rows the one
   further in front; without a focal point the row that is furthest in front.

Distances are straight lines on the section's grid: a row counts as much as a place.

If there is no group of the wanted size and the wish may be split, the largest groups are taken, again and again, of
equally large ones the best by the rules above, the last one no larger than what is still missing. With wheelchair
places, those come first, in groups of wheelchair places and companion seats alone, then the ordinary seats; of equally
large groups of these, after rule 1, the ones that touch what is taken already. If that does not add up, nothing is
taken.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from holdfast.capacity.domain import windows
from holdfast.capacity.domain.bitmaps import first_bits, lowest

if TYPE_CHECKING:
    from holdfast.capacity.domain.layouts import Layout


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: `quantity` seats (1 or more), `wheelchairs` of them wheelchair places. No category = any."""

    quantity: int
    wheelchairs: int = 0
    allow_split: bool = False
    restricted_view_allowed: bool = False
    category: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.wheelchairs <= self.quantity or self.quantity < 1:
            raise ValueError("a wish is for one seat at least, and wheelchair places are part of it")


@dataclass(frozen=True, slots=True)
class Choice:
    """The seats that a wish gets: `groups` of adjacent indexes in the order in which they were chosen."""

    groups: tuple[range, ...]

    @property
    def indexes(self) -> tuple[int, ...]:
        """All of them, ascending."""
        return tuple(sorted(index for group in self.groups for index in group))


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a wish gets nothing. All three count only seats that are free and that the wish may take.

    `adjacent_max` is how many of them are side by side at most, `free` how many there are, `wheelchairs_free` how many
    of these are wheelchair places; 0 if none are asked for.
    """

    adjacent_max: int
    free: int
    wheelchairs_free: int = 0


def choose(layout: Layout, *, taken: int, wish: Wish) -> Choice | Shortage:
    """Choose seats by the rules above. `taken` is the set of the section's seats that are not free."""
    search = _Search(layout, taken, wish)
    start = search.whole()
    if start >= 0:
        return Choice((range(start, start + wish.quantity),))
    shortage = search.shortage()
    if wish.allow_split and shortage.free >= wish.quantity and shortage.wheelchairs_free >= wish.wheelchairs:
        groups = search.split()
        if groups:
            return Choice(groups)
    return shortage


@dataclass(slots=True)
class _Nearest:
    """Groups of one size while more and more of them are taken.

    `elected` is a heap of those that stand for their rows: distance, row, first seat. `taken_of` is the row of the one
    that was taken last, which has to elect another.
    """

    starts: int = 0
    elected: list[tuple[int, int, int]] = field(default_factory=list)
    taken_of: int | None = None


class _Search:
    """The free seats of one section, by kind, while one wish is looked for."""

    __slots__ = (
        "_adjacent",
        "_companions",
        "_largest",
        "_largest_starts",
        "_layout",
        "_nearest",
        "_ordinary",
        "_others",
        "_restricted",
        "_size_max",
        "_standing",
        "_starts",
        "_wheelchairs",
        "_wish",
    )

    def __init__(self, layout: Layout, taken: int, wish: Wish) -> None:
        self._wish = wish
        self._layout = layout
        self._starts = layout.row_starts
        self._standing = layout.standing
        self._adjacent = layout.adjacent
        self._restricted = layout.restricted_view if wish.restricted_view_allowed else 0
        self._ordinary = layout.ordinary & ~taken
        """Free ordinary seats, whether or not the wish may take them: the ones that may be left alone."""
        allowed = ~taken
        if wish.category:
            allowed &= layout.categories.get(wish.category, 0)
        if not wish.restricted_view_allowed:
            allowed &= ~layout.restricted_view
        self._others = layout.ordinary & allowed
        self._largest = self._largest_starts = 0
        self._nearest = _Nearest()
        self._size_max = wish.quantity
        self._wheelchairs = self._companions = 0
        if wish.wheelchairs:
            self._wheelchairs = layout.wheelchair & allowed
            self._companions = layout.companion & allowed

    def whole(self) -> int:
        """Give the first seat of the best group of all that is wished for; -1 if there is none."""
        wish = self._wish
        if not wish.wheelchairs:
            return self._best_of(windows.groups(self._others, self._adjacent, wish.quantity), wish.quantity)
        return self._best_accessible(wish.quantity, others=self._others, low=wish.wheelchairs, high=wish.wheelchairs)

    def split(self) -> tuple[range, ...]:
        """Give the groups of a divided wish; none if they do not add up."""
        groups: list[range] = []
        chosen = 0
        wheelchairs, missing = self._wish.wheelchairs, self._wish.quantity
        while missing:
            group = self._next_accessible(wheelchairs, missing) if wheelchairs else self._next_ordinary(chosen, missing)
            if not group:
                return ()
            groups.append(group)
            seats = first_bits(len(group)) << group.start
            chosen |= seats
            missing -= len(group)
            wheelchairs -= (seats & self._wheelchairs).bit_count()
            self._wheelchairs &= ~seats
            self._companions &= ~seats
            self._others &= ~seats
            self._ordinary &= ~seats
        return tuple(groups)

    def shortage(self) -> Shortage:
        """Say what there is instead."""
        wheelchairs = self._wheelchairs
        pool = self._others | wheelchairs | self._led()[0]
        return Shortage(
            adjacent_max=windows.longest(pool, self._adjacent),
            free=pool.bit_count(),
            wheelchairs_free=wheelchairs.bit_count(),
        )

    def _led(self) -> tuple[int, int, int]:
        """Give the companion seats that lead to a wheelchair place; those with it on their left, on their right."""
        if not self._companions:
            return 0, 0, 0
        left, right = windows.reached(self._wheelchairs, self._companions, self._adjacent)
        return left | right, left, right

    def _next_ordinary(self, chosen: int, missing: int) -> range:
        """Give the largest group of ordinary seats, `missing` at most; empty if there is none."""
        if not self._largest_starts:  # of this size all are taken
            self._largest = windows.longest(self._others, self._adjacent)
            if not self._largest:
                return range(0)
            self._largest_starts = windows.groups(self._others, self._adjacent, self._largest)
        size = min(missing, self._largest)
        starts = self._largest_starts
        if size < self._largest:
            starts = windows.groups(self._others, self._adjacent, size)
        if self._wish.wheelchairs:
            starts = self._least_restricted(starts, size)
            beside = (chosen & self._adjacent) << 1 | ((chosen >> 1 & self._adjacent) >> (size - 1))
            starts = starts & beside or starts
        if self._wish.wheelchairs or size < self._largest or self._standing.by_distance is None:
            start = self._best_of(starts, size)
        else:
            start = self._next_nearest(starts, size)
        # The largest groups have no seat in common, or they would be larger: taking one leaves the others.
        self._largest_starts &= ~(1 << start)
        return range(start, start + size)

    def _next_accessible(self, wheelchairs: int, missing: int) -> range:
        """Give the largest group of wheelchair places and companion seats that fits what is missing."""
        pool = self._wheelchairs | self._led()[0]
        # Less is there and less is missing with each group, so none is larger than the one before.
        for size in range(min(missing, self._size_max, windows.longest(pool, self._adjacent)), 0, -1):
            low = max(1, size - (missing - wheelchairs))
            start = self._best_accessible(size, others=0, low=low, high=wheelchairs)
            if start >= 0:
                self._size_max = size
                return range(start, start + size)
        return range(0)

    def _best_accessible(self, size: int, *, others: int, low: int, high: int) -> int:
        """Give the first seat of the best group with `low` to `high` wheelchair places; -1 if there is none."""
        adjacent, wheelchairs = self._adjacent, self._wheelchairs
        led, led_left, led_right = self._led()
        starts = windows.groups(others | wheelchairs | led, adjacent, size)
        if not starts:
            return -1
        starts = windows.between(starts, windows.count_in(wheelchairs, size), low, high)
        # A companion seat inside has its wheelchair place inside too; at an end it must look inwards for it.
        starts &= ~(led & ~led_right) & ~((led & ~led_left) >> (size - 1))
        if not starts:
            return -1
        starts = self._least_restricted(starts, size)
        if led and size > 1:
            from_left = (wheelchairs & adjacent) << 1 & led
            from_right = wheelchairs >> 1 & adjacent & led
            inner = [digit >> 1 for digit in windows.count_in(from_left | from_right, size - 2)]
            ends = windows.add([from_right], [from_left >> (size - 1)])
            starts = windows.most(starts, windows.add(inner, ends))
            starts = windows.fewest(starts, windows.count_in(led, size))
        return self._elect(starts, size)

    def _least_restricted(self, starts: int, size: int) -> int:
        return windows.fewest(starts, windows.count_in(self._restricted, size)) if self._restricted else starts

    def _best_of(self, starts: int, size: int) -> int:
        return self._elect(self._least_restricted(starts, size), size) if starts else -1

    def _elect(self, starts: int, size: int) -> int:
        """Give the first seat of the group that rules 3 and 4 choose; `starts` is not empty."""
        standing = self._standing
        if standing.by_distance is None:
            return self._elected(self._layout.row_number(lowest(starts)), starts, size, None)[0]
        best, best_distance, best_row = -1, 0, 0
        for least, row in standing.by_distance:
            if best >= 0 and least > best_distance:
                break
            if not starts >> self._starts[row] & standing.rows[row].mask:
                continue
            start, distance = self._elected(row, starts, size, standing.focal_place)
            distance += least
            if best < 0 or (distance, row) < (best_distance, best_row):
                best, best_distance, best_row = start, distance, row
        return best

    def _next_nearest(self, starts: int, size: int) -> int:
        """Give what `_best_of` would, asked again and again for groups of one size: only one row is not as before."""
        nearest = self._nearest
        if nearest.taken_of is not None:
            self._stand(nearest.taken_of, size)
        if not nearest.elected:
            nearest.starts = self._least_restricted(starts, size)
            for row in range(len(self._standing.rows)):
                self._stand(row, size)
        _, row, start = heappop(nearest.elected)
        nearest.starts &= ~(1 << start)
        nearest.taken_of = row
        return start

    def _stand(self, row: int, size: int) -> None:
        """Let the group that a row elects stand, if the row has one."""
        nearest, standing = self._nearest, self._standing
        if nearest.starts >> self._starts[row] & standing.rows[row].mask:
            start, distance = self._elected(row, nearest.starts, size, standing.focal_place)
            heappush(nearest.elected, (distance + standing.distances[row], row, start))

    def _elected(self, number: int, starts: int, size: int, focal_place: int | None) -> tuple[int, int]:
        """Give the group that stands for a row, and the square of its doubled distance along the row."""
        first = self._starts[number]
        row = self._standing.rows[number]
        local = starts >> first & row.mask
        ordinary = self._ordinary >> first & row.mask
        pairs = ordinary & ordinary >> 1 & row.adjacent
        left = pairs << 1 & ~(pairs << 2)
        right = (pairs & ~(pairs >> 1)) >> (size - 1)
        local = local & ~(left | right) or local & ~(left & right) or local
        # A group's middle is at place + (size - 1) / 2; everything is doubled to stay whole.
        aim = (row.middle if focal_place is None else focal_place) - size + 1
        split = bisect_right(row.places, aim // 2)
        before, behind = local & first_bits(split), local >> split
        nearest_before = before.bit_length() - 1
        nearest_behind = lowest(behind) + split
        if not behind:
            chosen = nearest_before
        elif not before:
            chosen = nearest_behind
        else:
            nearer = aim - 2 * row.places[nearest_before] <= 2 * row.places[nearest_behind] - aim
            chosen = nearest_before if nearer else nearest_behind
        return first + chosen, (2 * row.places[chosen] - aim) ** 2


def seats_of(choice: Choice) -> int:
    """Give the set of the seats of a choice."""
    mask = 0
    for group in choice.groups:
        mask |= first_bits(len(group)) << group.start
    return mask
