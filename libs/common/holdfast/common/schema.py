"""The tables that every service's schema has: outbox, positions, requests, leases.

A service's first migration executes the `…_sql` functions. They are history once released: a later change is a new
function and a new migration, never an edit here. The `…_table` functions describe tables to SQLAlchemy.
"""

from functools import cache

from sqlalchemy import BigInteger, Column, DateTime, Identity, LargeBinary, MetaData, Table, Text

from holdfast.common import roles

OUTBOX_RETENTION_DAYS = 8
"""Published rows stay this long, a day more than the streams keep messages, so that a lost stream can be refilled."""


def outbox_sql(schema: str) -> list[str]:
    """Return the DDL of `<schema>.outbox`: messages that a transaction caused, kept until the relay has published them.

    `sequence` orders the rows of an aggregate as their transactions committed, because a version is taken under the
    aggregate's lock. The relay may delete what was published longer ago than the retention, and nothing else.
    """
    name = f"{roles.checked_name(schema)}.outbox"
    old = f"publish_time < clock_timestamp() - interval '{OUTBOX_RETENTION_DAYS} days'"
    return [
        f"""
CREATE TABLE {name} (
  organization_id text COLLATE "C" NOT NULL,
  aggregate_id text COLLATE "C" NOT NULL,
  version bigint NOT NULL CHECK (version > 0),
  sequence bigint GENERATED ALWAYS AS IDENTITY,
  message_id text NOT NULL,
  subject text NOT NULL,
  type text NOT NULL,
  body bytea NOT NULL,
  occur_time timestamptz NOT NULL,
  traceparent text,
  publish_time timestamptz,
  publish_epoch bigint,
  PRIMARY KEY (organization_id, aggregate_id, version)
)""",
        f"CREATE INDEX outbox_pending ON {name} (sequence) WHERE publish_time IS NULL",
        f"CREATE INDEX outbox_published ON {name} (publish_time) WHERE publish_time IS NOT NULL",
        *roles.protect_sql(schema, "outbox", relay="mark"),
        f"CREATE POLICY retention ON {name} AS RESTRICTIVE FOR DELETE TO {roles.relay(schema)} USING ({old})",
        f"GRANT DELETE ON {name} TO {roles.relay(schema)}",
    ]


def positions_sql(schema: str) -> list[str]:
    """Return the DDL of `<schema>.positions`: up to which version a consumer has applied an aggregate's messages."""
    return [
        f"""
CREATE TABLE {roles.checked_name(schema)}.positions (
  organization_id text COLLATE "C" NOT NULL,
  consumer text COLLATE "C" NOT NULL,
  aggregate_id text COLLATE "C" NOT NULL,
  version bigint NOT NULL CHECK (version > 0),
  update_time timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (organization_id, consumer, aggregate_id)
)""",
        *roles.protect_sql(schema, "positions"),
    ]


def requests_sql(schema: str) -> list[str]:
    """Return the DDL of `<schema>.requests`: which request made which resource, so that a repeated one makes none."""
    name = f"{roles.checked_name(schema)}.requests"
    return [
        f"""
CREATE TABLE {name} (
  organization_id text COLLATE "C" NOT NULL,
  caller text COLLATE "C" NOT NULL,
  rpc text COLLATE "C" NOT NULL,
  request_id text COLLATE "C" NOT NULL,
  fingerprint bytea NOT NULL,
  resource_id text NOT NULL,
  create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (organization_id, caller, rpc, request_id)
)""",
        f"CREATE INDEX requests_age ON {name} (organization_id, create_time)",
        *roles.protect_sql(schema, "requests"),
    ]


def leases_sql(schema: str) -> list[str]:
    """Return the DDL of `<schema>.leases`: which process does a piece of work that only one may do at a time.

    The one table without an organization: the work is the service's own. `note` is what a holder leaves to the next.
    """
    name = f"{roles.checked_name(schema)}.leases"
    privileges = "SELECT, INSERT, UPDATE"
    return [
        f"""
CREATE TABLE {name} (
  name text PRIMARY KEY,
  holder text NOT NULL,
  epoch bigint NOT NULL CHECK (epoch > 0),
  expire_time timestamptz NOT NULL,
  note text NOT NULL DEFAULT ''
)""",
        f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY",
        *roles.everywhere_sql(schema, "leases", role=roles.service(schema), privileges=privileges),
        *roles.everywhere_sql(schema, "leases", role=roles.relay(schema), privileges=privileges),
    ]


@cache
def outbox_table(schema: str) -> Table:
    """Describe `<schema>.outbox`."""
    return Table(
        "outbox",
        MetaData(schema=roles.checked_name(schema)),
        Column("organization_id", Text, primary_key=True),
        Column("aggregate_id", Text, primary_key=True),
        Column("version", BigInteger, primary_key=True, autoincrement=False),
        Column("sequence", BigInteger, Identity(always=True)),
        Column("message_id", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("type", Text, nullable=False),
        Column("body", LargeBinary, nullable=False),
        Column("occur_time", DateTime(timezone=True), nullable=False),
        Column("traceparent", Text),
        Column("publish_time", DateTime(timezone=True)),
        Column("publish_epoch", BigInteger),
    )


@cache
def requests_table(schema: str) -> Table:
    """Describe `<schema>.requests`."""
    return Table(
        "requests",
        MetaData(schema=roles.checked_name(schema)),
        Column("organization_id", Text, primary_key=True),
        Column("caller", Text, primary_key=True),
        Column("rpc", Text, primary_key=True),
        Column("request_id", Text, primary_key=True),
        Column("fingerprint", LargeBinary, nullable=False),
        Column("resource_id", Text, nullable=False),
        Column("create_time", DateTime(timezone=True), nullable=False),
    )
