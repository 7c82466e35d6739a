"""Roles and migrations: repeatable, one at a time, never in the way of writers for long."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from holdfast.common import migrations, roles
from tests.support.postgres import schemas

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import PostgresServer, TestDatabase

PACKAGE = "tests.support.proving"
PROTECTED = """
SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND c.relname <> 'migrations'"""


@pytest.fixture
def empty(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a database with nothing in it."""
    name = f"empty_{secrets.token_hex(4)}"
    with psycopg.connect(postgres_server.admin_dsn(), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield name
    postgres_server.drop(name)


def logins(server: PostgresServer, name: str) -> tuple[str, str, str]:
    owner, service, relay = (server.dsn(f"proving_{role}", name) for role in ("owner", "service", "relay"))
    return owner, service, relay


def migrate(server: PostgresServer, name: str, admin_dsn: str | None = "superuser") -> None:
    owner, service, relay = logins(server, name)
    migrations.migrate(
        package=PACKAGE,
        migration_dsn=owner,
        admin_dsn=server.admin_dsn(name) if admin_dsn == "superuser" else admin_dsn,
        logins=(service, relay),
    )


def revision(server: PostgresServer, name: str) -> list[tuple[str]]:
    with psycopg.connect(server.admin_dsn(name)) as connection:
        return [(str(row[0]),) for row in connection.execute("SELECT version_num FROM proving.migrations")]


def test_migrating_again_changes_nothing(postgres_server: PostgresServer, empty: str) -> None:
    for _ in range(2):
        migrate(postgres_server, empty)
        assert revision(postgres_server, empty) == [(migrations.head(PACKAGE),)]
    migrate(postgres_server, empty, admin_dsn=None)


def test_upgrades_started_together_queue(postgres_server: PostgresServer, empty: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(migrate, postgres_server, empty) for _ in range(4)]:
            done.result(timeout=60)
    assert revision(postgres_server, empty) == [(migrations.head(PACKAGE),)]


BLOCKED = """
SELECT count(*) FROM pg_stat_activity WHERE usename = 'holdfast_proving_owner' AND wait_event_type = 'Lock'"""


def test_a_migration_gives_up_its_place_for_a_lock_and_comes_again(postgres_server: PostgresServer, empty: str) -> None:
    migrate(postgres_server, empty)
    with (
        psycopg.connect(postgres_server.admin_dsn(empty)) as holder,
        psycopg.connect(postgres_server.admin_dsn(empty), autocommit=True) as looker,
        ThreadPoolExecutor(1) as pool,
    ):
        holder.execute("LOCK TABLE proving.migrations IN ACCESS EXCLUSIVE MODE")
        running = pool.submit(migrate, postgres_server, empty, None)
        begin = time.monotonic()
        seen: list[int] = []
        while seen[-3:] != [1, 0, 1] and time.monotonic() < begin + 20:
            row = looker.execute(BLOCKED).fetchone()
            assert row is not None
            if not seen or seen[-1] != row[0]:
                seen.append(int(row[0]))
        assert seen[-3:] == [1, 0, 1], "waits, gives up, waits again"
        holder.rollback()
        running.result(timeout=60)


def test_an_administrator_that_is_no_superuser_can_make_the_roles(postgres_server: PostgresServer, empty: str) -> None:
    """Managed databases give no superuser; CREATEROLE and CREATE on the database are enough."""
    name, password = f"admin_{secrets.token_hex(4)}", secrets.token_hex(8)
    schema = f"s{secrets.token_hex(4)}"
    with psycopg.connect(postgres_server.admin_dsn(empty), autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN CREATEROLE PASSWORD {}").format(sql.Identifier(name), sql.Literal(password))
        )
        admin.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(empty), sql.Identifier(name)))
    dsn = postgres_server.embedded.dsn(user=name, password=password, database=empty)
    for _ in range(2):
        roles.ensure(dsn, schema=schema, passwords={roles.owner(schema): "secret-of-the-owner"})
    owner = postgres_server.embedded.dsn(user=roles.owner(schema), password="secret-of-the-owner", database=empty)
    with psycopg.connect(owner) as connection:
        connection.execute(sql.SQL("CREATE TABLE {}.t ()").format(sql.Identifier(schema)))


def test_a_failure_is_told_without_a_secret(postgres_server: PostgresServer, empty: str) -> None:
    dsn = postgres_server.embedded.dsn(user="holdfast_proving_owner", password="wrong-and-secret", database=empty)
    with pytest.raises(migrations.MigrationError) as told:
        migrations.migrate(package=PACKAGE, migration_dsn=dsn, admin_dsn=None, logins=())
    assert "wrong-and-secret" not in str(told.value)
    with pytest.raises(migrations.MigrationError, match="no package"):
        migrations.migrate(package="holdfast.nothing", migration_dsn=dsn, admin_dsn=None, logins=())


def test_a_role_of_another_schema_is_not_made(postgres_server: PostgresServer, empty: str) -> None:
    with pytest.raises(ValueError, match="does not belong"):
        roles.ensure(postgres_server.admin_dsn(empty), schema="proving", passwords={"holdfast_events_owner": "x"})
    with pytest.raises(ValueError, match="plain SQL name"):
        roles.ensure(postgres_server.admin_dsn(empty), schema='x"; DROP', passwords={})


@pytest.mark.parametrize("schema", sorted(schemas()))
def test_row_level_security_is_on_and_forced_for_every_table(database: TestDatabase, schema: str) -> None:
    with psycopg.connect(database.dsn("admin")) as connection:
        found = connection.execute(PROTECTED, (schema,)).fetchall()
    assert len(found) >= 4
    assert [name for name, protected in found if not protected] == []


@pytest.mark.parametrize("schema", sorted(schemas()))
def test_every_table_of_an_organization_raises_without_one(database: TestDatabase, schema: str) -> None:
    """The service's policy asks for the organization; only leases and what is due are nobody's in particular."""
    with psycopg.connect(database.dsn("admin")) as connection:
        found = connection.execute(
            "SELECT DISTINCT tablename FROM pg_policies WHERE schemaname = %s AND %s = ANY (roles) "
            "AND qual NOT LIKE '%%current_organization%%' AND permissive = 'PERMISSIVE'",
            (schema, roles.service(schema)),
        ).fetchall()
    assert {str(row[0]) for row in found} <= {"leases", "due_work"}
