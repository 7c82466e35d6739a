"""What every schema has, and notes."""

from alembic import op

from holdfast.common import roles, schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA = "proving"
NOTES = """
CREATE TABLE proving.notes (
  organization_id text COLLATE "C" NOT NULL,
  note_id text COLLATE "C" NOT NULL,
  words text NOT NULL,
  version bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (organization_id, note_id)
)"""


def upgrade() -> None:
    for statement in (
        roles.organization_function_sql(SCHEMA),
        *schema.outbox_sql(SCHEMA),
        *schema.positions_sql(SCHEMA),
        *schema.requests_sql(SCHEMA),
        *schema.leases_sql(SCHEMA),
        NOTES,
        *roles.protect_sql(SCHEMA, "notes"),
    ):
        op.execute(statement)
