"""Best available once more, seat by seat and without a trick: what the quick one is held against."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from holdfast.capacity.domain.seat_rows import seats_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from holdfast.capacity.domain.best_available import Wish
    from holdfast.capacity.domain.layouts import Layout
    from holdfast.capacity.domain.seat_rows import Seat

Group = tuple[int, ...]


@dataclass(frozen=True)
class Room:
    """A layout spelled out: each seat with the number of its row, by index."""

    layout: Layout
    seats: list[tuple[int, Seat]]
    linked: dict[int, list[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, layout: Layout) -> Room:
        return cls(layout, [(number, seat) for number, row in enumerate(layout.rows) for seat in seats_of(row)])

    def __post_init__(self) -> None:
        for index, (left, right) in enumerate(pairwise(self.seats)):
            if left[0] == right[0] and left[1].place + 1 == right[1].place:
                self.linked.setdefault(index, []).append(index + 1)
                self.linked.setdefault(index + 1, []).append(index)

    def neighbours(self, index: int) -> list[int]:
        return self.linked.get(index, [])

    def groups(self, seats: set[int], size: int) -> list[Group]:
        found = []
        for start in range(len(self.seats) - size + 1):
            group = tuple(range(start, start + size))
            linked = all(right in self.neighbours(left) for left, right in pairwise(group))
            if linked and all(index in seats for index in group):
                found.append(group)
        return found

    def is_ordinary(self, index: int) -> bool:
        attributes = self.seats[index][1].attributes
        return not attributes.wheelchair and not attributes.companion

    def wheelchairs(self, group: Iterable[int]) -> int:
        return sum(self.seats[index][1].attributes.wheelchair for index in group)

    def companions(self, group: Iterable[int]) -> int:
        return sum(self.seats[index][1].attributes.companion for index in group)

    def led(self, companion: int, within: Iterable[int]) -> bool:
        """Whether one gets from a companion seat over companion seats to a wheelchair place, all of them `within`."""
        inside = set(within)
        for step in (-1, 1):
            here = companion
            while self.seats[here][1].attributes.companion and here + step in inside:
                if here + step not in self.neighbours(here):
                    break
                here += step
                if self.seats[here][1].attributes.wheelchair:
                    return True
        return False

    def beside_wheelchair(self, group: Group) -> int:
        return sum(
            1
            for index in group
            if self.seats[index][1].attributes.companion
            and any(other in group and self.seats[other][1].attributes.wheelchair for other in self.neighbours(index))
        )

    def left_alone(self, group: Group, free: set[int]) -> int:
        """How many free ordinary seats lose their last free ordinary neighbour to a group."""
        pool = {index for index in free if self.is_ordinary(index)}
        return sum(
            1
            for index in pool.difference(group)
            if any(other in pool for other in self.neighbours(index))
            and not any(other in pool and other not in group for other in self.neighbours(index))
        )

    def distance(self, group: Group) -> float:
        """Squared, from the group's middle to the focal point, or to the middle of its row."""
        row = self.seats[group[0]][0]
        middle = (self.seats[group[0]][1].place + self.seats[group[-1]][1].place) / 2
        focal = self.layout.focal_point
        if focal is None:
            of_row = [seat.place for number, seat in self.seats if number == row]
            return (middle - (of_row[0] + of_row[-1]) / 2) ** 2
        return (middle - focal.place) ** 2 + (row + 1 - focal.row) ** 2


def reference(layout: Layout, taken: set[int], wish: Wish) -> list[Group] | None:
    """Give the groups that the rules choose, None if there are none."""
    room = Room.of(layout)
    free = set(range(len(room.seats))) - taken
    allowed = {index for index in free if _may_be_taken(room.seats[index][1], wish)}
    whole = [
        group
        for group in room.groups(allowed, wish.quantity)
        if room.wheelchairs(group) == wish.wheelchairs and _companions_are_led(room, group)
    ]
    if whole:
        return [_best(room, whole, free, [])]
    return _divided(room, wish, free, allowed) if wish.allow_split else None


def adjacent_max(layout: Layout, taken: set[int], wish: Wish) -> int:
    """Give how many seats are side by side that a wish may take."""
    room = Room.of(layout)
    allowed = {index for index in set(range(len(room.seats))) - taken if _may_be_taken(room.seats[index][1], wish)}
    usable = {index for index in allowed if not room.seats[index][1].attributes.companion or room.led(index, allowed)}
    return max((size for size in range(1, len(room.seats) + 1) if room.groups(usable, size)), default=0)


def _may_be_taken(seat: Seat, wish: Wish) -> bool:
    attributes = seat.attributes
    return (
        (not wish.category or attributes.category == wish.category)
        and (wish.restricted_view_allowed or not attributes.restricted_view)
        and (wish.wheelchairs > 0 or not (attributes.wheelchair or attributes.companion))
    )


def _companions_are_led(room: Room, group: Group) -> bool:
    return all(room.led(index, group) for index in group if room.seats[index][1].attributes.companion)


def _least(groups: Sequence[Group], key: Callable[[Group], object]) -> list[Group]:
    keys = [key(group) for group in groups]
    least = min(keys)  # type: ignore[type-var]  # numbers and tuples of them
    return [group for group, value in zip(groups, keys, strict=True) if value == least]


def _best(room: Room, groups: list[Group], free: set[int], chosen: list[Group]) -> Group:
    groups = _least(groups, lambda group: sum(room.seats[index][1].attributes.restricted_view for index in group))
    groups = _least(groups, lambda group: -room.beside_wheelchair(group))
    groups = _least(groups, room.companions)
    before = {index for group in chosen for index in group}
    groups = _least(groups, lambda group: not any(other in before for end in group for other in room.neighbours(end)))
    elected = []
    for row in sorted({room.seats[group[0]][0] for group in groups}):
        of_row = [group for group in groups if room.seats[group[0]][0] == row]
        of_row = _least(of_row, lambda group: room.left_alone(group, free))
        elected.append(_least(of_row, room.distance)[0])
    if room.layout.focal_point is None:
        return elected[0]
    return _least(elected, room.distance)[0]


def _divided(room: Room, wish: Wish, free: set[int], allowed: set[int]) -> list[Group] | None:
    chosen: list[Group] = []
    free, allowed = set(free), set(allowed)
    wheelchairs, missing = wish.wheelchairs, wish.quantity
    while missing:
        groups: list[Group] = []
        for size in range(missing, 0, -1):
            if wheelchairs:
                pool = {index for index in allowed if not room.is_ordinary(index)}
                groups = [
                    group
                    for group in room.groups(pool, size)
                    if 1 <= room.wheelchairs(group) <= wheelchairs
                    and room.companions(group) <= missing - wheelchairs
                    and _companions_are_led(room, group)
                ]
            else:
                groups = room.groups({index for index in allowed if room.is_ordinary(index)}, size)
            if groups:
                break
        if not groups:
            return None
        best = _best(room, groups, free, chosen if wish.wheelchairs and not wheelchairs else [])
        chosen.append(best)
        missing -= len(best)
        wheelchairs -= room.wheelchairs(best)
        free.difference_update(best)
        allowed.difference_update(best)
    return chosen
