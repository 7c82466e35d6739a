"""The time that the service goes by."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from holdfast.common.database import Database
from holdfast.events.clock import DatabaseClock

if TYPE_CHECKING:
    from tests.support.postgres import TestDatabase


async def test_the_time_is_the_databases(database: TestDatabase) -> None:
    across = Database(
        dsn=database.dsn("events_relay"),
        pool_size=1,
        application_name="holdfast-tests",
        schema="events",
        allow_cross_organization=True,
    )
    await across.start()
    try:
        clock = DatabaseClock(across)
        with pytest.raises(RuntimeError):
            clock.now()
        await clock.synchronize()
        with psycopg.connect(database.dsn("admin")) as connection:
            before = clock.now()
            row = connection.execute("SELECT clock_timestamp()").fetchone()
            after = clock.now()
        assert row is not None
        assert before.tzinfo is UTC
        slack = timedelta(seconds=0.5)
        assert before - slack <= row[0] <= after + slack
    finally:
        await across.close()
