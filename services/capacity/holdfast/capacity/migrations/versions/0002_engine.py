"""What the batching engine and seats need: blocks, returns, labels, checkpoints; fewer checks on the hot path.

Only additions, defaults and dropped constraints: the release before goes on working on it.
"""

from alembic import op

from holdfast.common import roles

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BLOCKS = """
CREATE TABLE capacity.blocks (
  organization_id text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  section_id text COLLATE "C" NOT NULL,
  kind text NOT NULL CHECK (kind IN ('HOUSE', 'KILL', 'RETURNED')),
  quantity integer NOT NULL CHECK (quantity >= 0),
  seats integer[] NOT NULL DEFAULT '{}',
  labels text[] NOT NULL DEFAULT '{}',
  initial_quantity integer NOT NULL CHECK (initial_quantity >= 1),
  taken_quantity integer NOT NULL DEFAULT 0 CHECK (taken_quantity >= 0),
  note text NOT NULL,
  actor text COLLATE "C" NOT NULL,
  create_time timestamptz NOT NULL,
  update_time timestamptz NOT NULL,
  end_time timestamptz,
  revision bigint NOT NULL CHECK (revision >= 1),
  PRIMARY KEY (organization_id, id),
  FOREIGN KEY (organization_id, section_id) REFERENCES capacity.sections (organization_id, id)
) WITH (fillfactor = 70)"""

# What came back of sales; `lines` are the parts with their amounts, as the contract's SaleReturn has them.
SALE_RETURNS = """
CREATE TABLE capacity.sale_returns (
  organization_id text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  sale_id text COLLATE "C" NOT NULL,
  return_to text NOT NULL CHECK (return_to IN ('SALE', 'BLOCKED')),
  note text NOT NULL,
  actor text COLLATE "C" NOT NULL,
  create_time timestamptz NOT NULL,
  PRIMARY KEY (organization_id, id),
  FOREIGN KEY (organization_id, sale_id) REFERENCES capacity.sales (organization_id, id)
)"""

SALE_RETURN_LINES = """
CREATE TABLE capacity.sale_return_lines (
  organization_id text COLLATE "C" NOT NULL,
  return_id text COLLATE "C" NOT NULL,
  number integer NOT NULL CHECK (number >= 1),
  quantity integer NOT NULL CHECK (quantity >= 1),
  seats integer[] NOT NULL DEFAULT '{}',
  labels text[] NOT NULL DEFAULT '{}',
  currency_code text,
  amount_minor bigint,
  block_id text COLLATE "C",
  PRIMARY KEY (organization_id, return_id, number),
  FOREIGN KEY (organization_id, return_id) REFERENCES capacity.sale_returns (organization_id, id)
)"""

# The counters of all sections of an event at a version, so that the past is read from here on and not from the first.
INVENTORY_CHECKPOINTS = """
CREATE TABLE capacity.inventory_checkpoints (
  organization_id text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  version bigint NOT NULL CHECK (version >= 1),
  occur_time timestamptz NOT NULL,
  body bytea NOT NULL,
  PRIMARY KEY (organization_id, event_id, version)
)"""

# Each of these was looked up for every row that a batch writes, which cost more than writing it. The engine writes a
# hold or a sale, its lines and its claims in one commit, for sections and events that it has read under the event's
# lock, and nothing is ever deleted that they name.
CHECKED_BY_THE_ENGINE = {
    "holds": ["holds_organization_id_event_id_fkey"],
    "hold_lines": ["hold_lines_organization_id_hold_id_fkey", "hold_lines_organization_id_section_id_fkey"],
    "sales": ["sales_organization_id_hold_id_fkey"],
    "sale_lines": ["sale_lines_organization_id_sale_id_fkey", "sale_lines_organization_id_section_id_fkey"],
    "seat_claims": ["seat_claims_organization_id_section_id_fkey", "seat_claims_organization_id_hold_id_fkey"],
    "inventory_changes": ["inventory_changes_organization_id_event_id_fkey"],
}

STATEMENTS = [
    "SET LOCAL lock_timeout = '1s'",
    'ALTER TABLE capacity.holds ADD COLUMN replaces_hold_id text COLLATE "C", ADD COLUMN payment_time timestamptz',
    """
ALTER TABLE capacity.hold_lines ADD COLUMN labels text[] NOT NULL DEFAULT '{}',
  ADD COLUMN block_id text COLLATE "C" """,
    """
ALTER TABLE capacity.sale_lines ADD COLUMN labels text[] NOT NULL DEFAULT '{}',
  ADD COLUMN block_id text COLLATE "C",
  ADD COLUMN returned_seats integer[] NOT NULL DEFAULT '{}',
  ADD COLUMN exchanged_quantity integer NOT NULL DEFAULT 0,
  ADD COLUMN exchanged_seats integer[] NOT NULL DEFAULT '{}',
  ADD CONSTRAINT sale_lines_left CHECK (exchanged_quantity >= 0 AND returned_quantity + exchanged_quantity <= quantity)
""",
    "ALTER TABLE capacity.sales ADD COLUMN update_time timestamptz",
    "CREATE INDEX sales_newest ON capacity.sales (organization_id, create_time, id)",
    "CREATE INDEX sales_order ON capacity.sales (organization_id, order_reference) WHERE order_reference <> ''",
    # A deleted section keeps its row for the journal and for returned sales; its name is free again.
    """
ALTER TABLE capacity.sections ADD COLUMN delete_time timestamptz,
  ADD COLUMN layout_revision integer NOT NULL DEFAULT 0""",
    "DROP INDEX capacity.sections_name",
    """
CREATE UNIQUE INDEX sections_name ON capacity.sections (organization_id, event_id, schedule_id, name, subsection)
NULLS NOT DISTINCT WHERE delete_time IS NULL""",
    # A seat is claimed by a hold, which keeps it when it is sold, or by a block.
    """
ALTER TABLE capacity.seat_claims ALTER COLUMN hold_id DROP NOT NULL, ADD COLUMN block_id text COLLATE "C",
  ADD CONSTRAINT seat_claims_owner CHECK ((hold_id IS NULL) <> (block_id IS NULL))""",
    *(
        f"ALTER TABLE capacity.{table} DROP CONSTRAINT {name}"
        for table, names in CHECKED_BY_THE_ENGINE.items()
        for name in names
    ),
    BLOCKS,
    "CREATE INDEX blocks_event ON capacity.blocks (organization_id, event_id, create_time, id)",
    *roles.protect_sql("capacity", "blocks"),
    SALE_RETURNS,
    "CREATE INDEX sale_returns_sale ON capacity.sale_returns (organization_id, sale_id, create_time, id)",
    *roles.protect_sql("capacity", "sale_returns"),
    SALE_RETURN_LINES,
    *roles.protect_sql("capacity", "sale_return_lines"),
    INVENTORY_CHECKPOINTS,
    *roles.protect_sql("capacity", "inventory_checkpoints"),
    f"REVOKE UPDATE, DELETE ON capacity.inventory_checkpoints FROM {roles.service('capacity')}",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only: what a release contracts, its successor removes")
