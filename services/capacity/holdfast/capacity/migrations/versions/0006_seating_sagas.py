"""Seatings with prices that are under way: what it takes to finish one, or to undo it, after a crash anywhere."""

from alembic import op

from holdfast.common import roles

revision = "0006"
down_revision = "0004"
branch_labels = None
depends_on = None

SWEEPER = "holdfast_capacity_sweeper"

# There is a row from the moment a request is accepted until its sections are committed, or its price tiers withdrawn.
SEATING_SAGAS = """
CREATE TABLE capacity.seating_sagas (
  organization_id text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  schedule_id text COLLATE "C",
  caller text COLLATE "C" NOT NULL,
  request_id text COLLATE "C" NOT NULL,
  fingerprint bytea NOT NULL,
  config bytea NOT NULL,
  currency_code text COLLATE "C" NOT NULL,
  section_ids text[] NOT NULL,
  price_tier_ids text[] NOT NULL,
  refusal jsonb,
  attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
  create_time timestamptz NOT NULL,
  due_time timestamptz NOT NULL,
  PRIMARY KEY (organization_id, id),
  CONSTRAINT seating_sagas_request UNIQUE (organization_id, caller, request_id),
  FOREIGN KEY (organization_id, event_id) REFERENCES capacity.event_inventories (organization_id, event_id)
)"""

STATEMENTS = [
    "SET LOCAL lock_timeout = '1s'",
    SEATING_SAGAS,
    "CREATE INDEX seating_sagas_due ON capacity.seating_sagas (due_time)",
    *roles.protect_sql("capacity", "seating_sagas"),
    # The sweeper finds what is due in any organization and learns nothing else of it.
    *roles.everywhere_sql(
        "capacity", "seating_sagas", role=SWEEPER, privileges="SELECT (organization_id, id, due_time)"
    ),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only: what a release contracts, its successor removes")
