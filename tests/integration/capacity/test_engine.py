"""The engine on a real database: batches, refusals, poisoned items, keys, cancelled callers, checkpoints."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.capacity.domain.placing import LineRequest, PlaceRequest
from holdfast.capacity.operations.holds import PlaceHold
from holdfast.common.database import Statement
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id

if TYPE_CHECKING:
    from holdfast.api.capacity.v1 import section_pb2
    from holdfast.capacity.engine.needs import Needs
    from holdfast.capacity.engine.unit import Unit
    from tests.integration.capacity.conftest import Capacity

HASH = b"h" * 32


def hold(section: section_pb2.Section, quantity: int = 1, **fields: Any) -> PlaceHold:
    given = {"hold_id": new_id(), "event_id": "", "customer_id": "ann", "placed_by": "ann", "request_hash": HASH}
    return PlaceHold(PlaceRequest(lines=(LineRequest(section.id, None, quantity),), **{**given, **fields}))


class Faulty:
    """A command whose rules fail."""

    def need(self, needs: Needs) -> None:
        needs.all_sections = True

    def decide(self, unit: Unit) -> None:
        raise ZeroDivisionError(f"a fault of ours at {unit.inventory.version}")


class Poison:
    """A command that writes what the database refuses."""

    def __init__(self, sql: str) -> None:
        self.sql = sql

    def need(self, needs: Needs) -> None:
        needs.all_sections = True

    def decide(self, unit: Unit) -> str:
        unit.extra.append(Statement(self.sql))
        return "written"


def held(capacity: Capacity, section: section_pb2.Section) -> int:
    return int(capacity.rows("SELECT held FROM capacity.sections WHERE id = %s", section.id)[0][0])


def versions(capacity: Capacity, section: section_pb2.Section) -> int:
    found = capacity.rows("SELECT version FROM capacity.event_inventories WHERE event_id = %s", section.event_id)
    return int(found[0][0])


async def test_what_waits_together_is_committed_together(capacity: Capacity) -> None:
    section = await capacity.on_sale(1000)
    before = versions(capacity, section)
    async with capacity.engine_of_the_service() as submit:
        outcomes = await asyncio.gather(*(submit(section.event_id, hold(section)) for _ in range(300)))
    assert held(capacity, section) == 300
    assert {outcome.version for outcome in outcomes} == {before + 1, before + 2}
    changes = (await capacity.journal(section.event_id))[before:]
    assert [len(change.holds) for change in changes] == [200, 100]
    await capacity.check(section.event_id)


async def test_a_refusal_in_a_batch_fails_nothing_else(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    async with capacity.engine_of_the_service() as submit:
        asked = [submit(section.event_id, hold(section, quantity)) for quantity in (4, 7, 5, 2, 1)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    told = [answer.reason if isinstance(answer, DomainError) else "placed" for answer in answers]
    # In the order of arrival, each seeing what those before it took.
    full = Reason.INSUFFICIENT_CAPACITY
    assert told == ["placed", full, "placed", full, "placed"]
    assert isinstance(answers[3], DomainError)
    assert answers[3].metadata["available"] == "1"
    assert held(capacity, section) == 10
    await capacity.check(section.event_id)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Faulty(), ZeroDivisionError),
        (Poison("SELECT 1 / 0"), Exception),
        (Poison("UPDATE capacity.sections SET held = -1 WHERE organization_id = 'x' OR true"), Exception),
    ],
)
async def test_one_item_that_fails_takes_nobody_with_it(capacity: Capacity, bad: Any, error: type[Exception]) -> None:
    section = await capacity.on_sale(100)
    async with capacity.engine_of_the_service() as submit:
        commands = [hold(section) for _ in range(20)]
        commands.insert(7, bad)
        answers = await asyncio.gather(
            *(submit(section.event_id, command) for command in commands), return_exceptions=True
        )
    failed = answers.pop(7)
    assert isinstance(failed, error)
    assert not isinstance(failed, DomainError)
    assert [answer for answer in answers if isinstance(answer, BaseException)] == []
    assert held(capacity, section) == 20
    await capacity.check(section.event_id)


async def test_repetitions_in_one_batch_get_the_answer_of_the_first(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    key = new_id()
    async with capacity.engine_of_the_service() as submit:
        answers = await asyncio.gather(
            *(submit(section.event_id, hold(section, request_id=key)) for _ in range(5)),
            submit(section.event_id, hold(section, request_id=key, request_hash=b"another")),
            return_exceptions=True,
        )
    other = answers.pop()
    same: list[Any] = list(answers)
    assert len({answer.hold.hold_id for answer in same}) == 1
    assert [answer.replayed for answer in same] == [False, True, True, True, True]
    assert isinstance(other, DomainError)
    assert other.reason is Reason.IDEMPOTENCY_KEY_REUSED
    assert held(capacity, section) == 1


async def test_a_key_belongs_to_its_caller_whatever_event_it_comes_for(capacity: Capacity) -> None:
    """Two engines commit the same key for different events: no lock is shared, the unique index decides."""
    one, other = await capacity.on_sale(50), await capacity.on_sale(50)
    keys = [new_id() for _ in range(20)]
    async with capacity.engine_of_the_service() as first, capacity.engine_of_the_service() as second:
        answers = await asyncio.gather(
            *(first(one.event_id, hold(one, request_id=key, request_hash=b"one")) for key in keys),
            *(second(other.event_id, hold(other, request_id=key, request_hash=b"other")) for key in keys),
            return_exceptions=True,
        )
    for mine, theirs in zip(answers[:20], answers[20:], strict=True):
        refused = [answer for answer in (mine, theirs) if isinstance(answer, DomainError)]
        assert [each.reason for each in refused] == [Reason.IDEMPOTENCY_KEY_REUSED]
    assert held(capacity, one) + held(capacity, other) == 20
    for section in (one, other):
        await capacity.check(section.event_id)


async def test_a_caller_who_leaves_during_the_commit_finds_the_hold_under_the_key(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    key = new_id()
    async with capacity.engine_of_the_service() as submit:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.0005):
                await submit(section.event_id, hold(section, request_id=key))
        again = await submit(section.event_id, hold(section, request_id=key))
    # Whether the first was taken or dropped, there is one hold.
    assert again.hold.request_id == key
    assert held(capacity, section) == 1
    await capacity.check(section.event_id)


async def test_a_commit_is_never_larger_than_its_row_of_the_journal(capacity: Capacity) -> None:
    section = await capacity.on_sale(1000)
    reference = "ü" * 128
    async with capacity.engine_of_the_service() as submit:
        await asyncio.gather(*(submit(section.event_id, hold(section, order_reference=reference)) for _ in range(600)))
    sizes = capacity.rows(
        "SELECT octet_length(body) FROM capacity.inventory_changes WHERE event_id = %s", section.event_id
    )
    assert max(size for (size,) in sizes) <= 256 * 1024
    assert held(capacity, section) == 600
    await capacity.check(section.event_id)


async def test_every_ten_thousandth_version_keeps_the_counters_of_all_sections(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    other = await capacity.section(section.event_id, 20)
    await capacity.place(section.id, 3)
    assert not capacity.rows("SELECT 1 FROM capacity.inventory_checkpoints WHERE event_id = %s", section.event_id)
    capacity.change("UPDATE capacity.event_inventories SET version = 9999 WHERE event_id = %s", section.event_id)
    await capacity.place(section.id, 2)
    rows = capacity.rows(
        "SELECT version, body FROM capacity.inventory_checkpoints WHERE event_id = %s", section.event_id
    )
    assert [version for version, _ in rows] == [10_000]
    counters = {each[0]: each[2:8] for each in json.loads(rows[0][1])}
    assert counters == {section.id: [10, 5, 0, 0, 0, 0], other.id: [20, 0, 0, 0, 0, 0]}
