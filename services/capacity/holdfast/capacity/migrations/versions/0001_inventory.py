"""Inventories, sections, holds, sales, claims, the journal, and what every schema has.

Every key begins with organization_id, so that the tables distribute by it unchanged.
"""

from alembic import op

from holdfast.common import roles, schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SWEEPER = "holdfast_capacity_sweeper"

# The row that every mutation of an event's inventory locks first (FOR NO KEY UPDATE), this state included.
EVENT_INVENTORIES = """
CREATE TABLE capacity.event_inventories (
  organization_id text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  version bigint NOT NULL CHECK (version >= 0),
  last_change_time timestamptz NOT NULL,
  controls_version bigint NOT NULL CHECK (controls_version >= 0),
  controls bytea NOT NULL,
  total integer NOT NULL DEFAULT 0 CHECK (total >= 0),
  held integer NOT NULL DEFAULT 0 CHECK (held >= 0),
  pending integer NOT NULL DEFAULT 0 CHECK (pending >= 0),
  sold integer NOT NULL DEFAULT 0 CHECK (sold >= 0),
  blocked integer NOT NULL DEFAULT 0 CHECK (blocked >= 0),
  crossed text NOT NULL DEFAULT '',
  live_holds integer NOT NULL DEFAULT 0 CHECK (live_holds >= 0),
  PRIMARY KEY (organization_id, event_id)
) WITH (fillfactor = 50)"""

SECTIONS = """
CREATE TABLE capacity.sections (
  organization_id text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  schedule_id text COLLATE "C",
  name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
  code text CHECK (char_length(code) BETWEEN 1 AND 20),
  subsection integer CHECK (subsection >= 1),
  kind text NOT NULL CHECK (kind IN ('GENERAL', 'SEATED')),
  tier text CHECK (char_length(tier) <= 50),
  total integer NOT NULL CHECK (total >= 0),
  held integer NOT NULL DEFAULT 0 CHECK (held >= 0),
  pending integer NOT NULL DEFAULT 0 CHECK (pending >= 0),
  sold integer NOT NULL DEFAULT 0 CHECK (sold >= 0),
  blocked integer NOT NULL DEFAULT 0 CHECK (blocked >= 0),
  buffer integer NOT NULL DEFAULT 0 CHECK (buffer BETWEEN 0 AND blocked),
  min_per_order integer NOT NULL CHECK (min_per_order >= 1),
  max_per_order integer CHECK (max_per_order >= min_per_order),
  active boolean NOT NULL,
  visible boolean NOT NULL,
  row_layout jsonb,
  taken bytea,
  crossed text NOT NULL DEFAULT '',
  revision bigint NOT NULL CHECK (revision >= 1),
  create_time timestamptz NOT NULL,
  update_time timestamptz NOT NULL,
  PRIMARY KEY (organization_id, id),
  FOREIGN KEY (organization_id, event_id) REFERENCES capacity.event_inventories (organization_id, event_id),
  CONSTRAINT sections_not_oversold CHECK (total - held - pending - sold - blocked >= 0)
) WITH (fillfactor = 50)"""

HOLDS = """
CREATE TABLE capacity.holds (
  organization_id text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  customer_id text COLLATE "C" NOT NULL,
  placed_by text COLLATE "C" NOT NULL,
  state text NOT NULL CHECK (state IN ('ACTIVE', 'PENDING', 'CONFIRMED', 'RELEASED', 'EXPIRED', 'VOIDED')),
  request_id text COLLATE "C" NOT NULL,
  request_hash bytea NOT NULL,
  order_reference text NOT NULL,
  create_time timestamptz NOT NULL,
  expire_time timestamptz NOT NULL,
  end_time timestamptz,
  void_cause text,
  sale_id text COLLATE "C",
  placed_version bigint NOT NULL CHECK (placed_version >= 1),
  revision bigint NOT NULL CHECK (revision >= 1),
  PRIMARY KEY (organization_id, id),
  FOREIGN KEY (organization_id, event_id) REFERENCES capacity.event_inventories (organization_id, event_id),
  CHECK (expire_time > create_time),
  CHECK ((state IN ('ACTIVE', 'PENDING')) = (end_time IS NULL))
) WITH (fillfactor = 70)"""

HOLD_LINES = """
CREATE TABLE capacity.hold_lines (
  organization_id text COLLATE "C" NOT NULL,
  hold_id text COLLATE "C" NOT NULL,
  number integer NOT NULL CHECK (number >= 1),
  section_id text COLLATE "C" NOT NULL,
  schedule_id text COLLATE "C",
  quantity integer NOT NULL CHECK (quantity >= 1),
  seats integer[] NOT NULL DEFAULT '{}',
  price_tier_id text COLLATE "C",
  price_tier_version bigint,
  currency_code text,
  total_minor bigint,
  locked_price bytea,
  PRIMARY KEY (organization_id, hold_id, number),
  FOREIGN KEY (organization_id, hold_id) REFERENCES capacity.holds (organization_id, id),
  FOREIGN KEY (organization_id, section_id) REFERENCES capacity.sections (organization_id, id),
  CHECK ((price_tier_id IS NULL) = (locked_price IS NULL))
)"""

# One for each confirmed hold; its lines are the hold's, with what was returned of them.
SALES = """
CREATE TABLE capacity.sales (
  organization_id text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  hold_id text COLLATE "C" NOT NULL,
  customer_id text COLLATE "C" NOT NULL,
  state text NOT NULL CHECK (state IN ('SOLD', 'PARTIALLY_RETURNED', 'RETURNED', 'CANCELLED')),
  order_reference text NOT NULL,
  create_time timestamptz NOT NULL,
  placed_version bigint NOT NULL CHECK (placed_version >= 1),
  revision bigint NOT NULL CHECK (revision >= 1),
  PRIMARY KEY (organization_id, id),
  UNIQUE (organization_id, hold_id),
  FOREIGN KEY (organization_id, hold_id) REFERENCES capacity.holds (organization_id, id)
) WITH (fillfactor = 80)"""

SALE_LINES = """
CREATE TABLE capacity.sale_lines (
  organization_id text COLLATE "C" NOT NULL,
  sale_id text COLLATE "C" NOT NULL,
  number integer NOT NULL CHECK (number >= 1),
  section_id text COLLATE "C" NOT NULL,
  schedule_id text COLLATE "C",
  quantity integer NOT NULL CHECK (quantity >= 1),
  returned_quantity integer NOT NULL DEFAULT 0 CHECK (returned_quantity BETWEEN 0 AND quantity),
  seats integer[] NOT NULL DEFAULT '{}',
  price_tier_id text COLLATE "C",
  price_tier_version bigint,
  currency_code text,
  total_minor bigint,
  locked_price bytea,
  cancelled boolean NOT NULL DEFAULT false,
  PRIMARY KEY (organization_id, sale_id, number),
  FOREIGN KEY (organization_id, sale_id) REFERENCES capacity.sales (organization_id, id),
  FOREIGN KEY (organization_id, section_id) REFERENCES capacity.sections (organization_id, id)
)"""

# A second claim on a seat cannot be committed, whatever the code does.
SEAT_CLAIMS = """
CREATE TABLE capacity.seat_claims (
  organization_id text COLLATE "C" NOT NULL,
  section_id text COLLATE "C" NOT NULL,
  seat_index integer NOT NULL CHECK (seat_index >= 0),
  hold_id text COLLATE "C" NOT NULL,
  PRIMARY KEY (organization_id, section_id, seat_index),
  FOREIGN KEY (organization_id, section_id) REFERENCES capacity.sections (organization_id, id),
  FOREIGN KEY (organization_id, hold_id) REFERENCES capacity.holds (organization_id, id)
)"""

# What a change of the event ended; the rows of many holds are brought up to date in chunks, a version each.
VOIDS = """
CREATE TABLE capacity.voids (
  organization_id text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  through_version bigint NOT NULL CHECK (through_version >= 0),
  cause text NOT NULL CHECK (cause IN ('EVENT_CANCELLED', 'EVENT_POSTPONED', 'SCHEDULE_CANCELLED')),
  schedule_id text COLLATE "C" NOT NULL DEFAULT '',
  effect_time timestamptz NOT NULL,
  done boolean NOT NULL DEFAULT false,
  PRIMARY KEY (organization_id, event_id, through_version, cause, schedule_id),
  FOREIGN KEY (organization_id, event_id) REFERENCES capacity.event_inventories (organization_id, event_id)
)"""

# The journal: one row for each commit of an event's inventory. It is the outbox, the feed and the audit.
INVENTORY_CHANGES = """
CREATE TABLE capacity.inventory_changes (
  organization_id text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  version bigint NOT NULL CHECK (version >= 1),
  sequence bigint GENERATED ALWAYS AS IDENTITY,
  body bytea NOT NULL CHECK (octet_length(body) <= 262144),
  occur_time timestamptz NOT NULL,
  traceparent text,
  publish_time timestamptz,
  publish_epoch bigint,
  PRIMARY KEY (organization_id, event_id, version),
  FOREIGN KEY (organization_id, event_id) REFERENCES capacity.event_inventories (organization_id, event_id)
)"""

# When something of an event is due; no business data, because the sweeper reads it across organizations.
DUE_WORK = """
CREATE TABLE capacity.due_work (
  organization_id text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  due_time timestamptz NOT NULL,
  PRIMARY KEY (organization_id, event_id)
) WITH (fillfactor = 50)"""

STATEMENTS = [
    roles.organization_function_sql("capacity"),
    *schema.positions_sql("capacity"),
    *schema.requests_sql("capacity"),
    *schema.leases_sql("capacity"),
    EVENT_INVENTORIES,
    *roles.protect_sql("capacity", "event_inventories"),
    # One number of each row, for a metric over all organizations.
    *roles.everywhere_sql(
        "capacity", "event_inventories", role=roles.relay("capacity"), privileges="SELECT (live_holds)"
    ),
    SECTIONS,
    """
CREATE UNIQUE INDEX sections_name ON capacity.sections (organization_id, event_id, schedule_id, name, subsection)
NULLS NOT DISTINCT""",
    "CREATE INDEX sections_created ON capacity.sections (organization_id, event_id, create_time, id)",
    *roles.protect_sql("capacity", "sections"),
    HOLDS,
    # The key of PlaceHold lives on the hold it made.
    """
CREATE UNIQUE INDEX holds_request ON capacity.holds (organization_id, placed_by, request_id) WHERE request_id <> ''""",
    """
CREATE INDEX holds_live ON capacity.holds (organization_id, event_id, expire_time, id)
WHERE state IN ('ACTIVE', 'PENDING')""",
    "CREATE INDEX holds_customer ON capacity.holds (organization_id, customer_id, create_time, id)",
    "CREATE INDEX holds_placed_by ON capacity.holds (organization_id, placed_by, create_time, id)",
    "CREATE INDEX holds_newest ON capacity.holds (organization_id, create_time, id)",
    "CREATE INDEX holds_event ON capacity.holds (organization_id, event_id, create_time, id)",
    """
CREATE INDEX holds_order ON capacity.holds (organization_id, order_reference) WHERE order_reference <> ''""",
    *roles.protect_sql("capacity", "holds"),
    HOLD_LINES,
    "CREATE INDEX hold_lines_section ON capacity.hold_lines (organization_id, section_id, hold_id)",
    *roles.protect_sql("capacity", "hold_lines"),
    SALES,
    "CREATE INDEX sales_customer ON capacity.sales (organization_id, customer_id, event_id)",
    "CREATE INDEX sales_event ON capacity.sales (organization_id, event_id, id)",
    *roles.protect_sql("capacity", "sales"),
    SALE_LINES,
    "CREATE INDEX sale_lines_section ON capacity.sale_lines (organization_id, section_id)",
    *roles.protect_sql("capacity", "sale_lines"),
    SEAT_CLAIMS,
    "CREATE INDEX seat_claims_hold ON capacity.seat_claims (organization_id, hold_id)",
    *roles.protect_sql("capacity", "seat_claims"),
    VOIDS,
    *roles.protect_sql("capacity", "voids"),
    INVENTORY_CHANGES,
    """
CREATE INDEX inventory_changes_pending ON capacity.inventory_changes (sequence) WHERE publish_time IS NULL""",
    *roles.protect_sql("capacity", "inventory_changes", relay="mark"),
    # The journal is added to, never changed but for the relay's marks, never deleted from.
    f"REVOKE UPDATE, DELETE ON capacity.inventory_changes FROM {roles.service('capacity')}",
    DUE_WORK,
    "CREATE INDEX due_work_due ON capacity.due_work (due_time)",
    *roles.protect_sql("capacity", "due_work"),
    *roles.everywhere_sql("capacity", "due_work", role=SWEEPER, privileges="SELECT"),
    *roles.everywhere_sql("capacity", "leases", role=SWEEPER, privileges="SELECT, INSERT, UPDATE"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only: what a release contracts, its successor removes")
