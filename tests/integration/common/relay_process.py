"""A relay in a process of its own, to be frozen and killed: `python -m tests.integration.common.relay_process`.

Reads the relay's DSN, NATS' URL and the lease's seconds from standard input, a line each.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from holdfast.common.database import Database
from holdfast.common.messaging import Messaging
from holdfast.common.relay import OutboxSource, Relay


async def main(dsn: str, url: str, lease_seconds: float) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    database = Database(
        dsn=dsn, pool_size=2, application_name="relay-process", schema="proving", allow_cross_organization=True
    )
    messaging = Messaging(url=url, service="events", publishes=("EVENTS",))
    await database.start()
    await messaging.start()
    relay = Relay(
        database=database,
        source=OutboxSource("proving"),
        publisher=messaging,
        stream="EVENTS",
        lease_seconds=lease_seconds,
    )
    await relay.run(stop)
    await messaging.close()
    await database.close()


if __name__ == "__main__":
    given = [sys.stdin.readline().strip() for _ in range(3)]
    asyncio.run(main(given[0], given[1], float(given[2])))
