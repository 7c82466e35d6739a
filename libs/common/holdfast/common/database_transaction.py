"""An open transaction, as operations and stores see it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import psycopg
from opentelemetry.trace import SpanKind
from psycopg.pq import Escaping
from sqlalchemy import CursorResult, Executable, text
from sqlalchemy.ext.asyncio import AsyncConnection

from holdfast.common import telemetry
from holdfast.common.database_exchange import Rows, Statement, exchange
from holdfast.common.roles import ORGANIZATION_SETTING

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]

_SET_ORGANIZATION: Final = text(f"SELECT set_config('{ORGANIZATION_SETTING}', :organization_id, true)")

_STATEMENT_TEXT_MAX: Final = 1_000


class Transaction:
    """An open transaction. Operations get one and hand it to stores; it ends when the operation does."""

    __slots__ = ("_connection", "_organization_id", "schema")

    def __init__(self, connection: AsyncConnection, *, schema: str, organization_id: str | None) -> None:
        self._connection = connection
        self._organization_id = organization_id
        self.schema = schema

    @property
    def organization_id(self) -> str | None:
        """Whose rows are visible now; None in work across organizations."""
        return self._organization_id

    def require_organization(self) -> str:
        """Return the organization; RuntimeError when the transaction has none, which is a mistake in code."""
        if self._organization_id is None:
            message = "this transaction works for no organization"
            raise RuntimeError(message)
        return self._organization_id

    async def execute(self, statement: Executable, parameters: Parameters | None = None) -> CursorResult[Any]:
        """Execute one statement; with a sequence of parameters, once for each. Raises sqlalchemy.exc.DBAPIError."""
        if not telemetry.is_recorded():
            return await self._connection.execute(statement, parameters)
        words = " ".join(str(statement).split())[:_STATEMENT_TEXT_MAX]
        with telemetry.span(
            words.partition(" ")[0],
            kind=SpanKind.CLIENT,
            attributes={"db.system.name": "postgresql", "db.namespace": self.schema, "db.query.text": words},
        ):
            return await self._connection.execute(statement, parameters)

    async def send(self, *statements: Statement) -> list[Rows]:
        """Send statements in one round trip; gives the rows of each. Raises psycopg.Error of the first that fails."""
        return await send(self._connection, *statements, schema=self.schema)

    async def switch_organization(self, organization_id: str) -> None:
        """Work for another organization from here on, until the transaction ends. For work of the platform only."""
        await self._connection.execute(_SET_ORGANIZATION, {"organization_id": checked_organization(organization_id)})
        self._organization_id = organization_id

    async def driver(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        """Return the driver's connection, within this same transaction, for what SQLAlchemy cannot express.

        Never commit, roll back or keep it.
        """
        return driver_of(self._connection)


def checked_organization(organization_id: str) -> str:
    """Return `organization_id`; ValueError when it is empty, which row-level security takes for none."""
    if not organization_id:
        message = "an organization id cannot be empty"
        raise ValueError(message)
    return organization_id


async def begin(connection: AsyncConnection, organization_id: str | None, *, snapshot: bool = False) -> None:
    """Begin a transaction and name its organization, in one round trip: two statements in one simple query.

    All statements of a `snapshot` see what was committed when its first one began; it writes nothing.
    """
    driver = driver_of(connection)
    statements = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if snapshot else b"BEGIN"
    if organization_id is not None:
        value = Escaping(driver.pgconn).escape_literal(organization_id.encode())
        statements += b"; SELECT set_config('%b', %b, true)" % (ORGANIZATION_SETTING.encode(), value)
    try:
        # Never prepared, because only single statements can be.
        await driver.execute(statements, prepare=False)
    except psycopg.OperationalError:
        if driver.closed:
            # Asked through SQLAlchemy, so that it throws away all connections of before the loss, not only this one.
            await connection.exec_driver_sql("SELECT 1")
        raise


async def send(connection: AsyncConnection, *statements: Statement, schema: str) -> list[Rows]:
    """Send statements over a connection in one round trip; gives the rows of each. Raises psycopg.Error."""
    if not telemetry.is_recorded():
        return await _exchange(connection, statements)
    attributes: dict[str, str | int] = {
        "db.system.name": "postgresql",
        "db.namespace": schema,
        "db.operation.batch.size": len(statements),
    }
    with telemetry.span("pipeline", kind=SpanKind.CLIENT, attributes=attributes):
        return await _exchange(connection, statements)


async def _exchange(connection: AsyncConnection, statements: tuple[Statement, ...]) -> list[Rows]:
    driver = driver_of(connection)
    try:
        return await exchange(driver, statements)
    except psycopg.OperationalError:
        if driver.closed:
            # Asked through SQLAlchemy, so that it throws away all connections of before the loss.
            await connection.exec_driver_sql("SELECT 1")
        raise


def driver_of(connection: AsyncConnection) -> psycopg.AsyncConnection[tuple[Any, ...]]:
    """Return the driver's connection, which is at hand: a started connection needs no waiting for it."""
    if connection.sync_connection is None:
        message = "the connection was not started"
        raise RuntimeError(message)
    return cast("psycopg.AsyncConnection[tuple[Any, ...]]", connection.sync_connection.connection.driver_connection)
