"""The tables of the schema `events`, as the newest migration leaves them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Integer, MetaData, Numeric, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

SCHEMA: Final = "events"
METADATA: Final = MetaData(schema=SCHEMA)


def _time(name: str, *, nullable: bool = True) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


ORGANIZATIONS: Final = Table(
    "organizations",
    METADATA,
    Column("organization_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("slug", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("currency_code", Text, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("default_event_minutes", Integer, nullable=False),
    Column("hold_ttl_seconds_default", Integer, nullable=False),
    Column("hold_ttl_seconds_max", Integer, nullable=False),
    Column("event_lead_minutes_min", Integer, nullable=False),
    Column("event_lead_days_max", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),
    _time("create_time", nullable=False),
    _time("update_time", nullable=False),
)

VENUES: Final = Table(
    "venues",
    METADATA,
    Column("organization_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("slug", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("address", JSONB(none_as_null=True)),
    Column("max_capacity", Integer, nullable=False),
    Column("access_rules", Text),
    Column("default_doors_minutes", Integer),
    Column("gates", JSONB, nullable=False),
    Column("version", BigInteger, nullable=False),
    _time("create_time", nullable=False),
    _time("update_time", nullable=False),
    _time("delete_time"),
)

EVENTS: Final = Table(
    "events",
    METADATA,
    Column("organization_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("venue_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("slug", Text, nullable=False),
    Column("description", Text),
    Column("short_description", Text),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("visibility", Text, nullable=False),
    Column("is_featured", Boolean, nullable=False),
    Column("priority_score", Integer, nullable=False),
    Column("tags", ARRAY(Text), nullable=False),
    Column("banner_image_url", Text),
    Column("thumbnail_image_url", Text),
    Column("video_url", Text),
    Column("is_virtual", Boolean, nullable=False),
    Column("is_hybrid", Boolean, nullable=False),
    Column("virtual_event_url", Text),
    Column("streaming_platform", Text),
    Column("streaming_config", JSONB(none_as_null=True)),
    Column("age_restriction", Integer),
    Column("dress_code", Text),
    Column("special_requirements", ARRAY(Text), nullable=False),
    Column("accessibility_info", JSONB(none_as_null=True)),
    Column("royalty_percentage", Numeric(5, 2)),
    Column("artist_percentage", Numeric(5, 2)),
    Column("venue_percentage", Numeric(5, 2)),
    Column("cancellation_policy", Text),
    Column("refund_policy", Text),
    Column("cancellation_deadline_hours", Integer, nullable=False),
    Column("meta_title", Text),
    Column("meta_description", Text),
    Column("meta_keywords", ARRAY(Text), nullable=False),
    Column("external_id", Text),
    Column("organizer_id", Text, nullable=False),
    Column("settings", JSONB(none_as_null=True)),
    Column("metadata", JSONB(none_as_null=True)),
    Column("gate_ids", ARRAY(Text), nullable=False),
    _time("sales_start_time"),
    _time("sales_end_time"),
    _time("cancel_time"),
    Column("cancellation_reason", Text),
    Column("initial_capacity", Integer, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("updated_by", Text, nullable=False),
    _time("create_time", nullable=False),
    _time("update_time", nullable=False),
    _time("delete_time"),
    Column("version", BigInteger, nullable=False),
)

SCHEDULES: Final = Table(
    "schedules",
    METADATA,
    Column("organization_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("event_id", Text, nullable=False),
    _time("start_time", nullable=False),
    _time("end_time", nullable=False),
    _time("doors_time"),
    Column("time_zone", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("state_reason", Text),
    Column("capacity_override", Integer),
    _time("check_in_open_time"),
    _time("check_in_close_time"),
    Column("notes", Text),
    Column("version", BigInteger, nullable=False),
    _time("create_time", nullable=False),
    _time("update_time", nullable=False),
)

EVENT_TRANSITIONS: Final = Table(
    "event_transitions",
    METADATA,
    Column("organization_id", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("name", Text, nullable=False),
    Column("from_state", Text, nullable=False),
    Column("to_state", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    _time("create_time", nullable=False),
)

EVENT_FIGURES: Final = Table(
    "event_figures",
    METADATA,
    Column("organization_id", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("capacity", Integer, nullable=False),
    Column("available", Integer, nullable=False),
    Column("sold", Integer, nullable=False),
    Column("sold_out", Boolean, nullable=False),
    Column("inventory_version", BigInteger, nullable=False),
)

DUE_WORK: Final = Table(
    "due_work",
    METADATA,
    Column("organization_id", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    _time("due_time", nullable=False),
    Column("attempt", Integer, nullable=False),
)
