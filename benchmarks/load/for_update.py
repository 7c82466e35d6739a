"""How most systems hold: one transaction a hold, SELECT … FOR UPDATE on the section; pipelined, two round trips.

Job: `dsn` (the service's role), `calls` (connections), and what `read_pattern`, `NewHolds` and `Measurement` read.
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
    from collections.abc import Mapping


class Holder:
    """Places holds on one connection."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], pattern: rows.Pattern) -> None:
        self._connection = connection
        self._pattern = pattern
        self._insert_hold = rows.insert_one("holds", pattern.hold)
        self._insert_line = rows.insert_one("hold_lines", pattern.line)

    async def place(self, hold: rows.NewHold) -> str:
        """Place one hold; give why it failed, empty when it did not."""
        pattern, connection = self._pattern, self._connection
        section = (pattern.organization_id, pattern.section_id)
        inventory = (pattern.organization_id, pattern.event_id)
        async with connection.pipeline():
            await connection.execute("BEGIN")
            await connection.execute(rows.ENTER, (pattern.organization_id,))
            locked = await connection.execute(rows.LOCK_SECTION, section)
            read = await connection.execute(rows.READ_INVENTORY, inventory)
            known = await connection.execute(rows.KNOWN_KEY, (pattern.organization_id, hold.buyer, hold.request_id))
            (free,) = rows.there(await locked.fetchone())
            version, held, at = rows.there(await read.fetchone())
            if free < 1 or await known.fetchone() is not None:
                await connection.execute("ROLLBACK")
                return "refused"
            new_hold = {
                **pattern.hold,
                "id": hold.hold_id,
                "customer_id": hold.buyer,
                "placed_by": hold.buyer,
                "request_id": hold.request_id,
                "create_time": at,
                "expire_time": at + rows.TTL,
                "placed_version": version + 1,
            }
            body = pattern.change_of(version + 1, held + 1, [hold], at)
            await connection.execute(self._insert_hold, new_hold)
            await connection.execute(self._insert_line, {**pattern.line, "hold_id": hold.hold_id})
            await connection.execute(rows.CHANGE_SECTION, (1, *section))
            await connection.execute(rows.CHANGE_INVENTORY, (version + 1, 1, 1, at, *inventory))
            await connection.execute(rows.ADD_CHANGE, (*inventory, version + 1, body, at, at))
            await connection.execute("COMMIT")
        return ""


async def _placing(
    dsn: str, pattern: rows.Pattern, holds: rows.NewHolds, measurement: Measurement, ready: asyncio.Barrier
) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True, prepare_threshold=0) as connection:
        holder = Holder(connection, pattern)
        await ready.wait()
        began = time.perf_counter()
        while not measurement.over(began):
            try:
                fault = await holder.place(holds.next())
            except psycopg.Error as error:
                fault = type(error).__name__
                await connection.execute("ROLLBACK")
            now = time.perf_counter()
            if fault:
                measurement.failed(fault)
            else:
                measurement.done(began, now, held=1)
            began = now


async def drive(job: Mapping[str, Any]) -> Outcome:
    """Run the load."""
    measurement, holds = Measurement(job), rows.NewHolds(job)
    async with await psycopg.AsyncConnection.connect(job["dsn"], autocommit=True) as connection:
        pattern = await rows.read_pattern(connection, job)
    ready = asyncio.Barrier(job["calls"] + 1)
    async with asyncio.TaskGroup() as group:
        for _ in range(job["calls"]):
            group.create_task(_placing(job["dsn"], pattern, holds, measurement, ready))
        measurement.start()
        await ready.wait()
    return measurement.outcome()


def run(job: Mapping[str, Any]) -> Outcome:
    """Run the load in an event loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(drive(job))


if __name__ == "__main__":
    work(run)
