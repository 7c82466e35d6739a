"""Organizations, venues, events with history and figures, dates, due work, and the tables of every service."""

from __future__ import annotations

from alembic import op

from holdfast.common import roles, schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SCHEMA = "events"

_TABLES = (
    """
CREATE TABLE events.organizations (
  organization_id text COLLATE "C" PRIMARY KEY,
  name text NOT NULL,
  slug text COLLATE "C" NOT NULL,
  state text NOT NULL CHECK (state IN ('ACTIVE', 'SUSPENDED')),
  currency_code text NOT NULL,
  time_zone text NOT NULL,
  default_event_minutes integer NOT NULL CHECK (default_event_minutes > 0),
  hold_ttl_seconds_default integer NOT NULL CHECK (hold_ttl_seconds_default > 0),
  hold_ttl_seconds_max integer NOT NULL CHECK (hold_ttl_seconds_max >= hold_ttl_seconds_default),
  event_lead_minutes_min integer NOT NULL CHECK (event_lead_minutes_min >= 0),
  event_lead_days_max integer NOT NULL CHECK (event_lead_days_max > 0),
  version bigint NOT NULL CHECK (version > 0),
  create_time timestamptz NOT NULL,
  update_time timestamptz NOT NULL
)""",
    # The one key that crosses organizations: a slug names one organization of the whole mesh.
    "CREATE UNIQUE INDEX organizations_slug ON events.organizations (slug)",
    """
CREATE TABLE events.venues (
  organization_id text COLLATE "C" NOT NULL REFERENCES events.organizations,
  id text COLLATE "C" NOT NULL,
  name text NOT NULL,
  slug text COLLATE "C" NOT NULL,
  kind text NOT NULL CHECK (kind IN ('PHYSICAL', 'VIRTUAL')),
  time_zone text NOT NULL,
  address jsonb,
  max_capacity integer NOT NULL CHECK (max_capacity >= 0),
  access_rules text,
  default_doors_minutes integer CHECK (default_doors_minutes >= 0),
  gates jsonb NOT NULL,
  version bigint NOT NULL CHECK (version > 0),
  create_time timestamptz NOT NULL,
  update_time timestamptz NOT NULL,
  delete_time timestamptz,
  PRIMARY KEY (organization_id, id)
)""",
    "CREATE UNIQUE INDEX venues_slug ON events.venues (organization_id, slug) WHERE delete_time IS NULL",
    """
CREATE TABLE events.events (
  organization_id text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  venue_id text COLLATE "C" NOT NULL,
  name text NOT NULL,
  slug text COLLATE "C" NOT NULL,
  description text,
  short_description text,
  kind text NOT NULL CHECK (kind IN ('SINGLE', 'RECURRING', 'SERIES')),
  state text NOT NULL CHECK (state IN ('DRAFT', 'REVIEW', 'APPROVED', 'PUBLISHED', 'ON_SALE', 'SALES_PAUSED',
    'SOLD_OUT', 'IN_PROGRESS', 'COMPLETED', 'CANCELLED', 'POSTPONED', 'RESCHEDULED')),
  visibility text NOT NULL CHECK (visibility IN ('PUBLIC', 'PRIVATE', 'UNLISTED')),
  is_featured boolean NOT NULL,
  priority_score integer NOT NULL,
  tags text[] NOT NULL,
  banner_image_url text,
  thumbnail_image_url text,
  video_url text,
  is_virtual boolean NOT NULL,
  is_hybrid boolean NOT NULL,
  virtual_event_url text,
  streaming_platform text,
  streaming_config jsonb,
  age_restriction integer CHECK (age_restriction >= 0),
  dress_code text,
  special_requirements text[] NOT NULL,
  accessibility_info jsonb,
  royalty_percentage numeric(5, 2) CHECK (royalty_percentage BETWEEN 0 AND 100),
  artist_percentage numeric(5, 2) CHECK (artist_percentage BETWEEN 0 AND 100),
  venue_percentage numeric(5, 2) CHECK (venue_percentage BETWEEN 0 AND 100),
  cancellation_policy text,
  refund_policy text,
  cancellation_deadline_hours integer NOT NULL CHECK (cancellation_deadline_hours >= 0),
  meta_title text,
  meta_description text,
  meta_keywords text[] NOT NULL,
  external_id text,
  organizer_id text NOT NULL,
  settings jsonb,
  metadata jsonb,
  gate_ids text[] NOT NULL,
  sales_start_time timestamptz,
  sales_end_time timestamptz,
  cancel_time timestamptz,
  cancellation_reason text,
  initial_capacity integer NOT NULL CHECK (initial_capacity >= 0),
  created_by text NOT NULL,
  updated_by text NOT NULL,
  create_time timestamptz NOT NULL,
  update_time timestamptz NOT NULL,
  delete_time timestamptz,
  version bigint NOT NULL CHECK (version > 0),
  PRIMARY KEY (organization_id, id),
  FOREIGN KEY (organization_id, venue_id) REFERENCES events.venues,
  CHECK (coalesce(artist_percentage, 0) + coalesce(venue_percentage, 0) <= 100),
  CHECK (sales_end_time > sales_start_time)
)""",
    "CREATE UNIQUE INDEX events_slug ON events.events (organization_id, slug) WHERE delete_time IS NULL",
    "CREATE INDEX events_venue ON events.events (organization_id, venue_id, id)",
    "CREATE INDEX events_organizer ON events.events (organization_id, organizer_id, id)",
    "CREATE INDEX events_state ON events.events (organization_id, state, id) WHERE delete_time IS NULL",
    """
CREATE TABLE events.schedules (
  organization_id text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  start_time timestamptz NOT NULL,
  end_time timestamptz NOT NULL,
  doors_time timestamptz,
  time_zone text NOT NULL,
  state text NOT NULL CHECK (state IN ('SCHEDULED', 'CONFIRMED', 'IN_PROGRESS', 'COMPLETED', 'CANCELLED', 'POSTPONED',
    'RESCHEDULED')),
  state_reason text,
  capacity_override integer CHECK (capacity_override >= 0),
  check_in_open_time timestamptz,
  check_in_close_time timestamptz,
  notes text,
  version bigint NOT NULL CHECK (version > 0),
  create_time timestamptz NOT NULL,
  update_time timestamptz NOT NULL,
  PRIMARY KEY (organization_id, id),
  FOREIGN KEY (organization_id, event_id) REFERENCES events.events,
  CHECK (end_time > start_time),
  CHECK (doors_time <= start_time),
  CHECK (check_in_close_time > check_in_open_time)
)""",
    "CREATE INDEX schedules_event ON events.schedules (organization_id, event_id, start_time, id)",
    """
CREATE TABLE events.event_transitions (
  organization_id text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  name text NOT NULL,
  from_state text NOT NULL,
  to_state text NOT NULL,
  actor text NOT NULL,
  reason text NOT NULL,
  create_time timestamptz NOT NULL,
  PRIMARY KEY (organization_id, event_id, version),
  FOREIGN KEY (organization_id, event_id) REFERENCES events.events
)""",
    """
CREATE TABLE events.event_figures (
  organization_id text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  capacity integer NOT NULL,
  available integer NOT NULL,
  sold integer NOT NULL,
  sold_out boolean NOT NULL,
  inventory_version bigint NOT NULL,
  PRIMARY KEY (organization_id, event_id),
  FOREIGN KEY (organization_id, event_id) REFERENCES events.events
) WITH (fillfactor = 70)""",
    """
CREATE TABLE events.due_work (
  organization_id text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  kind text NOT NULL CHECK (kind IN ('SALES', 'DATES', 'CONTROLS')),
  due_time timestamptz NOT NULL,
  attempt integer NOT NULL,
  PRIMARY KEY (organization_id, event_id, kind)
)""",
    "CREATE INDEX due_work_time ON events.due_work (due_time)",
)

_PROTECTED = ("organizations", "venues", "events", "schedules", "event_transitions", "event_figures", "due_work")


def upgrade() -> None:
    """Build the schema."""
    statements = [
        roles.organization_function_sql(_SCHEMA),
        *schema.outbox_sql(_SCHEMA),
        *schema.positions_sql(_SCHEMA),
        *schema.requests_sql(_SCHEMA),
        *schema.leases_sql(_SCHEMA),
        *_TABLES,
    ]
    for table in _PROTECTED:
        statements += roles.protect_sql(_SCHEMA, table, relay="read" if table == "due_work" else "none")
    for statement in statements:
        op.execute(statement)


def downgrade() -> None:
    """Refuse: the way back from the first migration is to drop the schema."""
    raise NotImplementedError("the first migration is not taken back")
