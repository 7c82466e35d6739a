"""Reads everything that is stored and published of one event: from the database, and from the stream CAPACITY."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import nats
import psycopg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError
from psycopg.rows import namedtuple_row

from holdfast.api.capacity.v1 import hold_pb2, messages_pb2
from holdfast.capacity.domain.layouts import Layout
from holdfast.common import streams
from tests.faults.checkers import Change, Counters, Projection, Snapshot, StoredHold, StoredSale
from tests.faults.history import Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from pathlib import Path

    from nats.aio.msg import Msg
    from nats.js import JetStreamContext
    from psycopg import AsyncConnection

    from tests.faults.checkers import Places
    from tests.support.show import Show

SETTLE_SECONDS = 45
POLL_SECONDS = 0.1
FETCH_SIZE = 500
MESSAGES_MAX = 100_000
ANSWER_SECONDS = 10
CONSUMER = "events-inventory"

VERSIONS = (
    "SELECT version, controls_version FROM capacity.event_inventories WHERE organization_id = %s AND event_id = %s"
)
SECTIONS = (
    "SELECT id, total, held, pending, sold, blocked, row_layout, taken "
    "FROM capacity.sections WHERE organization_id = %s AND event_id = %s"
)
HOLDS = """
SELECT h.id, h.state, h.request_id, h.expire_time <= clock_timestamp() AS over,
  extract(epoch FROM h.create_time)::float8 AS begin,
  extract(epoch FROM CASE h.state WHEN 'CONFIRMED' THEN 'infinity'
    ELSE COALESCE(h.end_time, h.expire_time) END)::float8 AS "end",
  json_agg(json_build_array(l.section_id, l.quantity, l.seats) ORDER BY l.number) FILTER (WHERE l.number IS NOT NULL)
    AS lines
FROM capacity.holds h LEFT JOIN capacity.hold_lines l ON l.organization_id = h.organization_id AND l.hold_id = h.id
WHERE h.organization_id = %s AND h.event_id = %s GROUP BY h.organization_id, h.id"""
SALES = """
SELECT s.id, s.hold_id, s.state,
  json_agg(json_build_array(l.section_id, l.quantity - l.returned_quantity, l.seats) ORDER BY l.number)
    FILTER (WHERE l.number IS NOT NULL) AS lines
FROM capacity.sales s LEFT JOIN capacity.sale_lines l ON l.organization_id = s.organization_id AND l.sale_id = s.id
WHERE s.organization_id = %s AND s.event_id = %s GROUP BY s.organization_id, s.id"""
CLAIMS = """
SELECT c.section_id, c.seat_index, c.hold_id FROM capacity.seat_claims c
JOIN capacity.sections s ON s.organization_id = c.organization_id AND s.id = c.section_id
WHERE s.organization_id = %s AND s.event_id = %s"""
JOURNAL = """
SELECT version, body, publish_time IS NULL AS waits FROM capacity.inventory_changes
WHERE organization_id = %s AND event_id = %s ORDER BY version"""
PROJECTION = """
SELECT f.inventory_version, f.capacity, f.available, f.sold, p.version AS position, e.version AS event_version,
  (SELECT count(*) FROM events.outbox o
   WHERE o.organization_id = e.organization_id AND o.aggregate_id = e.id AND o.publish_time IS NULL) AS waiting
FROM events.events e
LEFT JOIN events.event_figures f ON f.organization_id = e.organization_id AND f.event_id = e.id
LEFT JOIN events.positions p ON p.organization_id = e.organization_id AND p.aggregate_id = e.id AND p.consumer = %s
WHERE e.organization_id = %s AND e.id = %s"""


@dataclass(frozen=True)
class Store:
    """Where a mesh keeps what it knows, opened with the rights of its administrator."""

    admin_dsn: str
    nats_url: str = ""
    """Empty where there are no messages to read."""

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection[Any]]:
        """One REPEATABLE READ transaction that cannot write."""
        async with await psycopg.AsyncConnection.connect(self.admin_dsn, row_factory=namedtuple_row) as connection:
            await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            await connection.set_read_only(True)
            yield connection

    def execute(self, statement: str, parameters: dict[str, Any]) -> int:
        """Change something behind everybody's back and return how many rows that were."""
        with psycopg.connect(self.admin_dsn) as connection:
            return connection.execute(statement.encode(), parameters).rowcount


def store_of(state: Path) -> Store:
    """Return where the mesh of a state directory keeps its data."""
    remembered = json.loads((state / "state.json").read_text())
    password = (state / "nats" / "password").read_text().strip()
    url = f"nats://holdfast:{password}@127.0.0.1:{remembered['ports']['nats']}"
    return Store(admin_dsn=remembered["dsns"]["admin"], nats_url=url)


async def settled(store: Store, show: Show, *, seconds: float = SETTLE_SECONDS) -> Snapshot:
    """Read a snapshot once everything is published and applied.

    When that takes longer than `seconds`, return what there is: the checkers say what is missing.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        snapshot = await from_database(store, show)
        applied = snapshot.projection is not None and snapshot.projection.position == snapshot.version
        known = snapshot.controls_known == snapshot.controls_version
        if (applied and known and not snapshot.unpublished) or loop.time() > deadline:
            return replace(snapshot, stream=await from_stream(store, show), dead=await count_dead(store, show))
        await asyncio.sleep(POLL_SECONDS)


async def from_database(store: Store, show: Show) -> Snapshot:
    """Read what capacity and events have stored of an event, as of one moment; the stream is left empty."""
    async with store.reading() as connection:
        inventory = await read_inventory(connection, show.organization_id, show.event_id)
        found = await connection.execute(PROJECTION.encode(), (CONSUMER, show.organization_id, show.event_id))
        (kept,) = await found.fetchall()
    return replace(
        inventory,
        projection=Projection(
            inventory_version=kept.inventory_version or 0,
            capacity=kept.capacity or 0,
            available=kept.available or 0,
            sold=kept.sold or 0,
            position=kept.position or 0,
        ),
        unpublished=inventory.unpublished + kept.waiting,
        controls_version=kept.event_version,
    )


async def read_inventory(connection: AsyncConnection[Any], organization_id: str, event_id: str) -> Snapshot:
    """Read what capacity alone has stored of an event. The connection's rows have names, its transaction is one."""

    async def rows(statement: str) -> list[Any]:
        return await (await connection.execute(statement.encode(), (organization_id, event_id))).fetchall()

    (inventory,) = await rows(VERSIONS)
    journal, sections = await rows(JOURNAL), await rows(SECTIONS)
    labels = {row.id: Layout.from_json(row.row_layout).labels for row in sections if row.row_layout is not None}
    return Snapshot(
        version=inventory.version,
        sections={row.id: Counters(row.total, row.held, row.pending, row.sold, row.blocked) for row in sections},
        holds=tuple(
            StoredHold(row.id, row.state, row.request_id, _places(row, labels), row.begin, row.end, row.over)
            for row in await rows(HOLDS)
        ),
        sales=tuple(StoredSale(row.id, row.hold_id, row.state, _places(row, labels)) for row in await rows(SALES)),
        claims=tuple(
            (Target(row.section_id, labels[row.section_id][row.seat_index]), row.hold_id) for row in await rows(CLAIMS)
        ),
        taken=frozenset(
            Target(row.id, label)
            for row in sections
            for index, label in enumerate(labels.get(row.id, ()))
            if row.taken[index // 8] >> index % 8 & 1
        ),
        journal=tuple(_change(row.body) for row in journal),
        unpublished=sum(row.waits for row in journal),
        controls_known=inventory.controls_version,
    )


async def from_stream(store: Store, show: Show) -> tuple[Change, ...]:
    """Read all messages of an event's inventory that the stream has, in its order; at most MESSAGES_MAX."""
    async with _messages(store) as context:
        return tuple([_change(message.data) for message in await _all(context, "CAPACITY", _subject(show))])


async def count_dead(store: Store, show: Show) -> int:
    """Count the messages about an event that a consumer gave up on."""
    subject = f"dead.*.*.{show.organization_id}.{show.event_id}.>"
    async with _messages(store) as context:
        try:
            return len(await _all(context, "DEAD", subject))
        except NotFoundError:  # the stream is made for the first message
            return 0


async def delete_message(store: Store, show: Show, *, number: int) -> None:
    """Take the message of an event with this number, counted from 1, out of the stream."""
    async with _messages(store) as context:
        message = (await _all(context, "CAPACITY", _subject(show)))[number - 1]
        assert await context.delete_msg("CAPACITY", message.metadata.sequence.stream)


async def bury(store: Store, show: Show) -> None:
    """Put a message about an event where consumers put what they gave up on."""
    async with _messages(store) as context:
        await streams.declare(context, "DEAD")
        await context.publish(f"dead.planted.{_subject(show)}", b"", stream="DEAD")


def _subject(show: Show) -> str:
    return f"capacity.{show.organization_id}.{show.event_id}.inventory_changed"


@asynccontextmanager
async def _messages(store: Store) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(store.nats_url, connect_timeout=ANSWER_SECONDS, max_reconnect_attempts=1)
    try:
        yield client.jetstream(timeout=ANSWER_SECONDS)
    finally:
        await client.close()


async def _all(context: JetStreamContext, stream: str, subject: str) -> list[Msg]:
    config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, filter_subject=subject)
    subscription = await context.pull_subscribe(subject, stream=stream, config=config)
    waiting = min((await subscription.consumer_info()).num_pending or 0, MESSAGES_MAX)
    messages: list[Msg] = []
    while len(messages) < waiting:
        messages += await subscription.fetch(min(FETCH_SIZE, waiting - len(messages)), timeout=ANSWER_SECONDS)
    return messages


def _places(row: Any, labels: Mapping[str, Sequence[str]]) -> Places:
    """Read the lines of a hold or a sale; `labels` are those of each section with seats, by index."""
    return tuple(
        place
        for section_id, quantity, seats in row.lines or ()
        for place in _line(section_id, quantity, [labels[section_id][index] for index in seats])
    )


def _line(section_id: str, quantity: int, seats: Iterable[str]) -> Places:
    return tuple((Target(section_id, seat), 1) for seat in seats) or ((Target(section_id), quantity),)


def _change(body: bytes) -> Change:
    """Read a message, or the body of a journal's row; the version is the one that it says itself."""
    message = messages_pb2.InventoryChanged.FromString(bytes(body))
    return Change(
        version=message.version,
        sections={s.section_id: Counters(s.total, s.held, s.pending, s.sold, s.blocked) for s in message.sections},
        holds={hold.hold_id: hold_pb2.Hold.State.Name(hold.state) for hold in message.holds},
        sales={sale.sale_id: hold_pb2.Sale.State.Name(sale.state) for sale in message.sales},
        time=round(message.occur_time.seconds + message.occur_time.nanos / 1e9, 6),  # as PostgreSQL gives microseconds
        places={
            hold.hold_id: tuple(
                place for line in hold.lines for place in _line(line.section_id, line.quantity, line.seats)
            )
            for hold in message.holds
        },
    )
