"""Who did what, where the journal does not tell; and the version of an event's last repair.

Only additions and a default: the release before goes on working on it.
"""

from alembic import op

from holdfast.common import roles

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

AUDIT_ENTRIES = """
CREATE TABLE capacity.audit_entries (
  organization_id text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  actor text COLLATE "C" NOT NULL,
  actor_roles text[] NOT NULL,
  action text COLLATE "C" NOT NULL,
  resource_type text COLLATE "C" NOT NULL,
  resource_id text COLLATE "C" NOT NULL,
  note text NOT NULL,
  changes jsonb NOT NULL,
  omitted text[] NOT NULL,
  request_id text NOT NULL,
  trace_id text NOT NULL,
  create_time timestamptz NOT NULL,
  PRIMARY KEY (organization_id, id)
)"""

STATEMENTS = [
    "SET LOCAL lock_timeout = '1s'",
    "ALTER TABLE capacity.event_inventories ADD COLUMN repaired_version bigint NOT NULL DEFAULT 0",
    AUDIT_ENTRIES,
    "CREATE INDEX audit_entries_time ON capacity.audit_entries (organization_id, create_time, id)",
    "CREATE INDEX audit_entries_resource ON capacity.audit_entries (organization_id, resource_id, create_time, id)",
    "CREATE INDEX audit_entries_actor ON capacity.audit_entries (organization_id, actor, create_time, id)",
    *roles.protect_sql("capacity", "audit_entries"),
    # Entries are added, never changed, never deleted.
    f"REVOKE UPDATE, DELETE ON capacity.audit_entries FROM {roles.service('capacity')}",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only: what a release contracts, its successor removes")
