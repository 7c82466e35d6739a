"""An open transaction, as operations and stores see it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import psycopg
from opentelemetry.trace import SpanKind
from sqlalchemy import CursorResult, Executable, text
from sqlalchemy.ext.asyncio import AsyncConnection

from holdfast.common import telemetry
from holdfast.common.roles import ORGANIZATION_SETTING

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]

SET_ORGANIZATION: Final = text(f"SELECT set_config('{ORGANIZATION_SETTING}', :organization_id, true)")

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

    async def switch_organization(self, organization_id: str) -> None:
        """Work for another organization from here on, until the transaction ends. For work of the platform only."""
        await self._connection.execute(SET_ORGANIZATION, {"organization_id": checked_organization(organization_id)})
        self._organization_id = organization_id

    async def driver(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        """Return the driver's connection, within this same transaction, for what SQLAlchemy cannot express.

        Never commit, roll back or keep it.
        """
        raw = await self._connection.get_raw_connection()
        return cast("psycopg.AsyncConnection[tuple[Any, ...]]", raw.driver_connection)


def checked_organization(organization_id: str) -> str:
    """Return `organization_id`; ValueError when it is empty, which row-level security takes for none."""
    if not organization_id:
        message = "an organization id cannot be empty"
        raise ValueError(message)
    return organization_id
