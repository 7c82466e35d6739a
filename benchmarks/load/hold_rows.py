"""The rows of a hold, copied from one that the product wrote, so that they are the product's whatever it writes.

What differs from hold to hold is given: ids, caller, key, times, version. Everything runs as the service's role, inside
one organization, with row-level security.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from psycopg import AsyncConnection, sql
from psycopg.rows import dict_row

from holdfast.api.capacity.v1 import messages_pb2
from holdfast.common import ids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TTL = timedelta(hours=1)
ENTER = "SELECT set_config('holdfast.organization_id', %s, true)"
"""Every transaction names its organization, as the product's do."""

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class NewHold:
    """What is one hold's own."""

    hold_id: str
    buyer: str
    request_id: str


class NewHolds:
    """Makes holds: buyers take turns, keys are unique."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        """`job`: `run`, `buyers`."""
        self._run = str(job["run"])
        self._numbers = itertools.count()
        self._buyers = itertools.cycle(job["buyers"])

    def next(self) -> NewHold:
        """Give the next one."""
        return NewHold(ids.new_id(), next(self._buyers), f"{self._run}-{next(self._numbers)}")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A hold that the product placed: its row, its only line's row, and the change that told of it."""

    organization_id: str
    event_id: str
    section_id: str
    hold: Mapping[str, Any]
    line: Mapping[str, Any]
    change: messages_pb2.InventoryChanged

    def change_of(self, version: int, held: int, holds: Sequence[NewHold], at: datetime) -> bytes:
        """Give the journal's body of a commit: `held` places of the section, and of the event, after it."""
        change = messages_pb2.InventoryChanged()
        change.CopyFrom(self.change)
        change.version = version
        change.totals.held = held
        change.sections[0].held = held
        change.occur_time.FromDatetime(at)
        told = change.holds[0]
        told.expire_time.FromDatetime(at + TTL)
        del change.holds[:]
        for each in holds:
            told.hold_id, told.customer_id = each.hold_id, each.buyer
            change.holds.append(told)
        return change.SerializeToString(deterministic=True)


async def read_pattern(connection: AsyncConnection[Any], job: Mapping[str, Any]) -> Pattern:
    """Read the hold `hold_id` of the job's `organization_id`, `event_id` and `section_id`."""
    organization_id, event_id = job["organization_id"], job["event_id"]
    async with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(ENTER, (organization_id,))
        await cursor.execute("SELECT * FROM capacity.holds WHERE id = %s", (job["hold_id"],))
        hold = there(await cursor.fetchone())
        await cursor.execute("SELECT * FROM capacity.hold_lines WHERE hold_id = %s", (job["hold_id"],))
        line = there(await cursor.fetchone())
        await cursor.execute(
            "SELECT body FROM capacity.inventory_changes WHERE event_id = %s AND version = %s",
            (event_id, hold["placed_version"]),
        )
        change = there(await cursor.fetchone())
    return Pattern(
        organization_id=organization_id,
        event_id=event_id,
        section_id=job["section_id"],
        hold=hold,
        line=line,
        change=messages_pb2.InventoryChanged.FromString(bytes(change["body"])),
    )


LOCK_SECTION = """
SELECT total - held - pending - sold - blocked FROM capacity.sections
WHERE organization_id = %s AND id = %s FOR UPDATE"""

LOCK_INVENTORY = """
SELECT event_id FROM capacity.event_inventories WHERE organization_id = %s AND event_id = %s FOR NO KEY UPDATE"""

READ_INVENTORY = """
SELECT version, held, greatest(clock_timestamp(), last_change_time) FROM capacity.event_inventories
WHERE organization_id = %s AND event_id = %s"""

READ_SECTION = """
SELECT total - held - pending - sold - blocked FROM capacity.sections WHERE organization_id = %s AND id = %s"""

KNOWN_KEY = """
SELECT 1 FROM capacity.holds
WHERE organization_id = %s AND placed_by = %s AND request_id = %s AND request_id <> ''"""

KNOWN_KEYS = """
SELECT placed_by, request_id FROM capacity.holds
WHERE organization_id = %s AND request_id <> '' AND (placed_by, request_id) IN (
  SELECT * FROM unnest(%s::text[], %s::text[]))"""

CHANGE_SECTION = "UPDATE capacity.sections SET held = held + %s WHERE organization_id = %s AND id = %s"

CHANGE_INVENTORY = """
UPDATE capacity.event_inventories
SET version = %s, held = held + %s, live_holds = live_holds + %s, last_change_time = %s
WHERE organization_id = %s AND event_id = %s"""

# Marked as published: the relay of the mesh beside would take time of the processors for it.
ADD_CHANGE = """
INSERT INTO capacity.inventory_changes (organization_id, event_id, version, body, occur_time, publish_time)
VALUES (%s, %s, %s, %s, %s, %s)"""


def there(row: Row | None) -> Row:
    """Give the row that there must be. Raises LookupError."""
    if row is None:
        raise LookupError("a row of the measured event is gone")
    return row


def insert_one(table: str, row: Mapping[str, Any]) -> bytes:
    """Give the INSERT of one row, its columns as named parameters."""
    statement = sql.SQL("INSERT INTO capacity.{} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(map(sql.Placeholder, row)),
    )
    return statement.as_bytes()


def insert_many_holds(pattern: Pattern) -> bytes:
    """Give the INSERT of many holds from arrays: `ids`, `buyers`, `keys`; `at`, `expire_time`, `version` for all."""
    own = {
        "id": "new.id",
        "customer_id": "new.buyer",
        "placed_by": "new.buyer",
        "request_id": "new.key",
        "create_time": "%(at)s",
        "expire_time": "%(expire_time)s",
        "placed_version": "%(version)s",
    }
    return _from_arrays(
        "holds",
        pattern.hold,
        own,
        "unnest(%(ids)s::text[], %(buyers)s::text[], %(keys)s::text[]) AS new (id, buyer, key)",
    )


def insert_many_lines(pattern: Pattern) -> bytes:
    """Give the INSERT of a line for each of many holds from an array: `ids`."""
    return _from_arrays("hold_lines", pattern.line, {"hold_id": "new.id"}, "unnest(%(ids)s::text[]) AS new (id)")


def _from_arrays(table: str, row: Mapping[str, Any], own: Mapping[str, str], arrays: str) -> bytes:
    """Give the INSERT that takes what is not a hold's own from the pattern, found by `pattern_<key column>`."""
    key = "hold_id" if "hold_id" in row else "id"
    values = [sql.SQL(own[name]) if name in own else sql.SQL("pattern.{}").format(sql.Identifier(name)) for name in row]
    statement = sql.SQL(
        "INSERT INTO capacity.{table} ({columns}) SELECT {values} FROM capacity.{table} AS pattern, {arrays}"
        " WHERE pattern.organization_id = %(organization_id)s AND pattern.{key} = %(pattern_id)s"
    ).format(
        table=sql.Identifier(table),
        columns=sql.SQL(", ").join(map(sql.Identifier, row)),
        values=sql.SQL(", ").join(values),
        arrays=sql.SQL(arrays),
        key=sql.Identifier(key),
    )
    return statement.as_bytes()
