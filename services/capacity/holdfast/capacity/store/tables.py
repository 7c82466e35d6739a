"""The capacity schema as SQLAlchemy knows it; the migrations are what makes it."""

from __future__ import annotations

from sqlalchemy import ARRAY, BigInteger, Boolean, Column, DateTime, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(schema="capacity")


def _counters() -> list[Column[int]]:
    return [Column(name, Integer, nullable=False) for name in ("total", "held", "pending", "sold", "blocked")]


event_inventories = Table(
    "event_inventories",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("last_change_time", DateTime(timezone=True), nullable=False),
    Column("controls_version", BigInteger, nullable=False),
    Column("controls", LargeBinary, nullable=False),
    *_counters(),
    Column("crossed", Text, nullable=False),
    Column("live_holds", Integer, nullable=False),
    Column("repaired_version", BigInteger, nullable=False),
)

sections = Table(
    "sections",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("event_id", Text, nullable=False),
    Column("schedule_id", Text),
    Column("name", Text, nullable=False),
    Column("code", Text),
    Column("subsection", Integer),
    Column("kind", Text, nullable=False),
    Column("tier", Text),
    *_counters(),
    Column("buffer", Integer, nullable=False),
    Column("min_per_order", Integer, nullable=False),
    Column("max_per_order", Integer),
    Column("active", Boolean, nullable=False),
    Column("visible", Boolean, nullable=False),
    Column("row_layout", JSONB),
    Column("taken", LargeBinary),
    Column("layout_revision", Integer, nullable=False),
    Column("delete_time", DateTime(timezone=True)),
    Column("crossed", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
)

holds = Table(
    "holds",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("event_id", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("placed_by", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("request_hash", LargeBinary, nullable=False),
    Column("order_reference", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("expire_time", DateTime(timezone=True), nullable=False),
    Column("end_time", DateTime(timezone=True)),
    Column("void_cause", Text),
    Column("sale_id", Text),
    Column("replaces_hold_id", Text),
    Column("payment_time", DateTime(timezone=True)),
    Column("placed_version", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
)


def _line() -> list[Column[object]]:
    return [
        Column("section_id", Text, nullable=False),
        Column("schedule_id", Text),
        Column("quantity", Integer, nullable=False),
        Column("seats", ARRAY(Integer), nullable=False),
        Column("labels", ARRAY(Text), nullable=False),
        Column("block_id", Text),
        Column("price_tier_id", Text),
        Column("price_tier_version", BigInteger),
        Column("currency_code", Text),
        Column("total_minor", BigInteger),
        Column("locked_price", LargeBinary),
    ]


hold_lines = Table(
    "hold_lines",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("hold_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    *_line(),
)

sales = Table(
    "sales",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("event_id", Text, nullable=False),
    Column("hold_id", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("order_reference", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True)),
    Column("placed_version", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
)

sale_lines = Table(
    "sale_lines",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("sale_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    *_line(),
    Column("returned_quantity", Integer, nullable=False),
    Column("returned_seats", ARRAY(Integer), nullable=False),
    Column("exchanged_quantity", Integer, nullable=False),
    Column("exchanged_seats", ARRAY(Integer), nullable=False),
    Column("cancelled", Boolean, nullable=False),
)

sale_returns = Table(
    "sale_returns",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("sale_id", Text, nullable=False),
    Column("return_to", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
)

sale_return_lines = Table(
    "sale_return_lines",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("return_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("quantity", Integer, nullable=False),
    Column("seats", ARRAY(Integer), nullable=False),
    Column("labels", ARRAY(Text), nullable=False),
    Column("currency_code", Text),
    Column("amount_minor", BigInteger),
    Column("block_id", Text),
)

blocks = Table(
    "blocks",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("event_id", Text, nullable=False),
    Column("section_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("seats", ARRAY(Integer), nullable=False),
    Column("labels", ARRAY(Text), nullable=False),
    Column("initial_quantity", Integer, nullable=False),
    Column("taken_quantity", Integer, nullable=False),
    Column("note", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    Column("end_time", DateTime(timezone=True)),
    Column("revision", BigInteger, nullable=False),
)

seat_claims = Table(
    "seat_claims",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("section_id", Text, primary_key=True),
    Column("seat_index", Integer, primary_key=True, autoincrement=False),
    Column("hold_id", Text),
    Column("block_id", Text),
)

voids = Table(
    "voids",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("through_version", BigInteger, primary_key=True, autoincrement=False),
    Column("cause", Text, primary_key=True),
    Column("schedule_id", Text, primary_key=True),
    Column("effect_time", DateTime(timezone=True), nullable=False),
    Column("done", Boolean, nullable=False),
)

inventory_changes = Table(
    "inventory_changes",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("occur_time", DateTime(timezone=True), nullable=False),
    Column("traceparent", Text),
    Column("publish_time", DateTime(timezone=True)),
    Column("publish_epoch", BigInteger),
)

inventory_checkpoints = Table(
    "inventory_checkpoints",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("occur_time", DateTime(timezone=True), nullable=False),
    Column("body", LargeBinary, nullable=False),
)

seating_sagas = Table(
    "seating_sagas",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("event_id", Text, nullable=False),
    Column("schedule_id", Text),
    Column("caller", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("config", LargeBinary, nullable=False),
    Column("currency_code", Text, nullable=False),
    Column("section_ids", ARRAY(Text), nullable=False),
    Column("price_tier_ids", ARRAY(Text), nullable=False),
    Column("refusal", JSONB),
    Column("attempts", Integer, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("due_time", DateTime(timezone=True), nullable=False),
)

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("event_id", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("actor_roles", ARRAY(Text), nullable=False),
    Column("action", Text, nullable=False),
    Column("resource_type", Text, nullable=False),
    Column("resource_id", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("changes", JSONB, nullable=False),
    Column("omitted", ARRAY(Text), nullable=False),
    Column("request_id", Text, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
)

due_work = Table(
    "due_work",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("due_time", DateTime(timezone=True), nullable=False),
)
