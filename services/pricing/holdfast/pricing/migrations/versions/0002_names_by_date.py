"""Names of price tiers are unique by event and date, as those of sections are: each date may have its own tier A."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = [
    "SET LOCAL lock_timeout = '1s'",
    "DROP INDEX pricing.price_tiers_name",
    """
CREATE UNIQUE INDEX price_tiers_name ON pricing.price_tiers (organization_id, event_id, schedule_id, name)
NULLS NOT DISTINCT WHERE delete_time IS NULL""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only: what a release contracts, its successor removes")
