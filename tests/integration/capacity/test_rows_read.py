"""What a batch reads does not grow with what there is: plans made for empty tables stay good when the tables fill."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from holdfast.capacity.domain.ending import Confirmation
from holdfast.capacity.domain.placing import LineRequest, PlaceRequest
from holdfast.capacity.engine.batches import Engine
from holdfast.capacity.engine.layouts import Layouts
from holdfast.capacity.operations.access import Viewer
from holdfast.capacity.operations.deadlines import ExtendHold
from holdfast.capacity.operations.ending import ConfirmHold, ReleaseHold
from holdfast.capacity.operations.holds import PlaceHold
from holdfast.capacity.operations.tidying import Tidy
from holdfast.common.idempotency import RequestKey
from holdfast.common.ids import new_id
from holdfast.common.metrics import Metrics

if TYPE_CHECKING:
    from holdfast.api.capacity.v1 import section_pb2
    from holdfast.capacity.engine.unit import Command
    from holdfast.common.database import Database, Transaction
    from tests.integration.capacity.conftest import Capacity


VIEWER = Viewer("user:buyer", reads_all=True, manages=True)
HOLDS = 2_000
BATCH = 10
# Rows and entries of indexes, for each request: what it is about, its lines and sale, the entries that lead there.
READ_MAX = 20
_READ = """
SELECT (SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_user_tables WHERE relid = ANY (t.ids))
  + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relid = ANY (t.ids))
FROM (SELECT array_agg(format('capacity.%%I', name)::regclass::oid) AS ids
  FROM unnest(ARRAY['holds', 'hold_lines', 'sales', 'sale_lines', 'requests', 'blocks']) AS name) AS t"""


def place(section: section_pb2.Section, request_id: str = "") -> PlaceHold:
    return PlaceHold(
        PlaceRequest(
            hold_id=new_id(),
            event_id=section.event_id,
            customer_id="user:buyer",
            placed_by="user:buyer",
            lines=(LineRequest(section.id, None, 1),),
            request_id=request_id or new_id(),
            request_hash=b"h" * 32,
        )
    )


def key(rpc: str) -> RequestKey:
    return RequestKey("user:buyer", rpc, new_id(), b"f" * 32)


def commands(section: section_pb2.Section, holds: list[str]) -> dict[str, list[Command[Any]]]:
    """Make a batch of each kind; it takes three batches of holds."""
    keys = [new_id() for _ in range(BATCH)]
    confirmed, released, extended = (holds[start : start + BATCH] for start in range(0, 3 * BATCH, BATCH))
    return {
        "place": [place(section, each) for each in keys],
        "place again": [place(section, each) for each in keys],
        "confirm": [ConfirmHold(each, Confirmation(new_id()), VIEWER, key("ConfirmHold")) for each in confirmed],
        "confirm again": [ConfirmHold(each, Confirmation(new_id()), VIEWER, key("ConfirmHold")) for each in confirmed],
        "extend": [ExtendHold(each, 1800, "", VIEWER, key("ExtendHold")) for each in extended],
        "release": [ReleaseHold(each, "", VIEWER, key("ReleaseHold")) for each in released],
    }


async def _flush(transaction: Transaction) -> None:
    await transaction.execute(text("SELECT pg_stat_force_next_flush()"))


async def rows_read(capacity: Capacity, database: Database) -> int:
    """Count what was read of the tables that grow, until now."""
    await database.run(_flush, organization_id=capacity.organization_id)
    return int(capacity.rows(_READ)[0][0])


async def test_a_batch_reads_no_more_among_thousands_of_holds_than_among_few(capacity: Capacity) -> None:
    section = await capacity.on_sale(5_000)
    async with capacity.database_of_the_service() as database:
        engine = Engine(database=database, layouts=Layouts(), metrics=Metrics("test"), workers_max=1, tidying=Tidy)

        async def submit(command: Command[Any]) -> Any:
            deadline = asyncio.get_running_loop().time() + 30
            return await engine.submit(capacity.organization_id, section.event_id, command, deadline=deadline)

        async def placed(number: int) -> list[str]:
            outcomes = await asyncio.gather(*(submit(place(section)) for _ in range(number)))
            return [outcome.hold.hold_id for outcome in outcomes]

        # The server settles on plans that it keeps after some executions: here, in tables that are nearly empty.
        for _ in range(10):
            for some in commands(section, await placed(3 * BATCH)).values():
                await asyncio.gather(*map(submit, some))
        holds = await placed(HOLDS)
        read = {}
        for kind, some in commands(section, holds).items():
            before = await rows_read(capacity, database)
            await asyncio.gather(*map(submit, some))
            read[kind] = (await rows_read(capacity, database) - before) / BATCH
        await engine.close()
    assert read["place again"] > 0, "reading is counted"
    assert {kind: each for kind, each in read.items() if each > READ_MAX} == {}
