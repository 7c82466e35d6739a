"""Row-level security: no read, no write, no inference across organizations; no organization is an error."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import column, delete, select, text, update
from sqlalchemy import table as table_named
from sqlalchemy.exc import ProgrammingError

from holdfast.common import idempotency, leases, outbox, positions
from holdfast.common.idempotency import RequestKey
from tests.integration.common import notes
from tests.integration.common.conftest import opened

if TYPE_CHECKING:
    from holdfast.common.database import Database, Transaction
    from tests.support.postgres import TestDatabase

TABLES = ("notes", "outbox", "positions", "requests")
NO_ORGANIZATION = "works for no organization"


@pytest.fixture(scope="module")
async def filled(database: TestDatabase) -> None:
    """Rows of the organization `theirs` in every table."""

    async def fill(transaction: Transaction) -> None:
        await notes.write(transaction, "a")
        await notes.change(transaction, "a")
        key = RequestKey(caller="c", rpc="r", request_id="q", fingerprint=b"f")
        await idempotency.record(transaction, key, "a")
        await positions.claim(transaction, schema="proving", consumer="k", aggregate_id="a", version=1)

    async with opened(database.dsn("proving_service")) as service:
        await service.run(fill, organization_id="theirs")


def every_row(table: str) -> sql.Composed:
    return sql.SQL("SELECT * FROM proving.{}").format(sql.Identifier(table))


async def raw(database: TestDatabase, role: str) -> psycopg.AsyncConnection[tuple[Any, ...]]:
    return await psycopg.AsyncConnection.connect(database.dsn(role), autocommit=True)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("table", TABLES)
async def test_without_an_organization_every_table_raises(database: TestDatabase, table: str) -> None:
    async with await raw(database, "proving_service") as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=NO_ORGANIZATION):
            await connection.execute(every_row(table))


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("table", TABLES)
async def test_what_a_pooled_connection_has_left_raises(database: TestDatabase, table: str) -> None:
    async with await raw(database, "proving_service") as connection:
        async with connection.transaction():
            await connection.execute("SELECT set_config('holdfast.organization_id', 'theirs', true)")
            rows = await connection.execute(every_row(table))
            assert len(await rows.fetchall()) == 1
        left = await connection.execute("SELECT current_setting('holdfast.organization_id', true)")
        assert await left.fetchall() == [("",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=NO_ORGANIZATION):
            await connection.execute(every_row(table))


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("table", TABLES)
async def test_rows_of_another_organization_are_invisible_and_untouchable(
    database: TestDatabase, service: Database, table: str
) -> None:
    named = table_named(table, column("organization_id"), schema="proving")

    async def look(transaction: Transaction) -> tuple[int, int, int]:
        seen = await transaction.execute(select(named))
        rows = len(seen.all())
        changed = await transaction.execute(update(named).values(organization_id="mine"))
        deleted = await transaction.execute(delete(named))
        return rows, changed.rowcount, deleted.rowcount

    assert await service.run(look, organization_id="mine") == (0, 0, 0)
    async with await raw(database, "admin") as admin:
        found = await admin.execute(sql.SQL("SELECT organization_id FROM proving.{}").format(sql.Identifier(table)))
        assert await found.fetchall() == [("theirs",)]


async def test_rows_cannot_be_written_for_another_organization(service: Database) -> None:
    async def smuggle(transaction: Transaction) -> None:
        await notes.write(transaction, "planted", organization_id="theirs")

    async def give_away(transaction: Transaction) -> None:
        await notes.write(transaction, "given")
        await transaction.execute(text("UPDATE proving.notes SET organization_id = 'theirs'"))

    for operation in (smuggle, give_away):
        with pytest.raises(ProgrammingError, match="row-level security"):
            await service.run(operation, organization_id="mine")


@pytest.mark.usefixtures("filled")
async def test_the_owner_sees_no_rows(database: TestDatabase) -> None:
    async with await raw(database, "proving_owner") as owner:
        for table in TABLES:
            rows = await owner.execute(every_row(table))
            assert await rows.fetchall() == []


@pytest.mark.usefixtures("filled")
async def test_the_relay_reaches_outbox_and_leases_and_nothing_else(relay_database: Database) -> None:
    async def allowed(transaction: Transaction) -> int:
        await leases.acquire(transaction, schema="proving", name="mine", holder="me", ttl_seconds=1)
        await transaction.execute(text("UPDATE proving.outbox SET publish_epoch = NULL WHERE version = -1"))
        return len((await transaction.execute(text("SELECT * FROM proving.outbox"))).all())

    assert await relay_database.run(allowed, organization_id=None) == 1
    for forbidden in (
        "SELECT * FROM proving.notes",
        "SELECT * FROM proving.requests",
        "SELECT * FROM proving.positions",
        "UPDATE proving.outbox SET body = ''",
        "INSERT INTO proving.outbox (version) VALUES (1)",
    ):

        async def attempt(transaction: Transaction, forbidden: str = forbidden) -> None:
            await transaction.execute(text(forbidden))

        with pytest.raises(ProgrammingError, match="permission denied"):
            await relay_database.run(attempt, organization_id=None)


@pytest.mark.usefixtures("filled")
async def test_the_relay_cannot_delete_what_must_be_kept(relay_database: Database) -> None:
    async def delete(transaction: Transaction) -> int:
        return (await transaction.execute(text("DELETE FROM proving.outbox"))).rowcount

    assert await relay_database.run(delete, organization_id=None) == 0


async def test_a_platform_operation_may_switch_the_organization(service: Database) -> None:
    async def switch(transaction: Transaction) -> None:
        await notes.write(transaction, "here")
        await transaction.switch_organization("there")
        await notes.write(transaction, "there")
        assert transaction.organization_id == "there"
        assert await notes.count(transaction) == 1

    await service.run(switch, organization_id="here")
    assert await service.run(notes.count, organization_id="here") == 1
    with pytest.raises(ValueError, match="empty"):
        await service.run(lambda transaction: transaction.switch_organization(""), organization_id="here")


async def test_pooled_connections_and_random_cancels_never_mix_organizations(database: TestDatabase) -> None:
    chance = random.Random(20260521)  # noqa: S311 (a seed reproduces the run)
    async with opened(database.dsn("proving_service"), pool_size=3, waiting_max=1_000) as service:
        seen: set[tuple[str, str]] = set()

        async def look(organization_id: str) -> None:
            async def operation(transaction: Transaction) -> list[str]:
                await notes.write(transaction, str(chance.random()))
                found = await transaction.execute(text("SELECT organization_id FROM proving.notes"))
                return [str(each) for each in found.scalars()]

            for owner in await service.run(operation, organization_id=organization_id):
                seen.add((organization_id, owner))

        async def one(number: int) -> None:
            task = asyncio.create_task(look(f"mixed-{number % 5}"))
            if chance.random() < 0.4:
                await asyncio.sleep(chance.random() * 0.05)
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        await asyncio.gather(*(one(number) for number in range(200)))
        await asyncio.gather(*(look(f"mixed-{number}") for number in range(5)))
    assert seen == {(f"mixed-{number}", f"mixed-{number}") for number in range(5)}


async def test_a_body_that_could_never_be_published_is_refused_before_it_is_committed(service: Database) -> None:
    async def append(transaction: Transaction) -> None:
        too_large = notes.message("mine", "large", 1, "x" * (outbox.BODY_BYTES_MAX + 1))
        await outbox.append(transaction, too_large, schema="proving")

    with pytest.raises(ValueError, match="more than 524288"):
        await service.run(append, organization_id="mine")
