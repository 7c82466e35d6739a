"""Of several relays one works; what was frozen or lost its lease publishes and marks nothing out of turn."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from holdfast.common.ids import new_id
from holdfast.common.messaging import Messaging
from tests.integration.common.conftest import until
from tests.integration.common.relaying import (
    all_published,
    by_aggregate,
    is_working,
    make,
    pending,
    relaying,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

    from holdfast.common.database import Database
    from holdfast.common.messaging import OutgoingMessage
    from holdfast.common.relay import Relay
    from holdfast.local.nats import EmbeddedNats
    from tests.integration.common.relaying import Admin
    from tests.support.postgres import TestDatabase

pytestmark = pytest.mark.usefixtures("empty_outbox")


async def test_of_two_relays_one_works_and_the_other_takes_over_when_it_stops(
    database: TestDatabase, service: Database, admin: Admin, nats_server: EmbeddedNats
) -> None:
    organization_id, note_id = new_id(), new_id()
    async with relaying(database, nats_server.url) as second_to_stop:
        await until(lambda: is_working(second_to_stop))
        async with relaying(database, nats_server.url) as standby:
            await make(service, organization_id, note_id, 5)
            await all_published(admin)
            assert (second_to_stop.working, standby.working) == (True, False)
    async with relaying(database, nats_server.url) as next_one:
        await until(lambda: is_working(next_one))
        await make(service, organization_id, note_id, 5)
        await all_published(admin)
    epochs = await admin.execute(
        "SELECT publish_epoch, count(*) FROM proving.outbox GROUP BY publish_epoch ORDER BY publish_epoch"
    )
    assert [int(row[1]) for row in await epochs.fetchall()] == [5, 5]


async def test_a_frozen_relay_is_replaced_and_does_nothing_when_it_thaws(
    database: TestDatabase,
    service: Database,
    admin: Admin,
    nats_server: EmbeddedNats,
    relay_process: subprocess.Popen[str],
) -> None:
    organization_id, ids = new_id(), [new_id() for _ in range(3)]
    await make(service, organization_id, ids[0], 1)
    await all_published(admin)
    await asyncio.gather(*(make(service, organization_id, each, 40) for each in ids[1:]))
    relay_process.send_signal(signal.SIGSTOP)
    await make(service, organization_id, ids[0], 10)
    async with relaying(database, nats_server.url) as successor:
        await until(lambda: is_working(successor))
        await all_published(admin)
        relay_process.send_signal(signal.SIGCONT)
        await asyncio.gather(*(make(service, organization_id, each, 10) for each in ids))
        await all_published(admin)
        assert successor.working
        found = await admin.execute("SELECT epoch FROM proving.leases WHERE name = 'relay'")
        assert await found.fetchall() == [(2,)]
        late = await admin.execute(
            "SELECT count(*) FROM proving.outbox WHERE publish_epoch = 1 AND aggregate_id = %s AND version > 1",
            (ids[0],),
        )
        assert await late.fetchall() == [(0,)], "nothing committed after the freeze was marked by the frozen one"
    assert await by_aggregate(nats_server.url, organization_id) == {
        ids[0]: list(range(1, 22)),
        ids[1]: list(range(1, 51)),
        ids[2]: list(range(1, 51)),
    }


class FrozenAfterPublishing(Messaging):
    """Freezes where it hurts most: published, and not marked yet."""

    thaw: asyncio.Event
    frozen: asyncio.Event

    async def publish(self, outgoing_messages: Sequence[OutgoingMessage], *, until: float | None = None) -> None:
        await super().publish(outgoing_messages, until=until)
        self.frozen.set()
        await self.thaw.wait()


async def test_a_relay_that_lost_its_lease_between_publishing_and_marking_marks_nothing(
    database: TestDatabase, service: Database, admin: Admin, nats_server: EmbeddedNats
) -> None:
    organization_id, note_id = new_id(), new_id()
    await make(service, organization_id, note_id, 5)
    stuck = FrozenAfterPublishing(url=nats_server.url, service="events", publishes=("EVENTS",))
    stuck.thaw, stuck.frozen = asyncio.Event(), asyncio.Event()
    await stuck.start()
    try:
        assert await stuck.wait_ready(timeout_seconds=10)
        async with relaying(database, nats_server.url, publisher=stuck) as first:
            async with asyncio.timeout(10):
                await stuck.frozen.wait()
            assert await pending(admin) == 5
            async with relaying(database, nats_server.url) as second:
                await until(lambda: is_working(second))
                await all_published(admin)
                stuck.thaw.set()
                await until(lambda: _is_not_working(first))
                assert second.working
    finally:
        await stuck.close()
    found = await admin.execute("SELECT DISTINCT publish_epoch FROM proving.outbox")
    assert await found.fetchall() == [(2,)]
    assert await by_aggregate(nats_server.url, organization_id) == {note_id: [1, 2, 3, 4, 5]}


async def _is_not_working(relay: Relay) -> bool:
    return not relay.working
