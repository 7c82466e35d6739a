"""Price tiers, their immutable history, and what every schema has."""

from alembic import op

from holdfast.common import roles, schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TERMS = """
  schedule_id text COLLATE "C",
  section_id text COLLATE "C",
  name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
  description text CHECK (char_length(description) <= 2000),
  tier text CHECK (char_length(tier) <= 50),
  currency_code text COLLATE "C" NOT NULL CHECK (currency_code ~ '^[A-Z]{3}$'),
  base_price bigint NOT NULL CHECK (base_price >= 0),
  service_fee bigint NOT NULL CHECK (service_fee >= 0),
  facility_fee bigint NOT NULL CHECK (facility_fee >= 0),
  tax_rate_basis_points integer NOT NULL CHECK (tax_rate_basis_points BETWEEN 0 AND 10000),
  tax_inclusive boolean NOT NULL,
  is_dynamic boolean NOT NULL,
  min_price bigint CHECK (min_price >= 0),
  max_price bigint CHECK (max_price >= 0),
  current_price bigint CHECK (current_price >= 0),
  early_bird_price bigint CHECK (early_bird_price >= 0),
  early_bird_end_time timestamptz,
  last_minute_price bigint CHECK (last_minute_price >= 0),
  last_minute_start_time timestamptz,
  group_size_min integer CHECK (group_size_min >= 2),
  group_discount_basis_points integer CHECK (group_discount_basis_points BETWEEN 0 AND 10000),
  sales_start_time timestamptz,
  sales_end_time timestamptz,
  max_per_order integer CHECK (max_per_order >= 1),
  max_per_customer integer CHECK (max_per_customer >= 1),
  active boolean NOT NULL,
  visible boolean NOT NULL,
  display_order integer NOT NULL,
  CHECK (is_dynamic = (current_price IS NOT NULL)),
  CHECK (NOT is_dynamic OR (min_price IS NOT NULL AND max_price IS NOT NULL)),
  CHECK (min_price < max_price),
  CHECK ((early_bird_price IS NULL) = (early_bird_end_time IS NULL)),
  CHECK ((last_minute_price IS NULL) = (last_minute_start_time IS NULL)),
  CHECK ((group_size_min IS NULL) = (group_discount_basis_points IS NULL)),
  CHECK (early_bird_end_time <= last_minute_start_time),
  CHECK (sales_start_time < sales_end_time)"""

PRICE_TIERS = f"""
CREATE TABLE pricing.price_tiers (
  organization_id text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  version bigint NOT NULL CHECK (version > 0),
  create_time timestamptz NOT NULL,
  update_time timestamptz NOT NULL,
  delete_time timestamptz,{TERMS},
  PRIMARY KEY (organization_id, id)
) WITH (fillfactor = 80)"""

# The history says who, too; it is added to and never changed, which the grants below hold even against the service.
PRICE_TIER_VERSIONS = f"""
CREATE TABLE pricing.price_tier_versions (
  organization_id text COLLATE "C" NOT NULL,
  price_tier_id text COLLATE "C" NOT NULL,
  version bigint NOT NULL CHECK (version > 0),
  event_id text COLLATE "C" NOT NULL,
  actor text NOT NULL,
  occur_time timestamptz NOT NULL,{TERMS},
  PRIMARY KEY (organization_id, price_tier_id, version),
  FOREIGN KEY (organization_id, price_tier_id) REFERENCES pricing.price_tiers (organization_id, id)
)"""

STATEMENTS = [
    roles.organization_function_sql("pricing"),
    *schema.outbox_sql("pricing"),
    *schema.positions_sql("pricing"),
    *schema.requests_sql("pricing"),
    *schema.leases_sql("pricing"),
    PRICE_TIERS,
    """
CREATE UNIQUE INDEX price_tiers_name ON pricing.price_tiers (organization_id, event_id, name)
WHERE delete_time IS NULL""",
    """
CREATE INDEX price_tiers_display ON pricing.price_tiers (organization_id, event_id, display_order, create_time, id)
WHERE delete_time IS NULL""",
    *roles.protect_sql("pricing", "price_tiers"),
    PRICE_TIER_VERSIONS,
    *roles.protect_sql("pricing", "price_tier_versions"),
    f"REVOKE UPDATE, DELETE ON pricing.price_tier_versions FROM {roles.service('pricing')}",
    # Every delete of the mesh is soft.
    f"REVOKE DELETE ON pricing.price_tiers FROM {roles.service('pricing')}",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only: what a release contracts, its successor removes")
