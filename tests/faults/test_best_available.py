"""64 clients leave it to the service which seats they get, until none is left; and a database that lies to them."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.faults.alone import client, stored
from tests.faults.checkers import claims_never_overlap, inventory_faults
from tests.faults.history import Recorder
from tests.integration.capacity.conftest import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from holdfast.local.nats import EmbeddedNats
    from tests.faults.clients import Client
    from tests.integration.capacity.conftest import Capacity
    from tests.support.postgres import TestDatabase

pytestmark = pytest.mark.faults

CLIENTS = 64
ROWS, COLUMNS = 40, 50
QUANTITY_MAX = 6
CONFIRMED = 0.5


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def capacity(database: TestDatabase, nats_server: EmbeddedNats, identity_dir: Path) -> AsyncIterator[Capacity]:
    """The service on a database of its own."""
    async with running(database, nats_server.url, identity_dir) as service:
        yield service


async def seats(capacity: Capacity, rows: int, cols: int) -> tuple[str, str]:
    """Put an event on sale with one section of seats; gives their ids."""
    event_id = await capacity.event()
    config = {"rows": rows, "cols": cols, "sections": [{"name": "Stalls"}]}
    return event_id, (await capacity.call("GenerateSeating", event_id=event_id, config=config)).sections[0].id


async def buy(buyer: Client, section_id: str, chance: random.Random) -> None:
    """Take seats until not even one is to be had."""
    for _ in range(ROWS * COLUMNS):
        hold = await buyer.place_best(section_id, chance.randint(1, QUANTITY_MAX))
        if hold.outcome == "fail":
            hold = await buyer.place_best(section_id, 1)
        if hold.outcome != "ok":
            return
        if chance.random() < CONFIRMED:
            await buyer.confirm(hold)


async def test_a_section_is_sold_to_the_last_seat_and_no_seat_twice(
    capacity: Capacity, history_path: Path, seed: int
) -> None:
    event_id, section_id = await seats(capacity, ROWS, COLUMNS)
    recorder = Recorder(seed)
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            chance = random.Random(seed * 1_000 + number)  # noqa: S311 (reproducible decisions, no secret)
            group.create_task(buy(client(capacity, recorder, f"user:{number}"), section_id, chance))
    recorder.write(history_path)
    snapshot = await stored(capacity, event_id)
    faults = inventory_faults(recorder.operations, snapshot)
    assert not faults, f"{faults[:10]}; seed {seed}, history {history_path}"
    counters = snapshot.sections[section_id]
    assert (counters.available, counters.held + counters.sold) == (0, ROWS * COLUMNS)
    assert len(snapshot.taken) == len(snapshot.claims) == ROWS * COLUMNS
    placed = [each for each in recorder.operations if each.op == "place"]
    assert all(len(each.targets) == each.quantity for each in placed if each.outcome == "ok")
    assert {each.code for each in placed if each.outcome == "fail"} == {"INSUFFICIENT_CAPACITY"}
    sold_out = [each for each in placed if each.outcome == "fail" and each.quantity == 1]
    assert len(sold_out) >= CLIENTS  # each was told at last that there is not one
    # When the first of them was told so, all seats had been asked for.
    last_told = max(each.invoke for each in placed if each.outcome == "ok")
    assert last_told <= min(each.complete for each in sold_out)
    await capacity.check(event_id)


@pytest.mark.parametrize("guarded", [True, False], ids=["with the claims", "without"])
async def test_a_bitmap_that_lies_sells_a_seat_twice_only_where_nothing_guards_it(
    capacity: Capacity, *, guarded: bool
) -> None:
    event_id, section_id = await seats(capacity, 1, 4)
    recorder = Recorder(seed=0)
    buyers = [client(capacity, recorder, f"user:{number}") for number in range(3)]
    await buyers[0].place_best(section_id, 2)
    capacity.change("UPDATE capacity.sections SET taken = decode('00', 'hex') WHERE id = %s", section_id)
    if not guarded:
        capacity.change("ALTER TABLE capacity.seat_claims DROP CONSTRAINT seat_claims_pkey")
    try:
        others = [await each.place_best(section_id, 2) for each in buyers[1:]]
        snapshot = await stored(capacity, event_id)
    finally:
        if not guarded:
            capacity.change("DELETE FROM capacity.seat_claims")
            capacity.change(
                "ALTER TABLE capacity.seat_claims ADD PRIMARY KEY (organization_id, section_id, seat_index)"
            )
    if guarded:
        assert inventory_faults(recorder.operations, snapshot) == []
        assert [each.code for each in others] == ["", "INSUFFICIENT_CAPACITY"]
        return
    overlaps = claims_never_overlap(recorder.operations, snapshot)
    assert sorted({fault.partition(":")[0] for fault in overlaps}) == ["rows", "stored", "told"], overlaps
