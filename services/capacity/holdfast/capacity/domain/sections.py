"""Sections and their counters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from holdfast.common.errors import DomainError, Reason, invalid

if TYPE_CHECKING:
    from datetime import datetime

PER_ORDER_MAX: Final = 1000


class SectionKind(StrEnum):
    """How places are told apart."""

    GENERAL = "GENERAL"
    SEATED = "SEATED"


class Crossing(StrEnum):
    """A line that sold places cross; the order is that of getting fuller."""

    CAPACITY_WARNING = "CAPACITY_WARNING"
    CAPACITY_CRITICAL = "CAPACITY_CRITICAL"
    SOLD_OUT = "SOLD_OUT"
    REOPENED = "REOPENED"


@dataclass(slots=True)
class Counters:
    """How places are distributed; none is ever negative, nor is `available`.

    The counters of an inventory under its lock change in place; `buffer` is a part of `blocked`.
    """

    total: int = 0
    held: int = 0
    pending: int = 0
    sold: int = 0
    blocked: int = 0
    buffer: int = 0

    @property
    def committed(self) -> int:
        """What is claimed or out of sale."""
        return self.held + self.pending + self.sold + self.blocked

    @property
    def available(self) -> int:
        """What is left."""
        return self.total - self.committed

    def plus(self, other: Counters) -> Counters:
        """Add up."""
        return Counters(
            total=self.total + other.total,
            held=self.held + other.held,
            pending=self.pending + other.pending,
            sold=self.sold + other.sold,
            blocked=self.blocked + other.blocked,
            buffer=self.buffer + other.buffer,
        )


@dataclass(frozen=True, slots=True)
class Section:
    """An admission area of an event. `schedule_id` None = event-wide; `crossed` are the lines it is beyond.

    `layout_revision` counts the changes of a seated section's layout.
    """

    section_id: str
    event_id: str
    schedule_id: str | None
    name: str
    counters: Counters
    create_time: datetime
    update_time: datetime
    code: str | None = None
    subsection: int | None = None
    kind: SectionKind = SectionKind.GENERAL
    tier: str | None = None
    min_per_order: int = 1
    max_per_order: int | None = None
    active: bool = True
    visible: bool = True
    revision: int = 1
    crossed: frozenset[Crossing] = frozenset()
    layout_revision: int = 0
    delete_time: datetime | None = None

    @property
    def seated(self) -> bool:
        """Whether its places are seats."""
        return self.kind is SectionKind.SEATED

    @property
    def deleted(self) -> bool:
        """Whether it is there for the journal and for returned sales only."""
        return self.delete_time is not None

    @property
    def etag(self) -> str:
        """Changes with every change of the settings."""
        return str(self.revision)

    def checked(self, field: str = "section") -> Section:
        """Give the section if its settings agree; VALIDATION_FAILED or CAPACITY_COMMITTED otherwise."""
        if self.max_per_order is not None and self.max_per_order < self.min_per_order:
            raise invalid(f"{field}.max_per_order", "must not be below min_per_order")
        if self.counters.available < 0:
            raise DomainError(
                Reason.CAPACITY_COMMITTED,
                "the total would fall below what is held, pending, sold and blocked",
                metadata={"section_id": self.section_id, "committed": str(self.counters.committed)},
            )
        return self


def crossings(counters: Counters, before: frozenset[Crossing]) -> tuple[tuple[Crossing, ...], frozenset[Crossing]]:
    """Tell which lines a commit crossed, and which it is beyond now.

    80 % and 95 % of sold ÷ (total - blocked); sold out when nothing is available, held or pending. Each once for each
    crossing: a line counts again only after the section was below it. What was never sold is not sold out, even if all
    of it is blocked; what was stays sold out until something is free again.
    """
    sellable = counters.total - counters.blocked
    beyond: set[Crossing] = set()
    if sellable > 0:
        if counters.sold * 100 >= sellable * 80:
            beyond.add(Crossing.CAPACITY_WARNING)
        if counters.sold * 100 >= sellable * 95:
            beyond.add(Crossing.CAPACITY_CRITICAL)
    gone = counters.available + counters.held + counters.pending == 0
    if gone and (counters.sold > 0 or Crossing.SOLD_OUT in before):
        beyond.add(Crossing.SOLD_OUT)
    crossed = [each for each in Crossing if each in beyond and each not in before]
    if Crossing.SOLD_OUT in before and Crossing.SOLD_OUT not in beyond:
        crossed.append(Crossing.REOPENED)
    return tuple(crossed), frozenset(beyond)
