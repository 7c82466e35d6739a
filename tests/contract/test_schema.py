"""What the migrations leave in the database: tables guarded, keys spread by organization, roles without power."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import TestDatabase

SCHEMAS = ("events", "capacity", "pricing")
# Tables without an organization, and why.
WITHOUT_ORGANIZATION = {
    "leases": "which process does the service's own work",
    "migrations": "which migrations ran",
}
# Unique keys of the whole mesh, and why.
UNIQUE_EVERYWHERE = {"organizations_slug": "an organization's slug names it in the whole mesh"}

TABLES = """
SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, pg_get_userbyid(c.relowner),
       EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'organization_id' AND a.attnotnull)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'p') ORDER BY 1"""
UNIQUE_KEYS = """
SELECT t.relname, i.relname, (SELECT attname FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum = x.indkey[0])
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE n.nspname = %s AND (x.indisunique OR x.indisexclusion) ORDER BY 1, 2"""
FOREIGN_KEYS = """
SELECT t.relname, k.conname, array_agg(a.attname::text)
FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY (k.conkey)
WHERE n.nspname = %s AND k.contype = 'f' GROUP BY 1, 2"""
POWERS = """
SELECT rolname FROM pg_roles
WHERE rolname LIKE 'holdfast%%' AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)"""
FLOATS = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = %s AND data_type IN ('real', 'double precision', 'money') ORDER BY 1, 2"""


@pytest.fixture(scope="module")
def administrator(database: TestDatabase) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.dsn("admin"), autocommit=True) as connection:
        yield connection


def unguarded(connection: psycopg.Connection, schema: str) -> list[str]:
    """Tables that row-level security does not hold, or that have no organization."""
    found = []
    for name, secured, forced, owner, organized in connection.execute(TABLES, (schema,)):
        if name == "migrations":
            continue
        if not (secured and forced):
            found.append(f"{schema}.{name}: row-level security is not on and forced")
        if not organized and name not in WITHOUT_ORGANIZATION:
            found.append(f"{schema}.{name} has no organization_id NOT NULL")
        if owner != f"holdfast_{schema}_owner":
            found.append(f"{schema}.{name} belongs to {owner}")
    return found


def unspread(connection: psycopg.Connection, schema: str) -> list[str]:
    """Keys that do not start with the organization."""
    keys = connection.execute(UNIQUE_KEYS, (schema,)).fetchall()
    found = [
        f"{schema}.{table}: {key} starts with {first}"
        for table, key, first in keys
        if first != "organization_id" and table not in WITHOUT_ORGANIZATION and key not in UNIQUE_EVERYWHERE
    ]
    return found + [
        f"{schema}.{table}: {key} refers to another table without its organization"
        for table, key, columns in connection.execute(FOREIGN_KEYS, (schema,))
        if "organization_id" not in columns
    ]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_table_is_guarded(schema: str, administrator: psycopg.Connection) -> None:
    assert administrator.execute(TABLES, (schema,)).fetchall(), f"there is no table in {schema}"
    assert not unguarded(administrator, schema)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_key_starts_with_the_organization(schema: str, administrator: psycopg.Connection) -> None:
    assert not unspread(administrator, schema)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_no_amount_is_a_float(schema: str, administrator: psycopg.Connection) -> None:
    assert not administrator.execute(FLOATS, (schema,)).fetchall()


def test_no_role_of_the_mesh_has_powers_of_the_server(administrator: psycopg.Connection) -> None:
    assert not administrator.execute(POWERS).fetchall()


def test_planted_faults_are_found(administrator: psycopg.Connection) -> None:
    with administrator.transaction(force_rollback=True):
        administrator.execute("CREATE SCHEMA planted")
        administrator.execute("CREATE TABLE planted.venues (organization_id text NOT NULL, id text PRIMARY KEY)")
        administrator.execute("CREATE TABLE planted.events (id text REFERENCES planted.venues)")
        assert len(unspread(administrator, "planted")) == len(["venues_pkey", "events_id_fkey"])
        kinds = " ".join(unguarded(administrator, "planted"))
        assert "not on and forced" in kinds
        assert "has no organization_id" in kinds
        assert "belongs to" in kinds
