"""Statements without SQLAlchemy: together in one round trip, in a transaction like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from holdfast.common.database import Statement
from holdfast.common.ids import new_id
from tests.integration.common import notes

if TYPE_CHECKING:
    from holdfast.common.database import Database, Pipeline, Transaction

    Admin = psycopg.AsyncConnection[tuple[Any, ...]]


def write(organization_id: str, note_id: str) -> Statement:
    sql = "INSERT INTO proving.notes (organization_id, note_id, words) VALUES ($1, $2, 'sent') RETURNING note_id"
    return Statement(sql, (organization_id, note_id))


COUNT = Statement("SELECT count(*) FROM proving.notes")
BROKEN = Statement("SELECT 1 / 0")


async def count(service: Database, organization_id: str) -> int:
    return await service.run(notes.count, organization_id=organization_id)


async def test_statements_are_one_transaction_and_each_gives_its_rows(service: Database) -> None:
    mine = new_id()
    found = await service.run_statements(write(mine, "a"), write(mine, "b"), COUNT, organization_id=mine)
    assert found == [[("a",)], [("b",)], [(2,)]]
    assert await count(service, mine) == 2


async def test_a_statement_that_fails_undoes_those_before_it(service: Database) -> None:
    mine = new_id()
    with pytest.raises(psycopg.errors.DivisionByZero):
        await service.run_statements(write(mine, "a"), BROKEN, write(mine, "b"), organization_id=mine)
    assert await service.run_statements(COUNT, organization_id=mine) == [[(0,)]]


async def test_statements_see_their_organization_only(service: Database, relay_database: Database) -> None:
    mine, other = new_id(), new_id()
    await service.run_statements(write(mine, "a"), organization_id=mine)
    assert await service.run_statements(COUNT, organization_id=other) == [[(0,)]]
    with pytest.raises(ValueError, match="one organization only"):
        await service.run_statements(COUNT, organization_id=None)
    with pytest.raises(ValueError, match="cannot be empty"):
        await relay_database.run_statements(COUNT, organization_id="")
    assert await relay_database.run_statements(Statement("SELECT $1::text", ("x",)), organization_id=None) == [[("x",)]]


async def test_a_transaction_in_which_nothing_but_statements_were_sent_is_committed(service: Database) -> None:
    mine = new_id()

    async def work(transaction: Transaction) -> list[list[tuple[Any, ...]]]:
        return await transaction.send(write(mine, "a"), COUNT)

    assert await service.run(work, organization_id=mine) == [[("a",)], [(1,)]]
    assert await count(service, mine) == 1


async def test_a_pipeline_goes_on_as_a_transaction(service: Database) -> None:
    mine = new_id()

    async def work(pipeline: Pipeline) -> int:
        with pytest.raises(RuntimeError):
            pipeline.transaction()
        await pipeline.send(write(mine, "a"))
        await notes.write(pipeline.transaction(), "b")
        pipeline.last.append(write(mine, "c"))
        return await notes.count(pipeline.transaction())

    assert await service.run_pipeline(work, organization_id=mine) == 2
    assert await count(service, mine) == 3


async def test_a_pipeline_that_fails_as_a_transaction_leaves_nothing(service: Database) -> None:
    mine = new_id()

    async def work(pipeline: Pipeline) -> None:
        await pipeline.send(write(mine, "a"))
        await notes.write(pipeline.transaction(), "b")
        raise LookupError

    with pytest.raises(LookupError):
        await service.run_pipeline(work, organization_id=mine)
    assert await count(service, mine) == 0


async def test_statements_of_a_lost_connection_are_sent_again_over_another(service: Database, admin: Admin) -> None:
    mine = new_id()
    backends: list[int] = []

    async def work(transaction: Transaction) -> None:
        ((found,),) = await transaction.send(Statement("SELECT pg_backend_pid()"))
        backends.append(found[0])
        if len(backends) == 1:
            await admin.execute("SELECT pg_terminate_backend(%s, 5000)", (found[0],))
        await transaction.send(write(mine, "a"))

    await service.run(work, organization_id=mine)
    assert len(set(backends)) == 2
    assert await count(service, mine) == 1
