"""A transaction of few round trips: statements travel together, BEGIN with the first of them, COMMIT with the last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import psycopg
from opentelemetry.trace import SpanKind

from holdfast.common import telemetry
from holdfast.common.database_exchange import Rows, Statement, exchange
from holdfast.common.database_transaction import driver_of
from holdfast.common.roles import ORGANIZATION_SETTING

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["Pipeline", "Rows", "Statement"]

_BEGIN: Final = Statement("BEGIN")
# What ends the transaction of a client that froze or vanished in the middle of a round trip, which the time limit for
# idle transactions does not: such a client is not idle. Less than a waiting batch's patience with the event's lock.
_SECONDS_MAX: Final = 4
# Statements of a pipeline find their rows by keys. A planner that believes a table to be small would rather read all of
# it, keep that plan, and go on with it when the table has grown a thousandfold.
_BY_KEY: Final = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_material")
_SETTINGS: Final = "SELECT " + ", ".join(
    (
        f"set_config('{ORGANIZATION_SETTING}', $1, true)",
        f"set_config('transaction_timeout', '{_SECONDS_MAX}s', true)",
        *(f"set_config('{name}', 'off', true)" for name in _BY_KEY),
    )
)


class Pipeline:
    """An open transaction of one organization. Operations get one from `Database.run_pipeline`; it ends when they do.

    Nothing is sent before the first `send`, which carries BEGIN too. Statements see what those before them did. The
    first one that fails ends the transaction: those behind it are not executed.
    """

    __slots__ = ("_connection", "_opening", "_organization_id", "last", "schema")

    def __init__(self, connection: AsyncConnection, *, schema: str, organization_id: str) -> None:
        self._connection = connection
        self._organization_id = organization_id
        self._opening: tuple[Statement, ...] = (_BEGIN, Statement(_SETTINGS, (organization_id,)))
        self.schema = schema
        self.last: list[Statement] = []
        """What travels with COMMIT; the operation's to fill."""

    @property
    def organization_id(self) -> str:
        """Whose rows are visible."""
        return self._organization_id

    @property
    def begun(self) -> bool:
        """Whether anything was sent."""
        return not self._opening

    async def send(self, *statements: Statement) -> list[Rows]:
        """Send statements in one round trip; gives the rows of each. Raises psycopg.Error of the first that fails."""
        if not telemetry.is_recorded():
            return await self._send(statements)
        attributes: dict[str, str | int] = {
            "db.system.name": "postgresql",
            "db.namespace": self.schema,
            "db.operation.batch.size": len(statements),
        }
        with telemetry.span("pipeline", kind=SpanKind.CLIENT, attributes=attributes):
            return await self._send(statements)

    async def _send(self, statements: tuple[Statement, ...]) -> list[Rows]:
        driver = driver_of(self._connection)
        opening, self._opening = self._opening, ()
        try:
            return (await exchange(driver, (*opening, *statements)))[len(opening) :]
        except psycopg.OperationalError:
            if driver.closed:
                # Asked through SQLAlchemy, so that it throws away all connections of before the loss.
                await self._connection.exec_driver_sql("SELECT 1")
            raise
