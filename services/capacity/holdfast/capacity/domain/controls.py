"""What capacity knows of an event: its state, its windows, its dates and its limits, at one version."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

HOLD_TTL_SECONDS_DEFAULT: Final = 900
HOLD_TTL_SECONDS_MAX: Final = 3600


class EventState(StrEnum):
    """Where an event stands."""

    DRAFT = "DRAFT"
    REVIEW = "REVIEW"
    APPROVED = "APPROVED"
    PUBLISHED = "PUBLISHED"
    ON_SALE = "ON_SALE"
    SALES_PAUSED = "SALES_PAUSED"
    SOLD_OUT = "SOLD_OUT"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    POSTPONED = "POSTPONED"
    RESCHEDULED = "RESCHEDULED"


class ScheduleState(StrEnum):
    """Where a date of an event stands."""

    SCHEDULED = "SCHEDULED"
    CONFIRMED = "CONFIRMED"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    POSTPONED = "POSTPONED"
    RESCHEDULED = "RESCHEDULED"


OVER: Final = frozenset({ScheduleState.COMPLETED, ScheduleState.CANCELLED})
UPCOMING: Final = frozenset({ScheduleState.SCHEDULED, ScheduleState.CONFIRMED, ScheduleState.RESCHEDULED})
WAITING_FOR_SALES: Final = frozenset({EventState.PUBLISHED, EventState.RESCHEDULED})


@dataclass(frozen=True, slots=True)
class ScheduleControls:
    """A date as capacity knows it. `end_time` None = not known; `capacity_override` None = the venue's maximum."""

    schedule_id: str
    state: ScheduleState
    start_time: datetime
    end_time: datetime | None = None
    capacity_override: int | None = None

    @property
    def live(self) -> bool:
        """Whether the date may still take place."""
        return self.state not in OVER

    def ended(self, at: datetime) -> bool:
        """Whether the date is over at a moment."""
        return self.end_time is not None and self.end_time <= at


@dataclass(frozen=True, slots=True)
class EventControls:
    """An event as capacity knows it. The newest `version` wins; window bounds that are None are open."""

    event_id: str
    organization_id: str
    version: int
    state: EventState
    sales_start_time: datetime | None = None
    sales_end_time: datetime | None = None
    venue_max_capacity: int = 0
    schedules: tuple[ScheduleControls, ...] = ()
    hold_ttl_seconds_default: int = HOLD_TTL_SECONDS_DEFAULT
    hold_ttl_seconds_max: int = HOLD_TTL_SECONDS_MAX
    initial_capacity: int = 0
    deleted: bool = False

    @property
    def begin_time(self) -> datetime | None:
        """When the event begins: its last live date's start; None without live dates."""
        return max((schedule.start_time for schedule in self.schedules if schedule.live), default=None)

    @property
    def sells_at_the_door(self) -> bool:
        """Whether sales explicitly go on after the event began."""
        begin = self.begin_time
        return self.sales_end_time is not None and begin is not None and self.sales_end_time > begin

    def state_at(self, at: datetime) -> EventState:
        """Give the state at a moment: sales that start by themselves have started then, whoever has noticed yet."""
        opens = self.sales_start_time is not None and self.sales_start_time <= at
        return EventState.ON_SALE if self.state in WAITING_FOR_SALES and opens else self.state

    def schedule(self, schedule_id: str) -> ScheduleControls | None:
        """Find a date."""
        return next((each for each in self.schedules if each.schedule_id == schedule_id), None)

    def open_schedules(self, at: datetime) -> tuple[ScheduleControls, ...]:
        """Give the dates that are neither cancelled nor over at a moment."""
        return tuple(each for each in self.schedules if each.live and not each.ended(at))
