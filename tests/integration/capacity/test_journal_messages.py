"""The journal's rows as messages in the stream: what was committed, once each, as every other message is addressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.capacity.conftest import until
from tests.integration.common.listening import stored

if TYPE_CHECKING:
    from holdfast.local.nats import EmbeddedNats
    from tests.integration.capacity.conftest import Capacity


async def test_every_commit_is_in_the_stream_as_it_is_in_the_journal(
    capacity: Capacity, nats_server: EmbeddedNats
) -> None:
    section = await capacity.on_sale(50)
    held = await capacity.place(section.id, 2)
    await capacity.call("ReleaseHold", role="buyer", hold_id=held.id)
    event_id = section.event_id

    async def published() -> bool:
        query = "SELECT count(*) FROM capacity.inventory_changes WHERE event_id = %s AND publish_time IS NULL"
        return capacity.rows(query, event_id) == [(0,)]

    await until(published)
    journal = capacity.rows(
        "SELECT version, body FROM capacity.inventory_changes WHERE event_id = %s ORDER BY version",
        event_id,
    )
    subject = f"capacity.{capacity.organization_id}.{event_id}.inventory_changed"
    found = await stored(nats_server.url, "CAPACITY", subject)
    assert [each.data for each in found] == [bytes(body) for _, body in journal]
    names = ("Nats-Msg-Id", "ce-id", "ce-type", "holdfast-aggregate", "holdfast-version", "holdfast-organization")
    assert [[(each.headers or {})[name] for name in names] for each in found] == [
        [
            f"capacity-{event_id}-{version}",
            f"capacity-{event_id}-{version}",
            "inventory_changed",
            event_id,
            str(version),
            capacity.organization_id,
        ]
        for version, _ in journal
    ]
