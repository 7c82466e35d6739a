"""Following what is left of an event: a snapshot, then what changes, by commits and by the clock, without a hole."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from holdfast.capacity.watching import RESUMED_VERSIONS_MAX, Watch, Watches
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from holdfast.common.status import from_rpc_error
from tests.integration.capacity.conftest import running, schedule, until
from tests.integration.capacity.followers import Follower
from tests.integration.capacity.steps import blocked, hold_seats, seated, sold
from tests.integration.capacity.test_availability import another, look

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.local.nats import EmbeddedNats
    from tests.integration.capacity.conftest import Capacity
    from tests.support.postgres import TestDatabase


async def following(capacity: Capacity, event_id: str, *, role: str = "buyer", **fields: Any) -> Follower:
    """Follow an event, and take in the first step."""
    follower = Follower(capacity, event_id, role=role, fields=fields)
    follower.begin()
    assert await follower.step() is not None
    return follower


async def refusal(follower: Follower) -> DomainError:
    follower.begin()
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await follower.step()
    error = from_rpc_error(failed.value)
    assert error is not None
    return error


async def test_a_snapshot_comes_first_and_then_what_changes(capacity: Capacity) -> None:
    event_id = await capacity.event()
    floor, balcony = await capacity.section(event_id, 10), await capacity.section(event_id, 5)
    follower = await following(capacity, event_id)
    assert follower.sections == {floor.id: (10, 0, 0, 0, 0), balcony.id: (5, 0, 0, 0, 0)}
    assert (follower.last.total, follower.last.available, follower.last.sales_allowed) == (15, 15, True)
    first = follower.version
    hold = await capacity.place(floor.id, 3)
    await follower.until(first + 1)
    assert follower.sections == {floor.id: (7, 3, 0, 0, 0), balcony.id: (5, 0, 0, 0, 0)}
    assert [each.section_id for each in follower.last.sections] == [floor.id]
    assert (follower.last.total, follower.last.available) == (15, 12)
    assert follower.last.next_change_time == hold.expire_time
    await capacity.call("ConfirmHold", role="buyer", hold_id=hold.id)
    await blocked(capacity, balcony, 2)
    await follower.until(first + 3)
    assert follower.sections == {floor.id: (7, 0, 0, 3, 0), balcony.id: (3, 0, 0, 0, 2)}
    assert (follower.snapshots, follower.version) == (1, first + 3)
    assert follower.last.etag == (await look(capacity, event_id)).etag
    follower.leave()


async def test_seats_come_with_the_snapshot_and_change_one_by_one(capacity: Capacity) -> None:
    event_id = await capacity.event()
    section = await seated(capacity, event_id)
    await blocked(capacity, section, ["B-5"])
    follower = await following(capacity, event_id, with_seats=True)
    assert follower.taken == {section.id: {9}}
    sale = await sold(capacity, await hold_seats(capacity, section, "A-1", "A-2"))
    await follower.until(follower.version + 2)
    assert follower.taken == {section.id: {0, 1, 9}}
    await capacity.call(
        "ExchangeSeats",
        sale_id=sale.id,
        give_lines=[{"number": 1, "seats": {"labels": ["A-1"]}}],
        take_lines=[{"section_id": section.id, "seats": {"labels": ["B-1"]}}],
    )
    await follower.until(follower.version + 1)
    assert follower.taken == {section.id: {1, 5, 9}}
    # A section that is new is told too: its seats are free but for those that are named.
    other = await seated(capacity, event_id, rows=1, cols=3)
    await hold_seats(capacity, other, "A-3")
    await follower.until(follower.version + 2)
    assert follower.taken == {section.id: {1, 5, 9}, other.id: {2}}
    assert follower.sections[other.id] == (2, 1, 0, 0, 0)
    assert follower.snapshots == 1
    without = await following(capacity, event_id)
    await hold_seats(capacity, other, "A-1")
    answer = await without.step()
    assert answer is not None
    assert not answer.delta.seats
    follower.leave()
    without.leave()


async def test_the_clock_is_told_without_a_commit(capacity: Capacity) -> None:
    event_id = await capacity.event()
    section = await seated(capacity, event_id)
    follower = await following(capacity, event_id, with_seats=True)
    await hold_seats(capacity, section, "A-2")
    short = await hold_seats(capacity, section, "A-1", hold_ttl_seconds=1)
    version = follower.version + 2
    # However long each step takes to come: the seat is taken before the hold's end, and free after it.
    while follower.last.server_time.ToDatetime() < short.expire_time.ToDatetime():
        assert follower.version < version or follower.taken == {section.id: {0, 1}}
        before = follower.version
        answer = await follower.step()
        assert answer is not None
        assert answer.delta.after_version == before
    assert (follower.version, follower.snapshots) == (version, 1)
    assert (follower.sections[section.id], follower.taken[section.id]) == ((9, 1, 0, 0, 0), {1})
    # Who knows the version only is told again what the clock did.
    resumed = Follower(capacity, event_id, fields={"with_seats": True}, version=version)
    resumed.begin()
    answer = await resumed.step()
    assert answer is not None
    assert resumed.sections == follower.sections
    assert [(list(each.indexes), each.taken) for each in answer.delta.seats] == [([0], False)]
    follower.leave()
    resumed.leave()


async def test_a_version_is_resumed_by_what_changed_since(capacity: Capacity) -> None:
    event_id = await capacity.event()
    floor, seats = await capacity.section(event_id, 10), await seated(capacity, event_id)
    await capacity.section(event_id, 5)
    follower = await following(capacity, event_id, with_seats=True)
    follower.leave()
    await capacity.place(floor.id, 2)
    await hold_seats(capacity, seats, "A-3")
    follower.begin()
    answer = await follower.step()
    assert answer is not None
    assert {each.section_id for each in answer.delta.availability.sections} == {floor.id, seats.id}
    assert (follower.snapshots, follower.deltas) == (1, 1)
    assert (follower.sections[floor.id], follower.taken[seats.id]) == ((8, 2, 0, 0, 0), {2})
    # Nothing happened since: told at once too.
    follower.leave()
    follower.begin()
    answer = await follower.step()
    assert answer is not None
    assert (answer.delta.after_version, list(answer.delta.availability.sections)) == (follower.version, [])
    await capacity.place(floor.id, 1)
    await follower.until(follower.version + 1)
    assert follower.sections[floor.id] == (7, 3, 0, 0, 0)
    follower.leave()


async def test_a_version_that_cannot_be_resumed_begins_with_a_snapshot(capacity: Capacity) -> None:
    section = await capacity.on_sale(100)
    event_id = section.event_id
    newest = (await look(capacity, event_id)).inventory_version
    ahead = Follower(capacity, event_id)
    ahead.begin(after_version=newest + 1_000)
    await ahead.step()
    assert (ahead.snapshots, ahead.version) == (1, newest)
    ahead.leave()
    for _ in range(RESUMED_VERSIONS_MAX + 1):
        await capacity.place(section.id)
    late = Follower(capacity, event_id)
    late.begin(after_version=newest)
    await late.step()
    assert (late.snapshots, late.sections) == (1, {section.id: (100 - 65, 65, 0, 0, 0)})
    late.leave()
    just = Follower(capacity, event_id, version=newest + 1)
    just.begin()
    await just.step()
    assert (just.snapshots, just.deltas) == (0, 1)
    just.leave()


async def test_who_may_not_see_a_section_is_told_when_it_goes_and_comes(capacity: Capacity) -> None:
    event_id = await capacity.event()
    floor, secret = await capacity.section(event_id, 10), await capacity.section(event_id, 5, visible=False)
    buyer, owner = await following(capacity, event_id), await following(capacity, event_id, role="owner")
    assert (set(buyer.sections), set(owner.sections)) == ({floor.id}, {floor.id, secret.id})
    version = buyer.version
    await capacity.place(secret.id)
    await buyer.until(version + 1)
    assert not buyer.last.sections
    await capacity.call("UpdateSection", section_id=floor.id, section={"visible": False})
    await buyer.until(version + 2)
    assert buyer.sections == {}
    await capacity.call("UpdateSection", section_id=floor.id, section={"visible": True})
    await capacity.call("DeleteSection", section_id=floor.id)
    await owner.until(version + 4)
    assert set(owner.sections) == {secret.id}
    # A buyer who missed that is told nothing of sections that it does not see: a snapshot says it all.
    missed = Follower(capacity, event_id, version=version, sections={floor.id: (10, 0, 0, 0, 0)})
    missed.begin()
    await missed.step()
    assert (missed.snapshots, missed.sections) == (1, {})
    for each in (buyer, owner, missed):
        each.leave()


async def test_the_events_state_and_its_dates(capacity: Capacity) -> None:
    friday, saturday = schedule(days=10), schedule(days=11)
    event_id = await capacity.event(schedules=[friday, saturday])
    of_friday = await capacity.section(event_id, 5, schedule_id=friday.schedule_id)
    of_saturday = await capacity.section(event_id, 5, schedule_id=saturday.schedule_id)
    follower = await following(capacity, event_id, schedule_id=friday.schedule_id)
    assert set(follower.sections) == {of_friday.id}
    version = follower.version
    await capacity.place(of_saturday.id, 2)
    await capacity.place(of_friday.id, 1)
    await follower.until(version + 2)
    assert follower.sections == {of_friday.id: (4, 1, 0, 0, 0)}
    # Of another date nothing has to be told, so that a version can be resumed.
    resumed = Follower(capacity, event_id, fields={"schedule_id": friday.schedule_id}, version=version)
    resumed.begin()
    await resumed.step()
    assert (resumed.snapshots, resumed.sections) == (0, {of_friday.id: (4, 1, 0, 0, 0)})
    await capacity.change_event(event_id, state="CANCELLED")

    async def ended() -> bool:
        await follower.step()
        return follower.sections == {of_friday.id: (5, 0, 0, 0, 0)} and not follower.last.sales_allowed

    await until(ended)
    follower.leave()
    resumed.leave()
    unknown = Follower(capacity, event_id, fields={"schedule_id": new_id()})
    assert (await refusal(unknown)).reason is Reason.SCHEDULE_NOT_FOUND


async def test_what_is_not_there_or_of_others_is_not_found(capacity: Capacity) -> None:
    assert (await refusal(Follower(capacity, new_id()))).reason is Reason.EVENT_NOT_FOUND
    event_id = await capacity.event()
    capacity_of_others = Follower(capacity, event_id)
    mine, capacity.organization_id = capacity.organization_id, new_id()
    try:
        assert (await refusal(capacity_of_others)).reason is Reason.EVENT_NOT_FOUND
    finally:
        capacity.organization_id = mine


async def test_who_does_not_take_steps_gets_the_changes_together(capacity: Capacity) -> None:
    section = await capacity.on_sale(50)
    watches = Watches(
        database=capacity.app._database,
        availabilities=capacity.app.availabilities,
        seat_maps=capacity.app.seat_maps,
    )
    watch = Watch(capacity.organization_id, section.event_id, None, hidden=False, with_seats=False)
    async with aclosing(watches.steps(watch, after_version=0)) as steps:
        first = await anext(steps)
        for _ in range(20):
            await capacity.place(section.id)
        then = await anext(steps)
        assert then.delta is not None
        assert (then.delta.after_version, then.view.version) == (first.view.version, first.view.version + 20)
        assert [each.counters.held for each in then.delta.sections] == [20]


async def test_commits_of_another_replica_are_followed_and_resumed_there(
    capacity: Capacity, nats_server: EmbeddedNats, identity_dir: Path
) -> None:
    event_id = await capacity.event()
    section = await seated(capacity, event_id)
    follower = await following(capacity, event_id, with_seats=True)
    async with another(capacity, nats_server.url, identity_dir) as other:
        version = follower.version
        await hold_seats(other, section, "A-1")
        await follower.until(version + 1)
        assert follower.taken == {section.id: {0}}
        follower.leave()
        await hold_seats(capacity, section, "A-2")
        moved = Follower(other, event_id, fields={"with_seats": True}, version=version + 1, taken=follower.taken)
        moved.begin()
        await moved.until(version + 2)
        assert (moved.snapshots, moved.taken) == (0, {section.id: {0, 1}})
        # The other replica stops: the stream ends well, and goes on here.
        ending = asyncio.ensure_future(moved.step())
        await other.app.server.stop()
        async with asyncio.timeout(10):
            assert await ending is None
        follower.version = moved.version
        follower.begin()
        await follower.step()
        assert follower.snapshots == 1
        follower.leave()


async def test_streams_of_a_caller_are_bounded_and_a_held_stream_holds_no_connection(
    database: TestDatabase, nats_server: EmbeddedNats, identity_dir: Path
) -> None:
    async with running(
        database,
        nats_server.url,
        identity_dir,
        mesh_settings={"rpc_streams_of_caller_max": 6},
        database_pool_size=2,
    ) as capacity:
        section = await capacity.on_sale(10)
        followers = [await following(capacity, section.event_id) for _ in range(6)]
        error = await refusal(Follower(capacity, section.event_id))
        assert (error.reason, error.metadata) == (Reason.OVERLOADED, {"queue": "streams"})
        await asyncio.gather(*(capacity.place(section.id) for _ in range(4)))
        assert (await capacity.read(section.id)).held == 4
        for each in followers:
            await each.until(each.version + 1)
            each.leave()
