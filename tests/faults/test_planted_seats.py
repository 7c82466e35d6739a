"""A database that was made to lie: a seat sold twice, kept or freed behind the service's back is found by C1 and C8."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.faults.alone import client, seats_of, stored
from tests.faults.checkers import claims_never_overlap, inventory_faults, seats_are_linearizable
from tests.faults.history import Recorder
from tests.integration.capacity.conftest import running, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from holdfast.local.nats import EmbeddedNats
    from tests.integration.capacity.conftest import Capacity
    from tests.support.postgres import TestDatabase

pytestmark = pytest.mark.faults

LONG, SHORT = 900, 1


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def capacity(database: TestDatabase, nats_server: EmbeddedNats, identity_dir: Path) -> AsyncIterator[Capacity]:
    """The service on a database of its own, which tests break."""
    async with running(database, nats_server.url, identity_dir) as service:
        yield service


@dataclass(frozen=True)
class Plant:
    """A trigger that changes what the service writes, and what checkers say of what clients are told then.

    `unguarded` takes away the rows' promise that no seat has two claims, without which a seat is not sold twice.
    """

    table: str
    when: str
    change: str
    ttl_seconds: int
    releases: bool
    overlaps: tuple[str, ...]
    """What C1 says, by the source that shows it."""
    told: str
    """What C8 says of the second buyer's call."""
    unguarded: bool = False


PLANTS = {
    "a taken seat is free in its section's set, and its claim does not count": Plant(
        "sections",
        "UPDATE",
        "NEW.taken := decode('00', 'hex')",
        LONG,
        releases=False,
        overlaps=("rows", "stored", "told"),
        told="ok ACTIVE",
        unguarded=True,
    ),
    "a seat that is given back stays taken": Plant(
        "sections",
        "UPDATE",
        "NEW.taken := greatest(NEW.taken, OLD.taken)",
        LONG,
        releases=True,
        overlaps=("rows",),
        told="fail SEATS_TAKEN",
    ),
    "holds end before their time": Plant(
        "holds",
        "INSERT",
        "NEW.expire_time := NEW.create_time + interval '1 millisecond'",
        LONG,
        releases=False,
        overlaps=("told",),
        told="ok ACTIVE",
    ),
    "holds never end": Plant(
        "holds",
        "INSERT",
        "NEW.expire_time := NEW.expire_time + interval '1 hour'",
        SHORT,
        releases=False,
        overlaps=(),
        told="fail SEATS_TAKEN",
    ),
}


def plant(capacity: Capacity, planted: Plant) -> None:
    """Put the trigger in."""
    capacity.change(
        "CREATE FUNCTION capacity.lie() RETURNS trigger LANGUAGE plpgsql "
        f"AS $$BEGIN {planted.change}; RETURN NEW; END$$"
    )
    capacity.change(
        f"CREATE TRIGGER lie BEFORE {planted.when} ON capacity.{planted.table} "
        "FOR EACH ROW EXECUTE FUNCTION capacity.lie()"
    )


@contextmanager
def broken(capacity: Capacity, planted: Plant | None) -> Iterator[None]:
    """Let the database lie for the length of a block."""
    if planted is None:
        yield
        return
    plant(capacity, planted)
    if planted.unguarded:
        capacity.change("ALTER TABLE capacity.seat_claims DROP CONSTRAINT seat_claims_pkey")
    try:
        yield
    finally:
        capacity.change("DROP FUNCTION capacity.lie() CASCADE")
        if planted.unguarded:
            capacity.change("DELETE FROM capacity.seat_claims")
            capacity.change(
                "ALTER TABLE capacity.seat_claims ADD PRIMARY KEY (organization_id, section_id, seat_index)"
            )


@pytest.mark.parametrize("planted", [None, *(pytest.param(each, id=name) for name, each in PLANTS.items())])
async def test_a_seat_that_a_broken_database_gives_twice_or_not_again_is_found(
    capacity: Capacity, planted: Plant | None
) -> None:
    event_id = await capacity.event()
    seat, _ = await seats_of(capacity, event_id, 2)
    recorder = Recorder(seed=0)
    first, second = client(capacity, recorder, "user:first"), client(capacity, recorder, "user:second")
    with broken(capacity, planted):
        hold = await first.place(seat, ttl_seconds=LONG if planted is None else planted.ttl_seconds)
        if planted is None or planted.releases:
            await first.release(hold)
        if planted is not None and planted.table == "holds":
            await until(lambda: over(capacity, hold.hold_id, planted.ttl_seconds))
        await second.place(seat, ttl_seconds=LONG)
        snapshot = await stored(capacity, event_id)
    if planted is None:
        assert inventory_faults(recorder.operations, snapshot) == []
        return
    overlaps = claims_never_overlap(recorder.operations, snapshot)
    assert sorted({fault.partition(":")[0] for fault in overlaps}) == list(planted.overlaps), overlaps
    (unexplained,) = seats_are_linearizable(recorder.operations, snapshot)
    assert planted.told in unexplained


async def over(capacity: Capacity, hold_id: str, ttl_seconds: int) -> bool:
    """Tell whether a hold's time is over: what is stored of it, or what its buyer was told."""
    statement = """SELECT 1 FROM capacity.holds WHERE id = %s AND (expire_time <= clock_timestamp()
    OR create_time + make_interval(secs => %s) + interval '100 milliseconds' <= clock_timestamp())"""
    return bool(capacity.rows(statement, hold_id, ttl_seconds))
