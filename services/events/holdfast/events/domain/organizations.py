"""The customer that owns venues and events, with the settings that its events start from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from holdfast.common.errors import DomainError, Reason, invalid

if TYPE_CHECKING:
    from datetime import datetime


class OrganizationState(StrEnum):
    """Whether it may do business; the names of `Organization.State`."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


DEFAULT_SETTINGS: Final[dict[str, str | int]] = {
    "currency_code": "USD",
    "time_zone": "UTC",
    "default_event_minutes": 180,
    "hold_ttl_seconds_default": 900,
    "hold_ttl_seconds_max": 3600,
    "event_lead_minutes_min": 120,
    "event_lead_days_max": 365,
}
"""What an organization that says nothing gets, and what a cleared setting returns to."""

CONTROL_SETTINGS: Final = frozenset({"hold_ttl_seconds_default", "hold_ttl_seconds_max"})
"""Settings that capacity must learn of through the controls of each live event."""


@dataclass(frozen=True, slots=True)
class Organization:
    """An organization. Durations carry their unit in the name."""

    organization_id: str
    name: str
    slug: str
    state: OrganizationState
    currency_code: str
    time_zone: str
    default_event_minutes: int
    hold_ttl_seconds_default: int
    hold_ttl_seconds_max: int
    event_lead_minutes_min: int
    event_lead_days_max: int
    version: int
    create_time: datetime
    update_time: datetime

    @property
    def etag(self) -> str:
        """Changes with every change."""
        return str(self.version)


def check_settings(organization: Organization) -> None:
    """Refuse settings that contradict each other."""
    if organization.hold_ttl_seconds_max < organization.hold_ttl_seconds_default:
        raise invalid("organization.settings.hold_ttl_seconds_max", "must not be below hold_ttl_seconds_default")
    if organization.event_lead_minutes_min > organization.event_lead_days_max * 24 * 60:
        raise invalid("organization.settings.event_lead_minutes_min", "must not be beyond event_lead_days_max")


def check_in_business(organization: Organization) -> None:
    """Refuse work on behalf of a suspended organization."""
    if organization.state is OrganizationState.SUSPENDED:
        raise DomainError(Reason.ORGANIZATION_SUSPENDED, "the organization is suspended")
