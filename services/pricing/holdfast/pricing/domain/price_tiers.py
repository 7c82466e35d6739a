"""A price tier: a named price of an event, and the terms under which it is in force."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTerms:
    """What an organizer decides about a tier.

    Every amount is in whole minor units of `currency_code`; rates and percentages are in basis points. The
    values belong together as `terms.py` checks on every write, so that a price can always be computed.
    """

    schedule_id: str | None = None
    section_id: str | None = None
    name: str
    description: str | None = None
    tier: str | None = None
    currency_code: str
    base_price: int
    service_fee: int = 0
    facility_fee: int = 0
    tax_rate_basis_points: int = 0
    tax_inclusive: bool = False
    is_dynamic: bool = False
    min_price: int | None = None
    max_price: int | None = None
    current_price: int | None = None
    """Present exactly when the tier is dynamic."""
    early_bird_price: int | None = None
    early_bird_end_time: datetime | None = None
    last_minute_price: int | None = None
    last_minute_start_time: datetime | None = None
    group_size_min: int | None = None
    group_discount_basis_points: int | None = None
    sales_start_time: datetime | None = None
    sales_end_time: datetime | None = None
    max_per_order: int | None = None
    max_per_customer: int | None = None
    active: bool = True
    visible: bool = True
    display_order: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTier:
    """A version of a price tier. Versions count from 1 without gaps; holds keep the one that they locked."""

    id: str
    organization_id: str
    event_id: str
    terms: PriceTerms
    version: int
    create_time: datetime
    update_time: datetime
    delete_time: datetime | None = None

    @property
    def etag(self) -> str:
        """Give what changes with every change."""
        return str(self.version)


@dataclass(frozen=True, slots=True)
class TierVersion:
    """What one version of a tier says. It never changes, so whoever has read it may keep it."""

    organization_id: str
    price_tier_id: str
    event_id: str
    version: int
    terms: PriceTerms
