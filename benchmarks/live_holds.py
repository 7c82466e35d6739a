"""Live holds by the hundred thousand, made by set operations, as the product would have written them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from psycopg import sql

from holdfast.api.capacity.v1 import messages_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from benchmarks.shows import Show

HOLDS_OF_A_CHANGE = 500
"""As many as a row of the journal may tell of."""

HOLDS_OF_A_STATEMENT = 50_000

HEARD_SECONDS_MAX = 30.0
HEARD_POLL_SECONDS = 0.1

# A UUIDv7 of 2024: the holds are older than those that are placed beside them. {event} keeps events apart.
HOLD_ID = "018cc251-f400-7{event:03x}-8000-{number:012x}"
HOLD_ID_SQL = "'018cc251-f400-7' || lpad(to_hex(%(event)s::int), 3, '0') || '-8000-' || lpad(to_hex(made), 12, '0')"


CUSTOMER = "crowd-{event}-{number}"
CUSTOMER_SQL = "'crowd-' || %(event)s::int || '-' || made"


def add_live_holds(connection: psycopg.Connection[Any], show: Show, *, hold_id: str, count: int, number: int) -> None:
    """Add live holds of one place to a show's first section, each like the hold `hold_id`, which was its last change.

    The connection is a superuser's, in autocommit: row-level security is not asked, nor are foreign keys, row by row.
    `number`, 0 to 4095, tells events apart. Counters, journal and versions are as if each 500 had been one commit.
    """
    own = {
        "id": HOLD_ID_SQL,
        "hold_id": HOLD_ID_SQL,
        "customer_id": CUSTOMER_SQL,
        "placed_by": CUSTOMER_SQL,
        "request_id": CUSTOMER_SQL,
        "placed_version": f"placed_version + 1 + (made - 1) / {HOLDS_OF_A_CHANGE}",
    }
    connection.execute("SET session_replication_role = replica")
    try:
        for first in range(1, count + 1, HOLDS_OF_A_STATEMENT):
            bounds = {"first": first, "last": min(count, first + HOLDS_OF_A_STATEMENT - 1), "event": number}
            for table, key in (("holds", "id"), ("hold_lines", "hold_id")):
                connection.execute(_copies(connection, table, key, own), bounds | {"pattern": hold_id})
        with connection.transaction():
            first, last, totals = _journal(connection, show, hold_id=hold_id, count=count, number=number)
            connection.execute(
                "UPDATE capacity.event_inventories SET version = %s, held = %s, live_holds = live_holds + %s"
                " WHERE event_id = %s",
                (last, totals, count, show.event_id),
            )
            connection.execute(
                "UPDATE capacity.sections SET held = held + %s WHERE id = %s", (count, show.section_ids[0])
            )
        _consumed(connection, show, first=first, last=last)
    finally:
        connection.execute("RESET session_replication_role")


def _consumed(connection: psycopg.Connection[Any], show: Show, *, first: int, last: int) -> None:
    """Let events have heard of the changes, as it would have of commits: it does not fetch them while it is measured.

    Waits until it has heard of the last real one. Raises TimeoutError when it has not in `HEARD_SECONDS_MAX`.
    """
    deadline = time.monotonic() + HEARD_SECONDS_MAX
    move = "UPDATE events.positions SET version = %s WHERE aggregate_id = %s AND version = %s"
    while connection.execute(move, (last, show.event_id, first)).rowcount != 1:
        if time.monotonic() > deadline:
            raise TimeoutError(f"events has not heard of version {first}")
        time.sleep(HEARD_POLL_SECONDS)


def _copies(connection: psycopg.Connection[Any], table: str, key: str, own: dict[str, str]) -> sql.Composed:
    columns = [
        str(row[0])
        for row in connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'capacity' AND table_name = %s"
            " ORDER BY ordinal_position",
            (table,),
        )
    ]
    values = [sql.SQL(own[name]) if name in own else sql.Identifier(name) for name in columns]
    return sql.SQL(
        "INSERT INTO capacity.{table} ({columns}) SELECT {values}"
        " FROM capacity.{table}, generate_series(%(first)s::int, %(last)s::int) AS made WHERE {key} = %(pattern)s"
    ).format(
        table=sql.Identifier(table),
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        values=sql.SQL(", ").join(values),
        key=sql.Identifier(key),
    )


def _journal(
    connection: psycopg.Connection[Any], show: Show, *, hold_id: str, count: int, number: int
) -> tuple[int, int, int]:
    """Add the changes that tell of the holds; give the version before them, the last, and the places held then."""
    row = connection.execute(
        "SELECT change.version, change.body, change.occur_time, change.organization_id FROM capacity.inventory_changes"
        " AS change JOIN capacity.holds AS hold ON hold.event_id = change.event_id"
        " AND hold.placed_version = change.version WHERE hold.id = %s",
        (hold_id,),
    ).fetchone()
    if row is None:
        raise LookupError(f"no change tells of {hold_id}")
    version, body, occur_time, organization_id = row
    change = messages_pb2.InventoryChanged.FromString(bytes(body))
    copy = "COPY capacity.inventory_changes (organization_id, event_id, version, body, occur_time, publish_time)"
    with connection.cursor() as cursor, cursor.copy(f"{copy} FROM STDIN") as rows:
        for told in _changes(change, count=count, number=number):
            # Marked as published: nobody waits for what did not happen now.
            rows.write_row(
                (organization_id, show.event_id, told.version, told.SerializeToString(), occur_time, occur_time)
            )
    return version, version + -(-count // HOLDS_OF_A_CHANGE), change.totals.held + count


def _changes(
    pattern: messages_pb2.InventoryChanged, *, count: int, number: int
) -> Iterator[messages_pb2.InventoryChanged]:
    change = messages_pb2.InventoryChanged()
    change.CopyFrom(pattern)
    told = pattern.holds[0]
    held = pattern.totals.held
    for first in range(1, count + 1, HOLDS_OF_A_CHANGE):
        last = min(count, first + HOLDS_OF_A_CHANGE - 1)
        del change.holds[:]
        for each in range(first, last + 1):
            told.hold_id = HOLD_ID.format(event=number, number=each)
            told.customer_id = CUSTOMER.format(event=number, number=each)
            change.holds.append(told)
        change.version += 1
        change.totals.held = change.sections[0].held = held + last
        yield change
