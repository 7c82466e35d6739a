"""`Database.run`: one commit, bounded retry, no leak."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from holdfast.common.errors import DomainError, Reason
from tests.integration.common import notes
from tests.integration.common.conftest import opened, until

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from holdfast.common.database import Database, Transaction
    from tests.support.postgres import TestDatabase

    Admin = psycopg.AsyncConnection[tuple[Any, ...]]

PID = text("SELECT pg_backend_pid()")
ROLE = "holdfast_proving_service"


async def pid_of(transaction: Transaction) -> int:
    return int((await transaction.execute(PID)).scalar_one())


async def sessions(admin: Admin, database: TestDatabase, state: str) -> int:
    """Count the service's sessions in a state."""
    found = await admin.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND usename = %s AND state LIKE %s",
        (database.name, ROLE, state),
    )
    return int((await found.fetchall())[0][0])


def none_left(admin: Admin, database: TestDatabase) -> Callable[[], Any]:
    async def check() -> bool:
        return await sessions(admin, database, "%transaction%") + await sessions(admin, database, "active") == 0

    return check


async def test_what_an_operation_wrote_is_there_afterwards(service: Database) -> None:
    await service.run(lambda transaction: notes.write(transaction, "kept", "said"), organization_id="run")
    assert await service.run(lambda transaction: notes.words_of(transaction, "kept"), organization_id="run") == "said"


async def test_an_exception_of_the_operation_leaves_nothing_behind(service: Database) -> None:
    async def fails(transaction: Transaction) -> None:
        await notes.write(transaction, "gone")
        raise DomainError(Reason.SECTION_CLOSED, "no")

    with pytest.raises(DomainError) as refused:
        await service.run(fails, organization_id="run")
    assert refused.value.reason == Reason.SECTION_CLOSED
    assert await service.run(lambda transaction: notes.words_of(transaction, "gone"), organization_id="run") is None


async def test_a_violated_constraint_is_for_the_store_to_translate(service: Database) -> None:
    await service.run(lambda transaction: notes.write(transaction, "twice"), organization_id="run")
    with pytest.raises(IntegrityError):
        await service.run(lambda transaction: notes.write(transaction, "twice"), organization_id="run")


async def test_a_serialization_failure_runs_the_operation_again(database: TestDatabase, admin: Admin) -> None:
    setting = sql.SQL("ALTER ROLE {} IN DATABASE {} {} default_transaction_isolation {}")
    names = (sql.Identifier(ROLE), sql.Identifier(database.name))
    await admin.execute(setting.format(*names, sql.SQL("SET"), sql.SQL("= 'repeatable read'")))
    try:
        async with opened(database.dsn("proving_service")) as service:
            await service.run(lambda transaction: notes.write(transaction, "contended"), organization_id="serial")
            both_have_read = asyncio.Barrier(2)
            runs = 0

            async def change(transaction: Transaction) -> int:
                nonlocal runs
                runs += 1
                await notes.words_of(transaction, "contended")  # takes the snapshot
                if runs <= 2:
                    await both_have_read.wait()
                return await notes.change(transaction, "contended")

            versions = await asyncio.gather(*(service.run(change, organization_id="serial") for _ in range(2)))
    finally:
        await admin.execute(setting.format(*names, sql.SQL("RESET"), sql.SQL("")))
    assert sorted(versions) == [1, 2]
    assert runs == 3


async def test_a_deadlock_is_invisible_to_both_callers(service: Database) -> None:
    await service.run(lambda transaction: notes.write(transaction, "left"), organization_id="dead")
    await service.run(lambda transaction: notes.write(transaction, "right"), organization_id="dead")
    both_hold_one = asyncio.Barrier(2)
    runs = 0

    async def cross(transaction: Transaction, first: str, second: str) -> int:
        nonlocal runs
        runs += 1
        await notes.change(transaction, first)
        if runs <= 2:
            await both_hold_one.wait()
        return await notes.change(transaction, second)

    await asyncio.gather(
        service.run(lambda transaction: cross(transaction, "left", "right"), organization_id="dead"),
        service.run(lambda transaction: cross(transaction, "right", "left"), organization_id="dead"),
    )
    assert runs == 3
    final = await service.run(lambda transaction: cross(transaction, "left", "right"), organization_id="dead")
    assert final == 3


async def test_a_connection_lost_between_transactions_is_replaced(service: Database, admin: Admin) -> None:
    pid = await service.run(pid_of, organization_id="lost")
    await admin.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    assert await service.run(pid_of, organization_id="lost") != pid


async def test_when_every_pooled_connection_is_lost_no_caller_notices(database: TestDatabase, admin: Admin) -> None:
    async with opened(database.dsn("proving_service"), pool_size=8, retry_limit=3) as service:
        all_are_in = asyncio.Barrier(8)

        async def together(transaction: Transaction) -> int:
            await all_are_in.wait()
            return await pid_of(transaction)

        pids = await asyncio.gather(*(service.run(together, organization_id="lost") for _ in range(8)))
        assert len(set(pids)) == 8
        for pid in pids:
            await admin.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        for _ in range(8):
            assert await service.run(pid_of, organization_id="lost") not in pids


@pytest.mark.parametrize("organization_id", ["o'brien", "100%s", 'a"b', "back\\slash'; SELECT 1; --", "größe", "$1"])
async def test_an_organization_is_data_whatever_its_characters(service: Database, organization_id: str) -> None:
    await service.run(lambda transaction: notes.write(transaction, "own"), organization_id=organization_id)
    assert await service.run(notes.count, organization_id=organization_id) == 1


async def test_retries_end_at_the_limit_and_the_caller_is_told_to_come_back(service: Database, admin: Admin) -> None:
    runs = 0

    async def unlucky(transaction: Transaction) -> None:
        nonlocal runs
        runs += 1
        await admin.execute("SELECT pg_terminate_backend(%s, 5000)", (await pid_of(transaction),))
        await notes.count(transaction)

    with pytest.raises(DomainError) as told:
        await service.run(unlucky, organization_id="lost")
    assert told.value.reason == Reason.DEPENDENCY_UNAVAILABLE
    assert told.value.metadata == {"dependency": "database"}
    assert told.value.retry_after_seconds
    assert runs == 6
    runs = 0
    deadline = asyncio.get_running_loop().time()
    with pytest.raises(DomainError):
        await service.run(unlucky, organization_id="lost", deadline=deadline)
    assert runs == 1


async def test_a_cancelled_caller_before_commit_leaves_nothing_and_no_connection_hangs(
    database: TestDatabase, admin: Admin
) -> None:
    async with opened(database.dsn("proving_service"), pool_size=2) as service:

        async def slow(transaction: Transaction) -> None:
            await notes.write(transaction, "cancelled")
            await transaction.execute(text("SELECT pg_sleep(4)"))

        async def idle(transaction: Transaction) -> None:
            await notes.write(transaction, "cancelled-idle")
            await asyncio.Event().wait()

        for operation in (slow, idle) * 3:
            task = asyncio.create_task(service.run(operation, organization_id="cancel"))
            wanted = "active" if operation is slow else "idle in transaction"

            async def under_way(wanted: str = wanted) -> bool:
                return await sessions(admin, database, wanted) == 1

            await until(under_way)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await until(none_left(admin, database))
        assert await service.run(notes.count, organization_id="cancel") == 0
        # Both connections can be had at the same time: none is lost to the pool.
        meet = asyncio.Barrier(2)

        async def together(transaction: Transaction) -> None:
            await meet.wait()
            await notes.count(transaction)

        async with asyncio.timeout(5):
            await asyncio.gather(*(service.run(together, organization_id="cancel") for _ in range(2)))


async def test_a_caller_cancelled_during_commit_does_not_tear_it(service: Database, admin: Admin) -> None:
    await admin.execute(
        """
CREATE FUNCTION proving.dawdle() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN PERFORM pg_catalog.pg_sleep(1); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON proving.notes DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION proving.dawdle()"""
    )
    try:
        task = asyncio.create_task(
            service.run(lambda transaction: notes.write(transaction, "committed"), organization_id="shield")
        )

        async def committing() -> bool:
            found = await admin.execute("SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = 'COMMIT'")
            return await found.fetchone() is not None

        await until(committing)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        async def there() -> bool:
            return await service.run(notes.count, organization_id="shield") == 1

        await until(there)
    finally:
        await admin.execute("DROP TRIGGER dawdle ON proving.notes; DROP FUNCTION proving.dawdle()")


async def test_waiting_for_a_connection_is_bounded_in_number_and_time(database: TestDatabase) -> None:
    async with opened(database.dsn("proving_service"), pool_size=1, waiting_max=1, pool_timeout_seconds=0.2) as service:
        release = asyncio.Event()
        started = asyncio.Event()

        async def hold(transaction: Transaction) -> None:
            await notes.count(transaction)
            started.set()
            await release.wait()

        holder = asyncio.create_task(service.run(hold, organization_id="wait"))
        await started.wait()
        waiter = asyncio.create_task(service.run(notes.count, organization_id="wait"))
        await asyncio.sleep(0)
        with pytest.raises(DomainError) as at_once:
            await service.run(notes.count, organization_id="wait")
        with pytest.raises(DomainError) as in_time:
            await waiter
        assert at_once.value.reason == Reason.OVERLOADED
        assert at_once.value.retry_after_seconds
        assert in_time.value.reason == Reason.DEPENDENCY_UNAVAILABLE
        release.set()
        await holder
        assert await service.run(notes.count, organization_id="wait") == 0


async def test_a_lock_waited_for_too_long_is_refused_as_overload(database: TestDatabase) -> None:
    async with opened(database.dsn("proving_service"), lock_timeout_seconds=0.1) as service:
        await service.run(lambda transaction: notes.write(transaction, "locked"), organization_id="lock")

        async def nested(transaction: Transaction) -> None:
            await notes.change(transaction, "locked")
            with pytest.raises(DomainError) as told:
                await service.run(lambda other: notes.change(other, "locked"), organization_id="lock")
            assert told.value.reason == Reason.OVERLOADED

        await service.run(nested, organization_id="lock")


async def test_an_operation_needs_an_organization(service: Database) -> None:
    with pytest.raises(ValueError, match="one organization"):
        await service.run(notes.count, organization_id=None)
    with pytest.raises(ValueError, match="empty"):
        await service.run(notes.count, organization_id="")


async def test_a_closed_database_refuses_work(database: TestDatabase) -> None:
    async with opened(database.dsn("proving_service")) as service:
        pass
    with pytest.raises(DomainError) as told:
        await service.run(notes.count, organization_id="closed")
    assert told.value.reason == Reason.DEPENDENCY_UNAVAILABLE
