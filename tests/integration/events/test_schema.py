"""The schema: row-level security on every table, what the roles may, and that the tables are as the code has them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from holdfast.common.database import Database
from holdfast.common.idempotency import RequestKey
from holdfast.common.ids import new_id
from holdfast.events.operations.organizations import PLATFORM_ORGANIZATION_ID, create_organization
from holdfast.events.store.tables import METADATA
from tests.unit.events.examples import NOW

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import TestDatabase

TABLES = sorted(METADATA.tables)
ORGANIZATION = "SELECT set_config('holdfast.organization_id', %s, true)"


def rows(dsn: str, query: str, *values: Any) -> list[dict[str, Any]]:
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        return connection.execute(query.encode(), values).fetchall()


async def made_organization(database: TestDatabase) -> str:
    organization_id = new_id()
    service = Database(
        dsn=database.dsn("events_service"), pool_size=1, application_name="holdfast-tests", schema="events"
    )
    await service.start()
    try:
        key = RequestKey(caller="me", rpc="CreateOrganization", request_id=new_id(), fingerprint=b"x")
        await service.run(
            lambda transaction: create_organization(
                transaction, organization_id=organization_id, changes={"name": organization_id}, key=key, now=NOW
            ),
            organization_id=PLATFORM_ORGANIZATION_ID,
        )
    finally:
        await service.close()
    return organization_id


def test_every_table_is_as_the_code_has_it(database: TestDatabase) -> None:
    found = rows(
        database.dsn("admin"),
        "SELECT table_name, column_name, is_nullable FROM information_schema.columns WHERE table_schema = 'events'",
    )
    for table in METADATA.tables.values():
        columns = {one["column_name"]: one["is_nullable"] == "YES" for one in found if one["table_name"] == table.name}
        assert columns == {column.name: bool(column.nullable) for column in table.columns}, table.name


def test_row_level_security_is_on_and_forced_everywhere(database: TestDatabase) -> None:
    found = rows(
        database.dsn("admin"),
        "SELECT relname FROM pg_class WHERE relnamespace = 'events'::regnamespace AND relkind = 'r'"
        " AND relname <> 'migrations' AND NOT (relrowsecurity AND relforcerowsecurity)",
    )
    assert found == []


@pytest.mark.parametrize("table", TABLES)
async def test_a_transaction_sees_its_organization_only(database: TestDatabase, table: str) -> None:
    mine, theirs = await made_organization(database), await made_organization(database)
    with psycopg.connect(database.dsn("events_service")) as connection:
        for organization_id in (mine, theirs):
            connection.execute(ORGANIZATION, (organization_id,))
            seen = connection.execute(
                sql.SQL("SELECT DISTINCT organization_id FROM {}").format(sql.Identifier(*table.split(".")))
            ).fetchall()
            assert seen == ([(organization_id,)] if table == "events.organizations" else [])
        connection.rollback()
        for empty in (None, ""):
            if empty is not None:
                connection.execute(ORGANIZATION, (empty,))
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL("SELECT 1 FROM {}").format(sql.Identifier(*table.split("."))))
            connection.rollback()


async def test_nobody_writes_for_another_organization(database: TestDatabase) -> None:
    mine, theirs = await made_organization(database), await made_organization(database)
    with psycopg.connect(database.dsn("events_service")) as connection:
        connection.execute(ORGANIZATION, (mine,))
        changed = connection.execute("UPDATE events.organizations SET name = 'x' WHERE organization_id = %s", (theirs,))
        assert changed.rowcount == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(
                "INSERT INTO events.due_work VALUES (%s, 'event', 'DATES', clock_timestamp(), 0)", (theirs,)
            )


@pytest.mark.parametrize("table", TABLES)
def test_across_organizations_only_due_work_is_read_and_nothing_written(database: TestDatabase, table: str) -> None:
    with psycopg.connect(database.dsn("events_relay"), autocommit=True) as connection:
        if table == "events.due_work":
            connection.execute(b"SELECT * FROM events.due_work")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(b"DELETE FROM events.due_work")
        else:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL("SELECT 1 FROM {}").format(sql.Identifier(*table.split("."))))


def command(name: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HOLDFAST_")}
    return subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "holdfast.events", name],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_second_migration_changes_nothing(database: TestDatabase) -> None:
    variables = {
        "HOLDFAST_EVENTS_DATABASE_DSN": database.dsn("events_service"),
        "HOLDFAST_EVENTS_RELAY_DSN": database.dsn("events_relay"),
        "HOLDFAST_EVENTS_MIGRATION_DSN": database.dsn("events_owner"),
    }
    for _ in range(2):
        done = command("migrate", **variables)
        assert done.returncode == 0, done.stderr
    assert rows(database.dsn("admin"), "SELECT version_num FROM events.migrations") == [{"version_num": "0001"}]
    refused = command("migrate", **{key: value for key, value in variables.items() if "MIGRATION" not in key})
    assert refused.returncode == 2
    assert refused.stderr == "HOLDFAST_EVENTS_MIGRATION_DSN: missing\n"


@pytest.mark.parametrize("wrong", ["superuser", "password", "missing"])
def test_a_wrong_database_stops_the_start(database: TestDatabase, identity_dir: Path, wrong: str) -> None:
    dsn = database.dsn("events_service")
    variables = {
        "HOLDFAST_IDENTITY_DIR": str(identity_dir),
        "HOLDFAST_PAGE_TOKEN_KEY": "k" * 40,
        "HOLDFAST_EVENTS_LISTEN": "127.0.0.1:0",
        "HOLDFAST_EVENTS_METRICS_LISTEN": "127.0.0.1:0",
        "HOLDFAST_EVENTS_RELAY_DSN": database.dsn("events_relay"),
        "HOLDFAST_EVENTS_DATABASE_DSN": {
            "superuser": database.dsn("admin"),
            "password": dsn.replace("@", "x@", 1),
            "missing": "",
        }[wrong],
    }
    done = command("serve", **variables)
    assert done.returncode != 0
    assert ("HOLDFAST_EVENTS_DATABASE_DSN" in done.stderr) if wrong == "missing" else "refuse" in done.stderr
    assert dsn.split(":")[2].split("@")[0] not in done.stderr + done.stdout
