"""A hold that expired is replaced by one other at most, and that one is found by it."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = [
    "SET LOCAL lock_timeout = '1s'",
    """
CREATE UNIQUE INDEX holds_replaces ON capacity.holds (organization_id, replaces_hold_id)
WHERE replaces_hold_id IS NOT NULL""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only: what a release contracts, its successor removes")
