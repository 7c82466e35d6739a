"""The database's own ceiling: many holds a transaction, array statements, two round trips, nothing before it.

Job: as of `for_update`, and `batch`, the holds of a transaction. An operation is one hold; it takes its transaction's
time.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import psycopg
import uvloop

from benchmarks.load import hold_rows as rows
from benchmarks.load.outcome import Measurement, Outcome, work

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Batches:
    """Writes batches of holds on one connection."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], pattern: rows.Pattern) -> None:
        self._connection = connection
        self._pattern = pattern
        self._insert_holds = rows.insert_many_holds(pattern)
        self._insert_lines = rows.insert_many_lines(pattern)

    async def place(self, holds: Sequence[rows.NewHold]) -> str:
        """Place holds; give why it failed, empty when it did not."""
        pattern, connection = self._pattern, self._connection
        section = (pattern.organization_id, pattern.section_id)
        inventory = (pattern.organization_id, pattern.event_id)
        buyers, keys = [each.buyer for each in holds], [each.request_id for each in holds]
        async with connection.pipeline():
            await connection.execute("BEGIN")
            await connection.execute(rows.ENTER, (pattern.organization_id,))
            await connection.execute(rows.LOCK_INVENTORY, inventory)
            stored = await connection.execute(rows.READ_INVENTORY, inventory)
            available = await connection.execute(rows.READ_SECTION, section)
            known = await connection.execute(rows.KNOWN_KEYS, (pattern.organization_id, buyers, keys))
            version, held, at = rows.there(await stored.fetchone())
            (free,) = rows.there(await available.fetchone())
            if free < len(holds) or await known.fetchone() is not None:
                await connection.execute("ROLLBACK")
                return "refused"
            values = {
                "organization_id": pattern.organization_id,
                "pattern_id": pattern.hold["id"],
                "ids": [each.hold_id for each in holds],
                "buyers": buyers,
                "keys": keys,
                "at": at,
                "expire_time": at + rows.TTL,
                "version": version + 1,
            }
            body = pattern.change_of(version + 1, held + len(holds), holds, at)
            await connection.execute(self._insert_holds, values, binary=True)
            await connection.execute(self._insert_lines, values)
            await connection.execute(rows.CHANGE_SECTION, (len(holds), *section))
            await connection.execute(rows.CHANGE_INVENTORY, (version + 1, len(holds), len(holds), at, *inventory))
            await connection.execute(rows.ADD_CHANGE, (*inventory, version + 1, body, at, at))
            await connection.execute("COMMIT")
        return ""


async def _placing(
    job: Mapping[str, Any],
    pattern: rows.Pattern,
    holds: rows.NewHolds,
    measurement: Measurement,
    ready: asyncio.Barrier,
) -> None:
    async with await psycopg.AsyncConnection.connect(job["dsn"], autocommit=True, prepare_threshold=0) as connection:
        batches = Batches(connection, pattern)
        await ready.wait()
        began = time.perf_counter()
        while not measurement.over(began):
            batch = [holds.next() for _ in range(job["batch"])]
            try:
                fault = await batches.place(batch)
            except psycopg.Error as error:
                fault = type(error).__name__
                await connection.execute("ROLLBACK")
            now = time.perf_counter()
            if fault:
                measurement.failed(fault, times=len(batch))
            else:
                for _ in batch:
                    measurement.done(began, now, held=1)
            began = now


async def drive(job: Mapping[str, Any]) -> Outcome:
    """Run the load."""
    measurement, holds = Measurement(job), rows.NewHolds(job)
    async with await psycopg.AsyncConnection.connect(job["dsn"], autocommit=True, prepare_threshold=0) as connection:
        pattern = await rows.read_pattern(connection, job)
    ready = asyncio.Barrier(job["calls"] + 1)
    async with asyncio.TaskGroup() as group:
        for _ in range(job["calls"]):
            group.create_task(_placing(job, pattern, holds, measurement, ready))
        measurement.start()
        await ready.wait()
    return measurement.outcome()


def run(job: Mapping[str, Any]) -> Outcome:
    """Run the load in an event loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(drive(job))


if __name__ == "__main__":
    work(run)
