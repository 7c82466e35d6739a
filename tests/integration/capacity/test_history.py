"""An event's counters as they were: after a commit, at a moment, from checkpoints, and when that cannot be told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg

from holdfast.capacity.engine import writing
from holdfast.capacity.operations import history
from holdfast.capacity.store import journal
from holdfast.common.errors import Reason
from holdfast.common.ids import new_id
from tests.integration.capacity.conftest import WAIT_SECONDS, refused, until
from tests.integration.capacity.steps import blocked, seated, sold

if TYPE_CHECKING:
    import pytest

    from tests.integration.capacity.conftest import Capacity

LOCK = "SELECT 1 FROM capacity.event_inventories WHERE event_id = %s FOR NO KEY UPDATE"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%FOR SHARE%%'"
COPY = """
INSERT INTO capacity.inventory_changes (organization_id, event_id, version, body, occur_time)
SELECT organization_id, event_id, 3, body, %s FROM capacity.inventory_changes WHERE event_id = %s AND version = 2"""
NEWER = "UPDATE capacity.event_inventories SET version = 3, last_change_time = %s WHERE event_id = %s"


async def at(capacity: Capacity, event_id: str, when: int | datetime) -> Any:
    if isinstance(when, int):
        return await capacity.call("GetInventoryAt", event_id=event_id, inventory_version=when)
    return await capacity.call("GetInventoryAt", event_id=event_id, read_time=when.isoformat())


async def test_every_version_is_read_as_the_journal_told_it_across_checkpoints(
    capacity: Capacity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "CHECKPOINT_VERSIONS", 4)
    monkeypatch.setattr(journal, "REPLAY_CHUNK", 2)
    event_id = await capacity.event()
    floor, stalls = await capacity.section(event_id, 20), await seated(capacity, event_id)
    await capacity.call("SetBuffer", section_id=floor.id, quantity=2)
    await blocked(capacity, stalls, ["A-1"])
    await sold(capacity, await capacity.place(floor.id, 3))
    gone = await capacity.section(event_id, 5)
    await capacity.call("DeleteSection", section_id=gone.id)
    await capacity.place(floor.id, 2)
    told = await capacity.journal(event_id)
    assert len(told) == 10
    sections: dict[str, Any] = {}
    for change in told:
        for each in change.sections:
            sections[each.section_id] = each
            if each.deleted:
                del sections[each.section_id]
        for when in (change.version, change.occur_time.ToDatetime(tzinfo=UTC)):
            past = await at(capacity, event_id, when)
            assert list(past.sections) == [sections[section_id] for section_id in sorted(sections)]
            assert (past.totals, past.inventory_version) == (change.totals, change.version)
            assert (past.occur_time, past.controls_version) == (change.occur_time, 1)
    between = told[5].occur_time.ToDatetime(tzinfo=UTC) - timedelta(microseconds=1)
    assert (await at(capacity, event_id, between)).inventory_version == 5
    assert (await at(capacity, event_id, 10)).totals.held == 2


async def test_before_the_first_commit_there_is_nothing_and_what_has_not_come_is_refused(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    now = datetime.now(UTC)
    past = await at(capacity, section.event_id, now - timedelta(days=1))
    assert (past.inventory_version, list(past.sections), past.HasField("occur_time")) == (0, [], False)
    for when, field in ((3, "inventory_version"), (now + timedelta(hours=1), "read_time")):
        error = await refused(at(capacity, section.event_id, when))
        assert (error.reason, error.violations[0].field) == (Reason.VALIDATION_FAILED, field)
    neither = capacity.call("GetInventoryAt", event_id=section.event_id)
    both = capacity.call("GetInventoryAt", event_id=section.event_id, inventory_version=1, read_time=now.isoformat())
    for call in (neither, both):
        assert (await refused(call)).reason is Reason.VALIDATION_FAILED
    assert (await refused(at(capacity, new_id(), 1))).reason is Reason.EVENT_NOT_FOUND
    other = capacity.call("GetInventoryAt", event_id=section.event_id, inventory_version=1, organization_id=new_id())
    assert (await refused(other)).reason is Reason.EVENT_NOT_FOUND
    buyer = capacity.call("GetInventoryAt", event_id=section.event_id, inventory_version=1, role="buyer")
    assert (await refused(buyer)).reason is Reason.PERMISSION_MISSING


async def test_a_commit_under_way_is_waited_for_so_that_an_answer_stays_true(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    patient = {"lock_timeout_seconds": WAIT_SECONDS, "statement_timeout_seconds": WAIT_SECONDS}
    async with capacity.database_of_the_service(**patient) as database:
        with psycopg.connect(capacity.database.dsn("admin")) as connection:
            connection.execute(LOCK, (section.event_id,))
            (now,) = connection.execute("SELECT clock_timestamp()").fetchone() or (None,)
            assert isinstance(now, datetime)
            run = partial(database.run, organization_id=capacity.organization_id)
            limit = history.Limit(asyncio.get_running_loop().time() + WAIT_SECONDS)
            reading = asyncio.create_task(history.at_time(run, section.event_id, now, limit=limit))

            async def waits() -> bool:
                return bool(capacity.rows(WAITING)[0][0])

            await until(waits)
            # What the engine does under this lock: a commit of a moment before the one that was asked for.
            earlier = now - timedelta(microseconds=1)
            connection.execute(COPY, (earlier, section.event_id))
            connection.execute(NEWER, (earlier, section.event_id))
        error = await refused(reading)
    # It saw the third version, whose body is another's here.
    assert (error.reason, error.metadata["inventory_version"]) == (Reason.HISTORY_NOT_RETAINED, "3")


async def test_what_the_journal_does_not_have_any_more_is_not_guessed(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    await capacity.place(section.id)
    lost = "DELETE FROM capacity.inventory_changes WHERE event_id = %s AND version = 2"
    (moment,) = capacity.rows(
        "SELECT occur_time FROM capacity.inventory_changes WHERE event_id = %s AND version = 2", section.event_id
    )[0]
    with capacity.undoing(lost, section.event_id):
        for when in (2, 3, moment):
            error = await refused(at(capacity, section.event_id, when))
            assert error.reason is Reason.HISTORY_NOT_RETAINED
        assert (await at(capacity, section.event_id, 1)).inventory_version == 1
    assert (await at(capacity, section.event_id, 3)).totals.held == 1
