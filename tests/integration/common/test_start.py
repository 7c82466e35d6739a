"""A service refuses a database that could lose commits and a role that the rules do not bind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from psycopg import sql

from holdfast.common.database import Database, StartRefused
from holdfast.common.errors import DomainError, Reason
from tests.integration.common.conftest import opened, until

if TYPE_CHECKING:
    import psycopg

    from tests.support.postgres import PostgresServer, TestDatabase

    Admin = psycopg.AsyncConnection[tuple[Any, ...]]


def refused(dsn: str, schema: str = "proving") -> Database:
    return Database(dsn=dsn, pool_size=1, application_name="holdfast-tests", schema=schema, start_timeout_seconds=0.3)


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
async def test_a_server_without_durability_is_refused(database: TestDatabase, admin: Admin, setting: str) -> None:
    change = sql.SQL("ALTER SYSTEM {} {}")
    await admin.execute(change.format(sql.SQL("SET"), sql.SQL(f"{setting} = off")))
    await admin.execute("SELECT pg_reload_conf()")
    try:
        await _until_setting(admin, setting, "off")
        with pytest.raises(StartRefused, match=f"{setting} = off"):
            await refused(database.dsn("proving_service")).start()
    finally:
        await admin.execute(change.format(sql.SQL("RESET"), sql.SQL(setting)))
        await admin.execute("SELECT pg_reload_conf()")
        await _until_setting(admin, setting, "on")


async def _until_setting(admin: Admin, setting: str, value: str) -> None:
    async def in_force() -> bool:
        found = await admin.execute("SELECT current_setting(%s)", (setting,))
        return await found.fetchall() == [(value,)]

    await until(in_force)


async def test_a_role_that_does_not_wait_for_its_commits_is_refused(database: TestDatabase, admin: Admin) -> None:
    await admin.execute("ALTER ROLE holdfast_proving_service SET synchronous_commit = off")
    try:
        with pytest.raises(StartRefused, match="synchronous_commit = off"):
            await refused(database.dsn("proving_service")).start()
    finally:
        await admin.execute("ALTER ROLE holdfast_proving_service RESET synchronous_commit")


async def test_a_superuser_is_refused(database: TestDatabase) -> None:
    with pytest.raises(StartRefused, match="SUPERUSER") as told:
        await refused(database.dsn("admin")).start()
    assert database.server.embedded.password not in str(told.value)


async def test_an_owner_is_refused(database: TestDatabase) -> None:
    with pytest.raises(StartRefused, match="OWNER"):
        await refused(database.dsn("proving_owner")).start()


async def test_the_owner_of_one_table_is_refused(database: TestDatabase, admin: Admin) -> None:
    await admin.execute("ALTER TABLE proving.notes OWNER TO holdfast_proving_service")
    try:
        with pytest.raises(StartRefused, match=r"proving\.notes"):
            await refused(database.dsn("proving_service")).start()
    finally:
        await admin.execute("ALTER TABLE proving.notes OWNER TO holdfast_proving_owner")


async def test_a_role_that_bypasses_row_level_security_is_refused(database: TestDatabase, admin: Admin) -> None:
    await admin.execute("ALTER ROLE holdfast_proving_relay BYPASSRLS")
    try:
        with pytest.raises(StartRefused, match="BYPASSRLS"):
            await refused(database.dsn("proving_relay")).start()
    finally:
        await admin.execute("ALTER ROLE holdfast_proving_relay NOBYPASSRLS")


async def test_a_member_of_the_owner_is_refused(database: TestDatabase, admin: Admin) -> None:
    await admin.execute("GRANT holdfast_proving_owner TO holdfast_proving_service")
    try:
        with pytest.raises(StartRefused, match="MEMBER"):
            await refused(database.dsn("proving_service")).start()
    finally:
        await admin.execute("REVOKE holdfast_proving_owner FROM holdfast_proving_service")


async def test_a_schema_without_tables_is_refused(database: TestDatabase) -> None:
    with pytest.raises(StartRefused, match="migrations"):
        await refused(database.dsn("proving_service"), schema="nothing").start()


async def test_a_refused_login_is_told_without_the_password(postgres_server: PostgresServer) -> None:
    dsn = postgres_server.embedded.dsn(user="holdfast_proving_service", password="wrong-and-secret")
    with pytest.raises(StartRefused, match="password authentication failed") as told:
        await refused(dsn).start()
    assert "wrong-and-secret" not in str(told.value)


async def test_a_server_that_is_not_there_is_waited_for_and_then_told() -> None:
    with pytest.raises(DomainError) as told:
        await refused("postgresql://user:secret@127.0.0.1:1/none").start()
    assert told.value.reason == Reason.DEPENDENCY_UNAVAILABLE
    assert "secret" not in str(told.value)


async def test_the_three_roles_of_a_schema_start(database: TestDatabase) -> None:
    for role in ("proving_service", "proving_relay"):
        async with opened(database.dsn(role), allow_cross_organization=True):
            pass
