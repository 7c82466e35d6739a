"""One round trip of many statements over psycopg's connection: all of them leave together, then all answers are read.

psycopg's own pipeline flushes behind every statement, so that each is a packet and a wake-up of the server by itself;
for the dozen statements of a batch that cost both sides several times what the statements did. Here they gather in
libpq's buffer until the Sync behind the last one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakKeyDictionary

import psycopg
from psycopg import errors, generators
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ExecStatus, TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from psycopg.abc import Transformer as Adapter
    from psycopg.pq.abc import PGconn, PGresult

    Driver = psycopg.AsyncConnection[tuple[Any, ...]]

Rows = list[tuple[Any, ...]]

_NAMES: Final = count()
_PREPARED_MAX: Final = 500
"""Statements that one connection keeps prepared. There are dozens; beyond this they are sent as they are."""


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with `$1`, `$2` … and its values."""

    sql: str
    values: tuple[Any, ...] = ()


class Sender(Protocol):
    """An open transaction to which statements are sent: a Transaction, or a Pipeline with its fewer round trips."""

    def require_organization(self) -> str:
        """Return whose rows are visible; RuntimeError in work across organizations."""

    async def send(self, *statements: Statement) -> list[Rows]:
        """Send statements in one round trip; gives the rows of each. Raises psycopg.Error of the first that fails."""


_prepared: WeakKeyDictionary[Driver, dict[tuple[str, tuple[int, ...]], bytes]] = WeakKeyDictionary()
"""What a connection has prepared: the name, by SQL and types of the values."""


async def roll_back(driver: Driver) -> None:
    """Undo what was sent, and forget what was prepared: psycopg's rollback drops it, if psycopg prepared anything."""
    if driver.closed:
        return
    if driver.info.transaction_status is not TransactionStatus.IDLE:
        await driver.rollback()
    names = _prepared.get(driver)
    if names:
        names.clear()
        await driver.execute("DEALLOCATE ALL")


async def exchange(driver: Driver, statements: Iterable[Statement]) -> list[Rows]:
    """Send statements together and give the rows of each.

    Raises psycopg.Error of the first that fails; those behind it are not executed. A caller that is cancelled in
    between loses the connection: nobody knows what is still on its way.
    """
    names = _prepared.setdefault(driver, {})
    async with driver.lock:
        try:
            results = await driver.wait(_exchange(driver, tuple(statements), names))
        except BaseException:  # refusals of the server are results: this was cancelled, or broke
            driver.pgconn.finish()
            raise
    failed = next((result for result in results if result.status == ExecStatus.FATAL_ERROR), None)
    if failed is not None:
        raise errors.error_from_result(failed, encoding=driver.info.encoding)
    transformer: Adapter = Transformer(driver)
    return [_rows(transformer, result) for result in results]


def _rows(transformer: Adapter, result: PGresult) -> Rows:
    if result.status != ExecStatus.TUPLES_OK:
        return []
    transformer.set_pgresult(result)
    return transformer.load_rows(0, result.ntuples, tuple)


def _exchange(
    driver: Driver, statements: tuple[Statement, ...], names: dict[tuple[str, tuple[int, ...]], bytes]
) -> Generator[Any, Any, list[PGresult]]:
    """Give each statement's result, or the failure of one in the place of it; after that one there are no more."""
    pgconn = driver.pgconn
    transformer: Adapter = Transformer(driver)
    pgconn.enter_pipeline_mode()
    prepares = [_send(pgconn, transformer, statement, names) for statement in statements]
    pgconn.pipeline_sync()
    yield from generators.send(pgconn)
    results: list[PGresult] = []
    for prepared in prepares:
        if prepared:
            (result,) = yield from generators.fetch_many(pgconn)
            if result.status == ExecStatus.FATAL_ERROR:
                results.append(result)
        (result,) = yield from generators.fetch_many(pgconn)
        if result.status != ExecStatus.PIPELINE_ABORTED:
            results.append(result)
    yield from generators.fetch_many(pgconn)  # the Sync
    pgconn.exit_pipeline_mode()
    return results


def _send(
    pgconn: PGconn, transformer: Adapter, statement: Statement, names: dict[tuple[str, tuple[int, ...]], bytes]
) -> bool:
    """Put a statement into the buffer; tells whether one that prepares it went before."""
    sql = statement.sql.encode()
    if not statement.values:
        pgconn.send_query_params(sql, None)
        return False
    values = transformer.dump_sequence(statement.values, [PyFormat.AUTO] * len(statement.values))
    types, formats = transformer.types or (), transformer.formats
    name = names.get((statement.sql, types))
    if name is not None:
        pgconn.send_query_prepared(name, values, formats)
        return False
    if len(names) >= _PREPARED_MAX:
        pgconn.send_query_params(sql, values, types, formats)
        return False
    name = names[statement.sql, types] = b"hf_%d" % next(_NAMES)
    pgconn.send_prepare(name, sql, types)
    pgconn.send_query_prepared(name, values, formats)
    return True
