"""Who may do what in the database: the roles of a schema, row-level security and its one policy function.

A schema has three login roles. The *owner* runs migrations and nothing else. The *service* answers requests; row-level
security, forced on every table, keeps each of its transactions inside one organization. The *relay* works across
organizations and therefore reaches only outbox, journal and leases.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import psycopg
from psycopg import sql

ORGANIZATION_SETTING = "holdfast.organization_id"
"""The transaction-local setting that names the organization a transaction works for."""

RELAY_MARKS = ("publish_time", "publish_epoch")
"""The columns that a relay writes on a row that it has published."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")


def checked_name(name: str) -> str:
    """Return `name` when it can stand in SQL unquoted, raise ValueError otherwise.

    Names of schemas, tables and roles come from code, never from callers; this keeps a slip from becoming SQL.
    """
    if _NAME.fullmatch(name) is None:
        message = f"not a plain SQL name: {name!r}"
        raise ValueError(message)
    return name


def owner(schema: str) -> str:
    """Name the role that owns the schema's objects and runs its migrations."""
    return f"holdfast_{checked_name(schema)}_owner"


def service(schema: str) -> str:
    """Name the role that answers requests, inside one organization a transaction."""
    return f"holdfast_{checked_name(schema)}_service"


def relay(schema: str) -> str:
    """Name the role that publishes the schema's messages, across organizations."""
    return f"holdfast_{checked_name(schema)}_relay"


def ensure(admin_dsn: str, *, schema: str, passwords: Mapping[str, str]) -> None:
    """Create or repair the roles and the schema; running it again changes nothing but passwords.

    `passwords` maps role names to passwords: the three roles of the schema and further `holdfast_<schema>_…` roles
    (capacity's sweeper). A role of the three without a password is created but cannot log in with one. The passwords
    are hashed here, so that no statement carries them. Raises psycopg.Error when the administrator may not do this,
    ValueError when a name is not of this schema.
    """
    prefix = f"holdfast_{checked_name(schema)}_"
    names = dict.fromkeys((owner(schema), service(schema), relay(schema), *passwords))
    for name in names:
        if not checked_name(name).startswith(prefix):
            message = f"the role {name!r} does not belong to the schema {schema!r}"
            raise ValueError(message)
    with psycopg.connect(admin_dsn, connect_timeout=10, application_name="holdfast-roles") as connection:
        # Services of one mesh may be set up at the same time, and roles belong to the whole server.
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('holdfast.roles', 0))")
        for name in names:
            _ensure_role(connection, name, passwords.get(name))
        _ensure_schema(connection, schema, tuple(names))


def _ensure_role(connection: psycopg.Connection[tuple[object, ...]], name: str, password: str | None) -> None:
    known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
    if known is None:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    superuser = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    if superuser == (True,):
        # Only a superuser may touch these attributes, even to switch them off.
        connection.execute(
            sql.SQL("ALTER ROLE {} NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION").format(
                sql.Identifier(name)
            )
        )
    if password is not None:
        hashed = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
        connection.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(hashed)))


def _ensure_schema(connection: psycopg.Connection[tuple[object, ...]], schema: str, names: Sequence[str]) -> None:
    admin = connection.execute("SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    if admin is not None and admin[1] is not True:
        # Giving a schema away needs membership of its new owner.
        connection.execute(
            sql.SQL("GRANT {} TO {}").format(sql.Identifier(owner(schema)), sql.Identifier(str(admin[0])))
        )
    identifier = sql.Identifier(schema)
    connection.execute(
        sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(identifier, sql.Identifier(owner(schema)))
    )
    connection.execute(sql.SQL("REVOKE ALL ON SCHEMA {} FROM PUBLIC").format(identifier))
    for name in names:
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(identifier, sql.Identifier(name)))


def organization_function_sql(schema: str) -> str:
    """Return the DDL of `<schema>.current_organization()`, which every policy asks.

    It raises (SQLSTATE 42501) without an organization: when the setting was never made (NULL), and when a pooled
    connection carries what an earlier transaction's `set_config(…, true)` leaves behind, the empty string.
    """
    checked_name(schema)
    return f"""
CREATE OR REPLACE FUNCTION {schema}.current_organization() RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = '' AS $function$
DECLARE
  organization text := pg_catalog.current_setting('{ORGANIZATION_SETTING}', true);
BEGIN
  IF organization IS NULL OR organization = '' THEN
    RAISE EXCEPTION 'this transaction works for no organization' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN organization;
END
$function$"""


def protect_sql(schema: str, table: str, *, relay: Literal["none", "read", "mark"] = "none") -> list[str]:
    """Return the statements that close `<schema>.<table>` for all but its organization, and grant what is left.

    The table has a column `organization_id text NOT NULL`. The service's role may read and write rows of the
    transaction's organization; the owner sees none (row-level security is forced on it, too). `relay="read"` lets the
    relay read all rows, `"mark"` also set `publish_time` and `publish_epoch` on them.
    """
    name = f"{checked_name(schema)}.{checked_name(table)}"
    # The sub-select makes the planner ask once a statement instead of once a row.
    rule = f"organization_id = (SELECT {schema}.current_organization())"
    statements = [
        f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY",
        # For the service alone: policies of one role are ORed, and this one raises where the relay's allows.
        f"CREATE POLICY organization ON {name} TO {service(schema)} USING ({rule}) WITH CHECK ({rule})",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO {service(schema)}",
    ]
    if relay in {"read", "mark"}:
        statements += everywhere_sql(schema, table, role=f"holdfast_{schema}_relay", privileges="SELECT")
    if relay == "mark":
        statements.append(f"GRANT UPDATE ({', '.join(RELAY_MARKS)}) ON {name} TO holdfast_{schema}_relay")
    return statements


def everywhere_sql(schema: str, table: str, *, role: str, privileges: str) -> list[str]:
    """Return the statements that let `role` use `privileges` on the rows of all organizations of one table.

    For work that is nobody's in particular: the relay's, the sweeper's. Row-level security must be on already.
    """
    name = f"{checked_name(schema)}.{checked_name(table)}"
    return [
        f"CREATE POLICY everywhere_{checked_name(role)} ON {name} TO {role} USING (true) WITH CHECK (true)",
        f"GRANT {privileges} ON {name} TO {role}",
    ]
