"""Parts of the lines of holds and sales: what a request names of them, and what of a sale is gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.seats import seat_names
from holdfast.common.errors import DomainError, Reason, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.capacity.domain.holds import Line


@dataclass(frozen=True, slots=True)
class Part:
    """So many places of a line; `seats` are their indexes in a seated section, in order."""

    quantity: int = 0
    seats: tuple[int, ...] = ()

    def plus(self, other: Part) -> Part:
        """Add up."""
        return Part(self.quantity + other.quantity, tuple(sorted((*self.seats, *other.seats))))


NOTHING: Final = Part()


@dataclass(frozen=True, slots=True)
class PartRequest:
    """A part asked for: `quantity` places, the seats of `labels`, or, with neither, all that are left of the line.

    `field` is where the request names it: `lines[1]`.
    """

    number: int
    quantity: int | None = None
    labels: tuple[str, ...] = ()
    field: str = ""


def find_parts(
    lines: Sequence[Line], wanted: Sequence[PartRequest], *, gone: Mapping[int, Part]
) -> list[tuple[Line, Part]]:
    """Give the lines and parts that a request names, in the lines' order. `gone` is by number what is not left of them.

    Raises VALIDATION_FAILED for a line that is named twice, or not as its places are told apart; LINE_EXCEEDED for more
    than is left, and for lines that there are not.
    """
    by_number = {line.number: line for line in lines}
    found: dict[int, tuple[Line, Part]] = {}
    for each in wanted:
        if each.number in found:
            raise invalid(f"{each.field}.number", "names a line twice")
        line = by_number.get(each.number)
        if line is None:
            raise _exceeded(each, 0)
        found[each.number] = (line, _part(line, each, gone.get(each.number, NOTHING)))
    return [found[number] for number in sorted(found)]


def _part(line: Line, wanted: PartRequest, gone: Part) -> Part:
    left = line.quantity - gone.quantity
    if wanted.labels:
        if not line.seats:
            raise invalid(f"{wanted.field}.seats", "the line has no seats: say how many places")
        absent = set(gone.seats)
        index_of = {label: seat for seat, label in zip(line.seats, line.labels, strict=True) if seat not in absent}
        missing = [label for label in wanted.labels if label not in index_of]
        if missing:
            raise _exceeded(wanted, left, missing)
        return Part(len(wanted.labels), tuple(sorted(index_of[label] for label in wanted.labels)))
    if wanted.quantity is not None:
        if line.seats:
            raise invalid(f"{wanted.field}.quantity", "the line has seats: name them")
        if wanted.quantity > left:
            raise _exceeded(wanted, left)
        return Part(wanted.quantity)
    if not left:
        raise _exceeded(wanted, 0)
    absent = set(gone.seats)
    return Part(left, tuple(sorted(seat for seat in line.seats if seat not in absent)))


def _exceeded(wanted: PartRequest, left: int, labels: Sequence[str] = ()) -> DomainError:
    metadata = {"line": str(wanted.number), "remaining": str(left)}
    if labels:
        metadata["seats"] = seat_names(labels)
    return DomainError(Reason.LINE_EXCEEDED, "the line has fewer places left, or other seats", metadata=metadata)
