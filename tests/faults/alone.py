"""Capacity alone, in the process of the test, under clients whose history is held against what it stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg.rows import namedtuple_row

from holdfast.common.ids import new_id
from holdfast.common.mesh_identity import Principal
from tests.faults.clients import Client, Stubs
from tests.faults.history import Target
from tests.faults.snapshot import read_inventory
from tests.faults.workload import Contest

if TYPE_CHECKING:
    from tests.faults.checkers import Snapshot
    from tests.faults.history import Recorder
    from tests.integration.capacity.conftest import Capacity

SEATS, FLOOR = 20, 100
DEADLINE_SECONDS = 6.0
PATIENCE_SECONDS = 30.0


async def seats_of(capacity: Capacity, event_id: str, count: int) -> list[Target]:
    """Make a section with so many seats, all in one row."""
    config = {"rows": 1, "cols": count, "sections": [{"name": f"Seats {new_id()}"}]}
    return seats_in((await capacity.call("GenerateSeating", event_id=event_id, config=config)).sections[0].id, count)


def seats_in(section_id: str, count: int) -> list[Target]:
    """Give the seats of a section that has one row of so many."""
    return [Target(section_id, f"A-{number}") for number in range(1, count + 1)]


async def contest_of(capacity: Capacity) -> tuple[str, Contest]:
    """Put an event on sale with seats and a floor of many places; returns its id, too."""
    event_id = await capacity.event()
    seats = await seats_of(capacity, event_id, SEATS)
    floor = Target((await capacity.section(event_id, FLOOR)).id)
    return event_id, Contest(capacity.organization_id, seats, floor)


def stubs(capacity: Capacity, subject: str, *, deadline_seconds: float = DEADLINE_SECONDS) -> Stubs:
    """Give a buyer's way to the service."""
    principal = Principal(subject, capacity.organization_id, frozenset({"buyer"}))
    return Stubs([capacity.peers["gateway"]], principal, deadline_seconds=deadline_seconds)


def client(
    capacity: Capacity,
    recorder: Recorder,
    subject: str = "user:buyer",
    *,
    deadline_seconds: float = DEADLINE_SECONDS,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Client:
    """Give a buyer."""
    return Client(
        stubs(capacity, subject, deadline_seconds=deadline_seconds),
        recorder,
        organization_id=capacity.organization_id,
        patience_seconds=patience_seconds,
    )


async def stored(capacity: Capacity, event_id: str) -> Snapshot:
    """Read what the service has stored of an event."""
    dsn = capacity.database.dsn("admin")
    async with await psycopg.AsyncConnection.connect(dsn, row_factory=namedtuple_row) as connection:
        await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        return await read_inventory(connection, capacity.organization_id, event_id)
