"""Expiry is exact without anybody who tidies: the service runs with its reaper off."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg

from holdfast.common.errors import Reason
from tests.integration.capacity.conftest import refused, state_of, until

if TYPE_CHECKING:
    from tests.integration.capacity.conftest import Capacity


async def over(capacity: Capacity, hold_id: str) -> None:
    """Wait until a hold's time is over by the database's clock."""

    async def there() -> bool:
        return bool(
            capacity.rows("SELECT 1 FROM capacity.holds WHERE id = %s AND expire_time <= clock_timestamp()", hold_id)
        )

    await until(there)


async def test_a_short_hold_ends_and_touches_nothing_of_a_longer_one(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    short = await capacity.place(section.id, 3, hold_ttl_seconds=1)
    long = await capacity.place(section.id, 4, hold_ttl_seconds=900)
    await over(capacity, short.id)
    shown = await capacity.read(section.id)
    assert (shown.available, shown.held) == (6, 4)
    totals = await capacity.call("GetTotals", event_id=section.event_id)
    assert (totals.available, totals.held) == (6, 4)
    listed = await capacity.call("ListSections", event_id=section.event_id)
    assert [(each.available, each.held) for each in listed.sections] == [(6, 4)]
    assert state_of(await capacity.hold(short.id)) == "EXPIRED"
    assert await capacity.hold(long.id) == long
    for state, expected in (("ACTIVE", [long.id]), ("EXPIRED", [short.id]), ("VOIDED", [])):
        found = await capacity.call("ListHolds", event_id=section.event_id, states=[state], with_total=True)
        assert [each.id for each in found.holds] == expected
        assert found.pagination.total == len(expected)


async def test_a_hold_cannot_be_confirmed_once_its_time_is_over(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    hold = await capacity.place(section.id, 3, hold_ttl_seconds=1)
    await over(capacity, hold.id)
    late = await refused(capacity.call("ConfirmHold", role="buyer", hold_id=hold.id, etag=hold.etag))
    assert late.reason is Reason.HOLD_EXPIRED
    assert late.metadata["hold_id"] == hold.id
    seen = await capacity.hold(hold.id)
    answer = await capacity.call("ReleaseHold", role="buyer", hold_id=hold.id, etag=seen.etag)
    assert state_of(answer.hold) == "EXPIRED"
    assert answer.hold == seen
    assert (await capacity.read(section.id)).sold == 0


async def test_places_of_expired_holds_are_sold_to_whoever_asks_next_oldest_first(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    first = await capacity.place(section.id, 4, hold_ttl_seconds=1)
    second = await capacity.place(section.id, 4, hold_ttl_seconds=2)
    await over(capacity, second.id)
    taken = await capacity.place(section.id, 5)
    assert state_of(taken) == "ACTIVE"
    rows = dict(
        capacity.rows("SELECT id, state FROM capacity.holds WHERE event_id = %s AND id <> %s", first.event_id, taken.id)
    )
    assert rows == {first.id: "EXPIRED", second.id: "ACTIVE"}
    assert (await capacity.read(section.id)).available == 5
    full = await refused(capacity.place(section.id, 6))
    assert (full.reason, full.metadata["available"]) == (Reason.INSUFFICIENT_CAPACITY, "5")
    assert state_of(await capacity.place(section.id, 5)) == "ACTIVE"
    await capacity.check(section.event_id)


async def test_more_expired_holds_than_one_commit_takes_are_all_free(capacity: Capacity) -> None:
    section = await capacity.on_sale(1200)
    await over(capacity, (await capacity.fill(section, 1200, hold_ttl_seconds=1))[-1])
    assert (await capacity.read(section.id)).available == 1200
    assert state_of(await capacity.place(section.id, 1000)) == "ACTIVE"
    assert (await capacity.read(section.id)).available == 200
    journal = await capacity.journal(section.event_id)
    assert max(len(change.holds) for change in journal) <= 501
    await capacity.check(section.event_id)


async def test_a_total_can_be_cut_to_what_is_committed_and_expired_holds_are_not(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    short = await capacity.place(section.id, 5, hold_ttl_seconds=1)
    await capacity.place(section.id, 3)
    await over(capacity, short.id)
    cut = await refused(capacity.call("UpdateSection", section_id=section.id, section={"total": 2}))
    assert cut.reason is Reason.CAPACITY_COMMITTED
    assert cut.metadata == {"section_id": section.id, "committed": "3"}
    changed = await capacity.call("UpdateSection", section_id=section.id, section={"total": 3}, etag=section.etag)
    assert (changed.section.total, changed.section.available, changed.section.held) == (3, 0, 3)
    again = await refused(
        capacity.call("UpdateSection", section_id=section.id, section={"total": 30}, etag=section.etag)
    )
    assert again.reason is Reason.ETAG_MISMATCH
    await capacity.check(section.event_id)


async def test_a_confirmation_that_waited_beyond_the_expiry_is_refused(capacity: Capacity) -> None:
    """The time is read after the lock: the transaction began while the hold was good."""
    section = await capacity.on_sale(10)
    with psycopg.connect(capacity.database.dsn("admin")) as somebody:
        hold = await capacity.place(section.id, 2, hold_ttl_seconds=1)
        somebody.execute(
            "SELECT 1 FROM capacity.event_inventories WHERE event_id = %s FOR NO KEY UPDATE", (section.event_id,)
        )
        confirming = asyncio.create_task(capacity.call("ConfirmHold", role="buyer", hold_id=hold.id))

        async def waiting() -> bool:
            return bool(
                capacity.rows(
                    "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
                    " AND xact_start < (SELECT expire_time FROM capacity.holds WHERE id = %s)",
                    capacity.database.name,
                    hold.id,
                )
            )

        await until(waiting)
        await over(capacity, hold.id)
        somebody.rollback()
    late = await refused(confirming)
    assert late.reason is Reason.HOLD_EXPIRED
    assert (await capacity.read(section.id)).available == 10
