"""A transaction of few round trips: statements travel together, BEGIN with the first of them, COMMIT with the last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.common.database_exchange import Rows, Statement
from holdfast.common.database_transaction import Transaction, send
from holdfast.common.roles import ORGANIZATION_SETTING

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_BEGIN: Final = Statement("BEGIN")
# What ends the transaction of a client that froze or vanished in the middle of a round trip, which the time limit for
# idle transactions does not: such a client is not idle. Less than a waiting batch's patience with the event's lock.
_SECONDS_MAX: Final = 4
# Statements of a pipeline find their rows by keys. A planner that believes a table to be small would rather read all of
# it, keep that plan, and go on with it when the table has grown a thousandfold.
_BY_KEY: Final = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_material")
_LIMITS: Final = "SELECT " + ", ".join(
    (
        f"set_config('transaction_timeout', '{_SECONDS_MAX}s', true)",
        *(f"set_config('{name}', 'off', true)" for name in _BY_KEY),
    )
)
_ORGANIZATION: Final = f"{_LIMITS}, set_config('{ORGANIZATION_SETTING}', $1, true)"


class Pipeline:
    """An open transaction. Operations get one from `Database.run_pipeline`; it ends when they do.

    Nothing is sent before the first `send`, which carries BEGIN too. Statements see what those before them did. The
    first one that fails ends the transaction: those behind it are not executed.
    """

    __slots__ = ("_connection", "_opening", "_organization_id", "answers", "last", "schema")

    def __init__(self, connection: AsyncConnection, *, schema: str, organization_id: str | None) -> None:
        self._connection = connection
        self._organization_id = organization_id
        settings = Statement(_LIMITS) if organization_id is None else Statement(_ORGANIZATION, (organization_id,))
        self._opening: tuple[Statement, ...] = (_BEGIN, settings)
        self.schema = schema
        self.last: list[Statement] = []
        """What travels with COMMIT; the operation's to fill."""
        self.answers: list[Rows] = []
        """The rows of each of `last`, once it is committed."""

    def require_organization(self) -> str:
        """Return whose rows are visible; RuntimeError in work across organizations."""
        if self._organization_id is None:
            message = "this transaction works for no organization"
            raise RuntimeError(message)
        return self._organization_id

    @property
    def begun(self) -> bool:
        """Whether anything was sent."""
        return not self._opening

    def transaction(self) -> Transaction:
        """Give what goes on in this same transaction with statements of SQLAlchemy; RuntimeError before `send`."""
        if not self.begun:
            message = "nothing was sent yet, so there is no transaction"
            raise RuntimeError(message)
        return Transaction(self._connection, schema=self.schema, organization_id=self._organization_id)

    async def send(self, *statements: Statement) -> list[Rows]:
        """Send statements in one round trip; gives the rows of each. Raises psycopg.Error of the first that fails."""
        opening, self._opening = self._opening, ()
        return (await send(self._connection, *opening, *statements, schema=self.schema))[len(opening) :]
