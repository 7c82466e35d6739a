"""A relay at work on the schema `proving`, and what came of it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from holdfast.common.relay import OutboxSource, Relay
from tests.integration.common import notes
from tests.integration.common.conftest import LEASE_SECONDS, opened, until
from tests.integration.common.listening import connected, stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import psycopg

    from holdfast.common.database import Database
    from tests.support.postgres import TestDatabase

    Admin = psycopg.AsyncConnection[tuple[Any, ...]]

SOURCE = OutboxSource("proving")


@asynccontextmanager
async def relaying(database: TestDatabase, url: str, **settings: Any) -> AsyncIterator[Relay]:
    """A relay with a database and a connection of its own that runs until the block ends."""
    async with (
        opened(database.dsn("proving_relay"), allow_cross_organization=True, pool_size=2) as relay_side,
        connected(url) as messaging,
    ):
        relay = Relay(
            **{
                "database": relay_side,
                "source": SOURCE,
                "publisher": messaging,
                "stream": "EVENTS",
                "lease_seconds": LEASE_SECONDS,
                **settings,
            }
        )
        stop = asyncio.Event()
        task = asyncio.create_task(relay.run(stop))
        try:
            yield relay
        finally:
            stop.set()
            async with asyncio.timeout(15):
                await task


async def pending(admin: Admin) -> int:
    found = await admin.execute("SELECT count(*) FROM proving.outbox WHERE publish_time IS NULL")
    return int((await found.fetchall())[0][0])


async def all_published(admin: Admin) -> None:
    async def none_pending() -> bool:
        return await pending(admin) == 0

    await until(none_pending, seconds=30)


async def make(service: Database, organization_id: str, note_id: str, times: int) -> None:
    """Write a note, if it is not there, and change it so often, a transaction each."""
    if await service.run(lambda each: notes.words_of(each, note_id), organization_id=organization_id) is None:
        await service.run(lambda each: notes.write(each, note_id), organization_id=organization_id)
    for _ in range(times):
        await service.run(lambda each: notes.change(each, note_id), organization_id=organization_id)


async def by_aggregate(url: str, organization_id: str) -> dict[str, list[int]]:
    """Versions in the order of the stream, for each aggregate."""
    found: dict[str, list[int]] = {}
    for each in await stored(url, "EVENTS", f"events.{organization_id}.>"):
        headers = each.headers or {}
        found.setdefault(headers["holdfast-aggregate"], []).append(int(headers["holdfast-version"]))
    return found


async def is_working(relay: Relay) -> bool:
    return relay.working
