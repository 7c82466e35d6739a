"""An event with all that its controls are made of, as one transaction sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.events.domain.events import Event
    from holdfast.events.domain.organizations import Organization
    from holdfast.events.domain.schedules import Schedule
    from holdfast.events.domain.venues import Venue


@dataclass(frozen=True, slots=True)
class Scene:
    """An event, its organization, its venue and all its dates in the order of their start."""

    event: Event
    organization: Organization
    venue: Venue
    schedules: tuple[Schedule, ...]
