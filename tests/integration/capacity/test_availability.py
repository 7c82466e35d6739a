"""What is left of an event, answered from memory: at once after commits of this process and of others, by the clock."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.capacity.availability import Availabilities
from holdfast.capacity.following import AGE_MAX
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from holdfast.common.metrics import Metrics
from tests.integration.capacity.conftest import refused, running, schedule, until
from tests.integration.capacity.test_expiry import over

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from holdfast.api.capacity.v1 import availability_pb2
    from holdfast.local.nats import EmbeddedNats
    from tests.integration.capacity.conftest import Capacity

Figures = tuple[int, int, int, int]


async def look(
    capacity: Capacity, event_id: str, *, role: str = "buyer", **fields: Any
) -> availability_pb2.Availability:
    answer = await capacity.call("GetAvailability", role=role, event_id=event_id, **fields)
    found: availability_pb2.Availability = answer.availability
    return found


def figures(found: availability_pb2.Availability) -> list[Figures]:
    return [(each.available, each.held, each.pending, each.sold) for each in found.sections]


async def settled(capacity: Capacity, event_id: str, version: int) -> availability_pb2.Availability:
    """Look until a version is shown."""
    found = await look(capacity, event_id)

    async def there() -> bool:
        nonlocal found
        found = await look(capacity, event_id)
        return found.inventory_version >= version

    await until(there)
    return found


def readings(capacity: Capacity, what: str) -> float:
    """How often the service read the tables to tell what is left."""
    registry = capacity.app.metrics.registry
    return registry.get_sample_value("holdfast_availability_readings_total", {"what": what}) or 0.0


@asynccontextmanager
async def another(capacity: Capacity, nats_url: str, identity_dir: Path, **settings: Any) -> AsyncIterator[Capacity]:
    """Run another replica on the same database."""
    async with running(capacity.database, nats_url, identity_dir, **settings) as other:
        other.organization_id = capacity.organization_id
        yield other


async def test_places_are_shown_as_they_are_held_and_sold(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    event_id = section.event_id
    found = await look(capacity, event_id)
    assert figures(found) == [(10, 0, 0, 0)]
    assert (found.total, found.available, found.sales_allowed) == (10, 10, True)
    assert (found.sections[0].section_id, found.sections[0].name, found.sections[0].active) == (
        section.id,
        section.name,
        True,
    )
    assert not found.HasField("next_change_time")
    hold = await capacity.place(section.id, 3)
    await capacity.place(section.id, 1)
    held = await settled(capacity, event_id, found.inventory_version + 2)
    assert figures(held) == [(6, 4, 0, 0)]
    assert held.next_change_time == hold.expire_time
    await capacity.call("ConfirmHold", role="buyer", hold_id=hold.id)
    sold = await settled(capacity, event_id, held.inventory_version + 1)
    assert figures(sold) == [(6, 1, 0, 3)]
    assert len({found.etag, held.etag, sold.etag}) == 3


async def test_a_hold_is_free_from_its_expiry_on_and_the_etag_tells(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    await look(capacity, section.event_id)
    short = await capacity.place(section.id, 3, hold_ttl_seconds=1)
    long = await capacity.place(section.id, 4, hold_ttl_seconds=900)
    journal = await capacity.journal(section.event_id)
    before = await settled(capacity, section.event_id, journal[-1].version)
    await over(capacity, short.id)

    async def free() -> bool:
        return figures(await look(capacity, section.event_id)) == [(6, 4, 0, 0)]

    await until(free)
    found = await look(capacity, section.event_id)
    assert found.inventory_version == journal[-1].version, "nobody wrote a row"
    assert found.next_change_time == long.expire_time
    assert found.server_time.ToDatetime() >= short.expire_time.ToDatetime()
    assert found.etag != before.etag
    assert found.etag == (await look(capacity, section.event_id)).etag


async def test_one_replica_shows_what_another_did(
    capacity: Capacity, nats_server: EmbeddedNats, identity_dir: Path
) -> None:
    section = await capacity.on_sale(50)
    async with another(capacity, nats_server.url, identity_dir) as other:
        first = await look(other, section.event_id)
        holds = [await capacity.place(section.id, 2) for _ in range(5)]
        await other.call("ReleaseHold", role="buyer", hold_id=holds[0].id)
        await capacity.call("ConfirmHold", role="buyer", hold_id=holds[1].id)
        version = first.inventory_version + 7
        seen = [await settled(each, section.event_id, version) for each in (capacity, other)]
        assert [figures(each) for each in seen] == [[(42, 6, 0, 2)]] * 2
        assert seen[0].etag == seen[1].etag


async def test_without_nats_answers_are_read_from_the_tables_by_age(capacity: Capacity, identity_dir: Path) -> None:
    section = await capacity.on_sale(10)
    async with another(capacity, "nats://127.0.0.1:1", identity_dir) as other:
        first = await look(other, section.event_id)
        await capacity.place(section.id, 3)
        found = await settled(other, section.event_id, first.inventory_version + 1)
        assert figures(found) == [(7, 3, 0, 0)]
        assert found.age_milliseconds <= AGE_MAX / timedelta(milliseconds=1)


async def test_all_who_ask_at_once_share_one_reading(
    capacity: Capacity, nats_server: EmbeddedNats, identity_dir: Path
) -> None:
    section = await capacity.on_sale(10)
    async with another(capacity, nats_server.url, identity_dir) as other:
        found = await asyncio.gather(*(look(other, section.event_id) for _ in range(40)))
        assert {each.etag for each in found} == {found[0].etag}
        assert readings(other, "everything") == 1
        assert readings(other, "journal") == 0


async def test_what_is_two_seconds_old_asks_only_for_what_is_new(capacity: Capacity, identity_dir: Path) -> None:
    section = await capacity.on_sale(10)
    async with another(capacity, "nats://127.0.0.1:1", identity_dir) as other:
        first = await look(other, section.event_id)
        for _ in range(3):
            await capacity.place(section.id)
        await settled(other, section.event_id, first.inventory_version + 3)
        assert readings(other, "everything") == 1
        assert readings(other, "journal") >= 1


async def test_events_that_nobody_asks_for_are_forgotten(capacity: Capacity) -> None:
    sections = [await capacity.on_sale(10) for _ in range(3)]
    metrics = Metrics("test")
    async with capacity.database_of_the_service() as database:
        kept = Availabilities(database=database, metrics=metrics, events_max=2)
        for number in (0, 1, 0, 2, 0, 1):
            await kept.of(capacity.organization_id, sections[number].event_id)
        with pytest.raises(DomainError):
            await kept.of(new_id(), sections[0].event_id)
        await kept.of(capacity.organization_id, sections[0].event_id)
    found = metrics.registry.get_sample_value("holdfast_availability_readings_total", {"what": "everything"})
    assert found == 3 + 1 + 1, (
        "each once, the one asked for least again, and what there is not, which takes nobody's place"
    )


async def test_buyers_see_visible_sections_and_a_filter_shows_a_date(capacity: Capacity) -> None:
    friday, saturday = schedule(days=10), schedule(days=11)
    event_id = await capacity.event(schedules=[friday, saturday])
    wide = await capacity.section(event_id, 100)
    await capacity.section(event_id, 20, schedule_id=friday.schedule_id)
    late = await capacity.section(event_id, 30, schedule_id=saturday.schedule_id)
    await capacity.section(event_id, 7, visible=False)
    found = await settled(capacity, event_id, 5)
    assert [(each.total, each.schedule_id) for each in found.sections] == [
        (100, ""),
        (20, friday.schedule_id),
        (30, saturday.schedule_id),
    ]
    assert found.total == 150
    staff = await look(capacity, event_id, role="owner")
    assert [each.total for each in staff.sections] == [100, 20, 30, 7]
    assert staff.etag != found.etag
    dated = await look(capacity, event_id, schedule_id=saturday.schedule_id)
    assert [each.section_id for each in dated.sections] == [wide.id, late.id]
    missing = await refused(look(capacity, event_id, schedule_id=new_id()))
    assert missing.reason is Reason.SCHEDULE_NOT_FOUND


async def test_settings_and_controls_that_change_are_read_anew(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    found = await look(capacity, section.event_id)
    await capacity.call("UpdateSection", section_id=section.id, section={"name": "Balcony", "total": 12})
    found = await settled(capacity, section.event_id, found.inventory_version + 1)
    assert (found.sections[0].name, found.total) == ("Balcony", 12)
    await capacity.change_event(section.event_id, state="SALES_PAUSED")
    found = await settled(capacity, section.event_id, found.inventory_version + 1)
    assert not found.sales_allowed


async def test_cancelling_frees_at_once_whatever_the_rows_say(
    capacity: Capacity, nats_server: EmbeddedNats, identity_dir: Path
) -> None:
    friday, saturday = schedule(days=10), schedule(days=11)
    event_id = await capacity.event(schedules=[friday, saturday])
    section = await capacity.section(event_id, 100)
    await capacity.place(section.id, 3, schedule_id=friday.schedule_id)
    await capacity.place(section.id, 4, schedule_id=saturday.schedule_id)
    assert figures(await settled(capacity, event_id, 4)) == [(93, 7, 0, 0)]
    friday.state = "CANCELLED"
    # Rows are brought up to date after the answer of the call; a reading between the two knows as much.
    answer = await capacity.change_event(event_id, schedules=[friday, saturday])
    found = await settled(capacity, event_id, answer.inventory_version)
    assert figures(found) == [(96, 4, 0, 0)]
    journal = await capacity.journal(event_id)
    tidied = await settled(capacity, event_id, journal[-1].version)
    assert figures(tidied) == [(96, 4, 0, 0)]
    async with another(capacity, nats_server.url, identity_dir) as other:
        assert figures(await look(other, event_id)) == [(96, 4, 0, 0)]


async def test_sales_open_and_close_by_the_clock(capacity: Capacity) -> None:
    start = datetime.now(UTC) + timedelta(hours=1)
    end = start + timedelta(hours=1)
    event_id = await capacity.event(state="PUBLISHED", sales_start_time=start, sales_end_time=end)
    await capacity.section(event_id, 10)
    found = await look(capacity, event_id)
    assert not found.sales_allowed
    assert found.next_change_time.ToDatetime(tzinfo=UTC) == start


@pytest.mark.parametrize("role", ["buyer", "owner"])
async def test_another_organization_sees_nothing(capacity: Capacity, role: str) -> None:
    section = await capacity.on_sale(10)
    await look(capacity, section.event_id)
    stranger = await refused(
        capacity.call("GetAvailability", role=role, organization_id=new_id(), event_id=section.event_id)
    )
    unknown = await refused(capacity.call("GetAvailability", role=role, event_id=new_id()))
    assert stranger.reason is unknown.reason is Reason.EVENT_NOT_FOUND
