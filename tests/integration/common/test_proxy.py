"""The proxy that fault tests put before PostgreSQL cuts, freezes and holds at the very COMMIT it is told to."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.support.proxy import Action, Moment, PostgresProxy
from tests.support.wire import is_commit, statements_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.postgres import TestDatabase

    Connection = psycopg.Connection[tuple[Any, ...]]
    Write = Callable[[Connection, str], None]

INSERTION = {mark: f"INSERT INTO public.marks VALUES ('{mark}')" for mark in ("cut", "next", "late", "1", "2", "3")}  # noqa: S608 (fixed words)
AT_EXECUTED = (Moment.BEFORE_REPLY, Moment.BEFORE_READY)


@pytest.fixture(scope="module")
def direct(database: TestDatabase) -> Iterator[Connection]:
    """A connection past the proxy, with a table to write to."""
    with psycopg.connect(database.dsn("admin"), autocommit=True) as connection:
        connection.execute("CREATE TABLE public.marks (mark text PRIMARY KEY)")
        yield connection


@pytest.fixture
def proxy(database: TestDatabase, direct: Connection) -> Iterator[PostgresProxy]:
    """A proxy without traps, before an empty table."""
    direct.execute("DELETE FROM public.marks")
    with PostgresProxy(database.dsn("admin")) as running:
        yield running


def marks(direct: Connection) -> set[str]:
    return {str(row[0]) for row in direct.execute("SELECT mark FROM public.marks").fetchall()}


def gone(direct: Connection, pid: int) -> bool:
    """Tell whether a session ended."""
    return direct.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone() is None


def waits(direct: Connection, pid: int) -> bool:
    """Tell whether a session waits for the next statement of its transaction."""
    state = direct.execute("SELECT state FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone()
    return state == ("idle in transaction",)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (it looks at the server's sessions)
            await asyncio.sleep(0.01)  # between two looks


def simply(connection: Connection, mark: str) -> None:
    """Write in a transaction whose COMMIT is a simple query."""
    connection.execute("INSERT INTO public.marks VALUES (%s)", (mark,))
    connection.commit()


def pipelined(connection: Connection, *statements: str) -> None:
    """Send statements in one pipeline."""
    with connection.pipeline():
        for statement in statements:
            connection.execute(statement.encode())


def in_a_pipeline(connection: Connection, mark: str) -> None:
    """Write in a transaction that is one pipeline, BEGIN and COMMIT included."""
    pipelined(connection, "BEGIN", INSERTION[mark], "COMMIT")


def prepared(connection: Connection, mark: str) -> None:
    """Write in a transaction whose statements, COMMIT too, are executed by the names they were prepared under."""
    for number in range(3):
        connection.execute("BEGIN", prepare=True)
        connection.execute("INSERT INTO public.marks VALUES (%s)", (f"{mark}{number or ''}",), prepare=True)
        connection.execute("COMMIT", prepare=True)


WAYS = [pytest.param(simply, False, id="simple"), pytest.param(in_a_pipeline, True, id="pipeline")]


@pytest.mark.parametrize(("write", "autocommit"), WAYS)
@pytest.mark.parametrize("moment", [Moment.BEFORE_COMMIT, *AT_EXECUTED])
def test_a_connection_is_cut_before_or_after_its_commit(
    proxy: PostgresProxy, direct: Connection, write: Write, *, autocommit: bool, moment: Moment
) -> None:
    trap = proxy.arm(moment)
    with psycopg.connect(proxy.dsn(), autocommit=autocommit) as connection:
        with pytest.raises(psycopg.OperationalError):
            write(connection, "cut")
        assert connection.closed
    assert trap.sprung == 1
    assert marks(direct) == ({"cut"} if moment in AT_EXECUTED else set())
    with psycopg.connect(proxy.dsn(), autocommit=autocommit) as connection:
        write(connection, "next")
    assert marks(direct) - {"cut"} == {"next"}


@pytest.mark.parametrize(("moment", "kept"), [(Moment.BEFORE_COMMIT, {"p", "p1"}), (AT_EXECUTED[0], {"p", "p1", "p2"})])
def test_a_prepared_commit_is_known_by_its_name(
    proxy: PostgresProxy, direct: Connection, moment: Moment, kept: set[str]
) -> None:
    trap = proxy.arm(moment, skip=2)
    with psycopg.connect(proxy.dsn(), autocommit=True) as connection, pytest.raises(psycopg.OperationalError):
        prepared(connection, "p")
    assert trap.sprung == 1
    assert marks(direct) == kept


def test_several_transactions_of_one_pipeline_are_told_apart(proxy: PostgresProxy, direct: Connection) -> None:
    trap = proxy.arm(Moment.BEFORE_REPLY, touching="'2'")
    statements = [each for mark in "123" for each in ("BEGIN", INSERTION[mark], "COMMIT")]
    with psycopg.connect(proxy.dsn(), autocommit=True) as connection, pytest.raises(psycopg.OperationalError):
        pipelined(connection, *statements)
    assert trap.sprung == 1
    assert marks(direct) >= {"1", "2"}


def test_a_trap_counts_only_commits_that_it_is_for(proxy: PostgresProxy, direct: Connection) -> None:
    with psycopg.connect(proxy.dsn()) as one, psycopg.connect(proxy.dsn()) as other:
        trap = proxy.arm(Moment.BEFORE_REPLY, touching="INSERT INTO public.marks", skip=1, times=2)
        mine = proxy.arm(Moment.BEFORE_COMMIT, backend_pid=other.info.backend_pid)
        one.execute("SELECT 1 FROM public.marks")
        one.commit()
        one.execute("INSERT INTO public.marks VALUES ('rolled back')")
        one.rollback()
        simply(one, "skipped")
        with pytest.raises(psycopg.OperationalError):
            simply(other, "not done")
        with pytest.raises(psycopg.OperationalError):
            simply(one, "done")
    assert (mine.sprung, trap.sprung) == (1, 1)
    with psycopg.connect(proxy.dsn()) as third, pytest.raises(psycopg.OperationalError):
        simply(third, "done, too")
    with psycopg.connect(proxy.dsn()) as fourth:
        simply(fourth, "no trap is left")
    assert marks(direct) == {"skipped", "done", "done, too", "no trap is left"}


def test_a_commit_that_failed_is_not_taken_for_one(proxy: PostgresProxy, direct: Connection) -> None:
    trap = proxy.arm(Moment.BEFORE_REPLY)
    with psycopg.connect(proxy.dsn(), autocommit=True) as connection:
        connection.execute("BEGIN")
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1 / 0")
        assert connection.execute("COMMIT").statusmessage == "ROLLBACK"
        with pytest.raises(psycopg.errors.DivisionByZero):
            pipelined(connection, "BEGIN", "SELECT 1 / 0", "COMMIT")
        connection.execute("ROLLBACK")
        assert trap.sprung == 0
        with pytest.raises(psycopg.OperationalError):
            connection.execute("BEGIN; INSERT INTO public.marks VALUES ('all in one'); COMMIT")
    assert trap.sprung == 1
    assert marks(direct) == {"all in one"}


async def test_a_commit_is_held_until_it_is_released(proxy: PostgresProxy, direct: Connection) -> None:
    trap = proxy.arm(Moment.BEFORE_COMMIT, Action.HOLD)
    with psycopg.connect(proxy.dsn()) as connection:
        pid = connection.info.backend_pid
        writing = asyncio.create_task(asyncio.to_thread(simply, connection, "held"))
        await trap.reached()
        assert waits(direct, pid)
        assert not writing.done()
        trap.release()
        await writing
        assert marks(direct) == {"held"}


async def test_a_transaction_is_held_between_two_statements(proxy: PostgresProxy, direct: Connection) -> None:
    trap = proxy.arm(Moment.IN_TRANSACTION, Action.HOLD, touching="INSERT INTO")
    with psycopg.connect(proxy.dsn()) as connection:
        connection.execute("SELECT 1")
        assert trap.sprung == 0
        writing = asyncio.create_task(asyncio.to_thread(simply, connection, "held"))
        await trap.reached()
        pid = connection.info.backend_pid
        await until(lambda: waits(direct, pid))
        assert not writing.done()
        trap.release()
        await writing
    assert marks(direct) == {"held"}


async def test_who_is_ended_by_the_server_while_its_commit_is_held_is_told(
    proxy: PostgresProxy, direct: Connection
) -> None:
    trap = proxy.arm(Moment.BEFORE_COMMIT, Action.HOLD)
    with (
        psycopg.connect(proxy.dsn(), options="-c idle_in_transaction_session_timeout=300") as connection,
        pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout),
    ):
        await asyncio.to_thread(simply, connection, "too late")
    assert trap.sprung == 1
    assert marks(direct) == set()


@pytest.mark.parametrize("moment", [Moment.BEFORE_COMMIT, Moment.BEFORE_REPLY])
async def test_a_frozen_connection_hears_nothing_and_is_not_closed(
    proxy: PostgresProxy, direct: Connection, moment: Moment
) -> None:
    trap = proxy.arm(moment, Action.FREEZE)
    connection = psycopg.connect(proxy.dsn())
    pid = connection.info.backend_pid
    writing = asyncio.create_task(asyncio.to_thread(simply, connection, "frozen"))
    await trap.reached()
    assert marks(direct) == ({"frozen"} if moment in AT_EXECUTED else set())
    direct.execute("SELECT pg_terminate_backend(%s)", (pid,))
    await until(lambda: gone(direct, pid))
    assert not writing.done()
    proxy.thaw()
    with pytest.raises(psycopg.OperationalError):
        await writing
    connection.close()


async def test_a_frozen_network_lets_nobody_in_until_it_thaws(proxy: PostgresProxy, direct: Connection) -> None:
    with psycopg.connect(proxy.dsn(), autocommit=True) as before:
        proxy.freeze()
        asking = asyncio.create_task(asyncio.to_thread(before.execute, "INSERT INTO public.marks VALUES ('swallowed')"))
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            await asyncio.to_thread(lambda: psycopg.connect(proxy.dsn(), connect_timeout=2))
        assert not asking.done()
        proxy.thaw()
        with pytest.raises(psycopg.OperationalError):
            await asking
    with psycopg.connect(proxy.dsn()) as after:
        simply(after, "thawed")
    assert marks(direct) == {"thawed"}


def test_a_delay_reorders_and_loses_nothing(proxy: PostgresProxy, direct: Connection) -> None:
    proxy.delay_seconds = 0.01
    with psycopg.connect(proxy.dsn(), autocommit=True) as connection:
        in_a_pipeline(connection, "late")
        assert connection.execute("SELECT generate_series(1, 20)").fetchall() == [(n,) for n in range(1, 21)]
    assert marks(direct) == {"late"}


def test_a_cancellation_goes_through(proxy: PostgresProxy) -> None:
    with psycopg.connect(proxy.dsn(), autocommit=True) as connection:
        threading.Timer(0.1, connection.cancel_safe).start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(20)")


async def test_cutting_everything_ends_the_sessions_behind_it(proxy: PostgresProxy, direct: Connection) -> None:
    with psycopg.connect(proxy.dsn()) as connection:
        pid = connection.info.backend_pid
        proxy.cut()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    await until(lambda: gone(direct, pid))


def test_statements_are_told_apart() -> None:
    assert statements_of("BEGIN; SELECT set_config('a', 'b', true);") == ["BEGIN", "SELECT set_config('a', 'b', true)"]
    assert [is_commit(text) for text in ("commit", " COMMIT\n", "END", "COMMIT AND CHAIN", "COMMITTED", "COMMENT")] == [
        *[True] * 4,
        False,
        False,
    ]
