"""The tables of the schema `pricing`, as SQLAlchemy sees them; migrations make them."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Integer, MetaData, Table, Text

SCHEMA: Final = "pricing"
METADATA: Final = MetaData(schema=SCHEMA)
_TIME: Final = DateTime(timezone=True)


def _terms() -> tuple[Column[Any], ...]:
    """Give the columns of terms, named as the fields of the domain's PriceTerms."""
    return (
        Column("schedule_id", Text),
        Column("section_id", Text),
        Column("name", Text, nullable=False),
        Column("description", Text),
        Column("tier", Text),
        Column("currency_code", Text, nullable=False),
        Column("base_price", BigInteger, nullable=False),
        Column("service_fee", BigInteger, nullable=False),
        Column("facility_fee", BigInteger, nullable=False),
        Column("tax_rate_basis_points", Integer, nullable=False),
        Column("tax_inclusive", Boolean, nullable=False),
        Column("is_dynamic", Boolean, nullable=False),
        Column("min_price", BigInteger),
        Column("max_price", BigInteger),
        Column("current_price", BigInteger),
        Column("early_bird_price", BigInteger),
        Column("early_bird_end_time", _TIME),
        Column("last_minute_price", BigInteger),
        Column("last_minute_start_time", _TIME),
        Column("group_size_min", Integer),
        Column("group_discount_basis_points", Integer),
        Column("sales_start_time", _TIME),
        Column("sales_end_time", _TIME),
        Column("max_per_order", Integer),
        Column("max_per_customer", Integer),
        Column("active", Boolean, nullable=False),
        Column("visible", Boolean, nullable=False),
        Column("display_order", Integer, nullable=False),
    )


price_tiers: Final = Table(
    "price_tiers",
    METADATA,
    Column("organization_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("event_id", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("create_time", _TIME, nullable=False),
    Column("update_time", _TIME, nullable=False),
    Column("delete_time", _TIME),
    *_terms(),
)
"""The current version of each tier."""

price_tier_versions: Final = Table(
    "price_tier_versions",
    METADATA,
    Column("organization_id", Text, primary_key=True),
    Column("price_tier_id", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("event_id", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("occur_time", _TIME, nullable=False),
    *_terms(),
)
"""Every version there ever was, with who made it; rows are added and never change."""
