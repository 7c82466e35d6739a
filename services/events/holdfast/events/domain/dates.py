"""Rules of dates: order, lead time, zones, sales windows. Times are aware datetimes; `now` is passed in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from holdfast.events.domain.organizations import Organization


@dataclass(frozen=True, slots=True)
class DateRules:
    """What an organization asks of the dates of its events."""

    lead_minutes_min: int
    lead_days_max: int
    default_event_minutes: int

    @classmethod
    def of(cls, organization: Organization) -> DateRules:
        """Take the rules from an organization's settings."""
        return cls(
            lead_minutes_min=organization.event_lead_minutes_min,
            lead_days_max=organization.event_lead_days_max,
            default_event_minutes=organization.default_event_minutes,
        )

    @property
    def default_length(self) -> timedelta:
        """How long a date is that names no end."""
        return timedelta(minutes=self.default_event_minutes)


@dataclass(frozen=True, slots=True)
class Times:
    """The times of one date, checked and complete."""

    start_time: datetime
    end_time: datetime
    doors_time: datetime | None
    check_in_open_time: datetime | None
    check_in_close_time: datetime | None


def broken(rule: str, now: datetime) -> DomainError:
    """Give the INVALID_DATE_RANGE error of a rule."""
    return DomainError(
        Reason.INVALID_DATE_RANGE,
        f"dates break the rule {rule}",
        metadata={"rule": rule, "now": instant(now)},
    )


def instant(moment: datetime) -> str:
    """Write a time as RFC 3339 in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def check_zone(name: str) -> str:
    """Give back the name of an IANA zone, or UNKNOWN_TIME_ZONE.

    Names are looked up in the list of zones, not opened as files: `posixrules` or `../x` are no zones.
    """
    if name not in _zones():
        raise DomainError(
            Reason.UNKNOWN_TIME_ZONE, "not a name of the IANA time zone database", metadata={"time_zone": name}
        )
    return name


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def utc_offset_minutes(moment: datetime, zone: str) -> int:
    """Give the minutes east of UTC that a zone has at a time; 0 for a zone that left the database since."""
    try:
        offset = moment.astimezone(_zone(zone)).utcoffset()
    except (ZoneInfoNotFoundError, ValueError):
        return 0
    return int((offset or timedelta()).total_seconds() // 60)


def complete_times(  # noqa: PLR0913 - what a request says, by name
    *,
    start_time: datetime,
    end_time: datetime | None,
    doors_time: datetime | None,
    check_in_open_time: datetime | None,
    check_in_close_time: datetime | None,
    rules: DateRules,
    default_doors_minutes: int | None,
    now: datetime,
) -> Times:
    """Fill in a missing end and missing doors, and check the order. The lead time is `check_lead`'s."""
    end = end_time if end_time is not None else start_time + rules.default_length
    if doors_time is None and default_doors_minutes is not None:
        doors_time = start_time - timedelta(minutes=default_doors_minutes)
    times = Times(
        start_time=start_time,
        end_time=end,
        doors_time=doors_time,
        check_in_open_time=check_in_open_time,
        check_in_close_time=check_in_close_time,
    )
    check_order(times, now=now)
    return times


def check_order(times: Times, *, now: datetime) -> None:
    """Refuse an end not after its start, doors after the start, a check-in that closes before it opens."""
    if times.end_time <= times.start_time:
        raise broken("end_time > start_time", now)
    if times.doors_time is not None and times.doors_time > times.start_time:
        raise broken("doors_time <= start_time", now)
    opens, closes = times.check_in_open_time, times.check_in_close_time
    if opens is not None and closes is not None and closes <= opens:
        raise broken("check_in_close_time > check_in_open_time", now)


def check_lead(start_time: datetime, *, rules: DateRules, now: datetime) -> None:
    """Refuse a start that is too soon or too far ahead for the organization; both bounds are inclusive."""
    if start_time < now + timedelta(minutes=rules.lead_minutes_min):
        raise broken(f"start_time >= now + {rules.lead_minutes_min} min", now)
    if start_time > now + timedelta(days=rules.lead_days_max):
        raise broken(f"start_time <= now + {rules.lead_days_max} d", now)


def check_sales_window(
    *, sales_start_time: datetime | None, sales_end_time: datetime | None, last_end: datetime | None, now: datetime
) -> None:
    """Refuse a window that closes before it opens, or after the event is over. Missing bounds are open."""
    if sales_end_time is None:
        return
    if sales_start_time is not None and sales_end_time <= sales_start_time:
        raise broken("sales_end_time > sales_start_time", now)
    if last_end is not None and sales_end_time > last_end:
        raise broken("sales_end_time <= end_time of the last date", now)
