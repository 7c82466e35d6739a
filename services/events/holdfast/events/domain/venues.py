"""A place where events happen, or the lack of one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from holdfast.common.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


class VenueKind(StrEnum):
    """What kind of place; the names of `Venue.Kind`."""

    PHYSICAL = "PHYSICAL"
    VIRTUAL = "VIRTUAL"


@dataclass(frozen=True, slots=True)
class Address:
    """A postal address; empty strings where a part is not known."""

    lines: tuple[str, ...] = ()
    city: str = ""
    region: str = ""
    postal_code: str = ""
    country_code: str = ""


@dataclass(frozen=True, slots=True)
class Gate:
    """A door where tickets are scanned; `id` is unique in the venue."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Venue:
    """A venue. `max_capacity` bounds the sections of one event and date."""

    id: str
    organization_id: str
    name: str
    slug: str
    kind: VenueKind
    time_zone: str
    address: Address | None
    max_capacity: int
    access_rules: str | None
    default_doors_minutes: int | None
    gates: tuple[Gate, ...]
    version: int
    create_time: datetime
    update_time: datetime
    delete_time: datetime | None

    @property
    def etag(self) -> str:
        """Changes with every change."""
        return str(self.version)


def check_gates(gates: Sequence[Gate]) -> None:
    """Refuse two gates of one id."""
    seen: set[str] = set()
    for index, gate in enumerate(gates):
        if gate.id in seen:
            raise invalid(f"venue.gates[{index}].id", f"the venue has a gate {gate.id!r} already")
        seen.add(gate.id)
