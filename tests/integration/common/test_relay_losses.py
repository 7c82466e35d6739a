"""A relay, NATS and PostgreSQL killed at work, NATS' storage lost: no message is."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from holdfast.common.errors import DomainError
from holdfast.common.ids import new_id
from tests.integration.common import notes
from tests.integration.common.conftest import until
from tests.integration.common.listening import connected
from tests.integration.common.relaying import all_published, by_aggregate, make, pending, relaying

if TYPE_CHECKING:
    import subprocess

    from holdfast.common.database import Database, Transaction
    from holdfast.local.nats import EmbeddedNats
    from tests.integration.common.relaying import Admin
    from tests.support.postgres import TestDatabase

pytestmark = pytest.mark.usefixtures("empty_outbox")


async def test_a_relay_killed_at_work_loses_nothing(
    database: TestDatabase,
    service: Database,
    admin: Admin,
    nats_server: EmbeddedNats,
    relay_process: subprocess.Popen[str],
) -> None:
    organization_id, ids = new_id(), [new_id() for _ in range(3)]
    working = [asyncio.create_task(make(service, organization_id, each, 60)) for each in ids]

    async def some_published() -> bool:
        found = await admin.execute("SELECT count(*) FROM proving.outbox WHERE publish_time IS NOT NULL")
        return int((await found.fetchall())[0][0]) >= 20

    await until(some_published)
    relay_process.kill()
    await asyncio.gather(*working)
    async with relaying(database, nats_server.url):
        await all_published(admin)
    assert await by_aggregate(nats_server.url, organization_id) == {each: list(range(1, 61)) for each in ids}


async def test_nats_killed_again_and_again_loses_nothing(
    database: TestDatabase, service: Database, admin: Admin, own_nats: EmbeddedNats
) -> None:
    organization_id, ids = new_id(), [new_id() for _ in range(3)]
    async with relaying(database, own_nats.url):
        working = [asyncio.create_task(make(service, organization_id, each, 150)) for each in ids]
        for _ in range(3):
            before = await pending(admin)
            await asyncio.to_thread(own_nats.kill)

            async def some_wait(before: int = before) -> bool:
                return await pending(admin) > before or all(each.done() for each in working)

            await until(some_wait)
            await asyncio.to_thread(own_nats.start)
        await asyncio.gather(*working)
        await all_published(admin)
    assert await by_aggregate(own_nats.url, organization_id) == {each: list(range(1, 151)) for each in ids}


async def test_the_loss_of_the_storage_of_nats_is_noticed_and_made_good(
    database: TestDatabase, service: Database, admin: Admin, own_nats: EmbeddedNats
) -> None:
    organization_id, note_id = new_id(), new_id()
    async with relaying(database, own_nats.url):
        await make(service, organization_id, note_id, 30)
        await all_published(admin)
        await asyncio.to_thread(own_nats.kill)
        shutil.rmtree(own_nats.store)
        await asyncio.to_thread(own_nats.start)

        async def refilled() -> bool:
            return (await by_aggregate(own_nats.url, organization_id)).get(note_id) == list(range(1, 31))

        await until(lambda: _stream_exists(own_nats.url))
        await until(refilled)
        await make(service, organization_id, note_id, 1)
        await all_published(admin)
    assert await by_aggregate(own_nats.url, organization_id) == {note_id: list(range(1, 32))}


async def _stream_exists(url: str) -> bool:
    async with connected(url, publishes=()) as messaging:
        found = await messaging.context().streams_info()
        return any(each.config.name == "EVENTS" for each in found)


async def test_postgres_killed_at_work_loses_nothing_that_was_acknowledged(
    database: TestDatabase, service: Database, nats_server: EmbeddedNats
) -> None:
    organization_id, note_id = new_id(), new_id()
    acknowledged: list[int] = []
    stop = asyncio.Event()

    async def work() -> None:
        while not stop.is_set():
            try:
                acknowledged.append(
                    await service.run(lambda each: notes.change(each, note_id), organization_id=organization_id)
                )
            except DomainError:
                await asyncio.sleep(0.01)

    await make(service, organization_id, note_id, 1)
    async with relaying(database, nats_server.url):
        worker = asyncio.create_task(work())
        embedded = database.server.embedded
        for _ in range(2):
            seen = len(acknowledged)

            async def more(seen: int = seen) -> bool:
                return len(acknowledged) > seen + 10

            await until(more)
            await asyncio.to_thread(embedded.kill)
            await asyncio.to_thread(embedded.start)
        await until(more)
        stop.set()
        await worker

        async def nothing_waits() -> bool:
            return await service.run(lambda each: _none_pending(each, organization_id), organization_id=organization_id)

        await until(nothing_waits)
    published = (await by_aggregate(nats_server.url, organization_id))[note_id]
    assert published == list(range(1, max(published) + 1))
    assert set(acknowledged) <= set(published)
    assert len(set(acknowledged)) == len(acknowledged)


async def _none_pending(transaction: Transaction, organization_id: str) -> bool:
    found = await transaction.execute(
        text("SELECT count(*) FROM proving.outbox WHERE organization_id = :organization_id AND publish_time IS NULL"),
        {"organization_id": organization_id},
    )
    return int(found.scalar_one()) == 0
