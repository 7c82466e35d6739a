"""Sections made many at once, deleted, and kept within what the venue and the dates take."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.capacity.domain.placing import LineRequest, PlaceRequest
from holdfast.capacity.operations.holds import PlaceHold
from holdfast.capacity.operations.sections import CreateSections, NewSection
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from tests.integration.capacity.conftest import refused, schedule, state_of
from tests.integration.capacity.racing import outcomes, reasons
from tests.integration.capacity.steps import blocked, figures, hold_seats, seated, sold
from tests.integration.capacity.test_expiry import over

if TYPE_CHECKING:
    from tests.integration.capacity.conftest import Capacity


async def make(capacity: Capacity, event_id: str, *sections: dict[str, Any], **fields: Any) -> Any:
    return await capacity.call("BatchCreateSections", event_id=event_id, sections=list(sections), **fields)


async def test_sections_are_made_together_in_one_commit(capacity: Capacity) -> None:
    event_id = await capacity.event()
    wanted = [{"name": f"Block {number}", "total": 10 + number, "max_per_order": 4} for number in range(5)]
    done = await outcomes(
        *(
            capacity.call_with_metadata(
                "BatchCreateSections", event_id=event_id, sections=wanted, request_id="sections-once"
            )
            for _ in range(4)
        )
    )
    assert sum(metadata.get("holdfast-replayed") == "true" for _, metadata in done) == 3
    made = done[0][0]
    assert [(each.name, each.total, each.max_per_order) for each in made.sections] == [
        (each["name"], each["total"], 4) for each in wanted
    ]
    assert {tuple(each.id for each in answer.sections) for answer, _ in done} == {
        tuple(each.id for each in made.sections)
    }
    assert made.inventory_version == 2
    assert [len(row.sections) for row in await capacity.journal(event_id)] == [0, 5]
    other = await refused(make(capacity, event_id, *wanted[:4], request_id="sections-once"))
    assert other.reason is Reason.IDEMPOTENCY_KEY_REUSED
    await capacity.check(event_id)


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ([{"name": "A", "total": 5}, {"total": 5}], ["sections[1]"]),
        ([{"name": "A", "total": 0}, {"name": "B", "total": 5}], ["sections[0]"]),
        ([{"name": "A", "total": 5}, {"name": "x" * 101, "total": 5}], ["sections[1].name"]),
        (
            [
                {"name": "A", "total": 5, "min_per_order": 3, "max_per_order": 2},
                {"name": "B", "total": 5},
                {"name": "C", "total": 5, "kind": "SEATED"},
                {"name": "B", "total": 6},
            ],
            ["sections[0].max_per_order", "sections[2].kind", "sections[3].name"],
        ),
        ([], ["sections"]),
        ([{"name": f"S{number}", "total": 1} for number in range(101)], ["sections"]),
    ],
)
async def test_each_faulty_section_is_named_and_none_is_made(
    capacity: Capacity, sections: list[dict[str, Any]], told: list[str]
) -> None:
    event_id = await capacity.event()
    error = await refused(make(capacity, event_id, *sections))
    assert (error.reason, [each.field for each in error.violations]) == (Reason.VALIDATION_FAILED, told)
    assert (await capacity.call("GetTotals", event_id=event_id)).section_count == 0


async def test_sections_made_together_are_checked_together(capacity: Capacity) -> None:
    day = schedule(capacity_override=60)
    event_id = await capacity.event(venue_max_capacity=100, schedules=[day])
    here = {"schedule_id": day.schedule_id}
    cases: list[tuple[list[dict[str, Any]], Reason, dict[str, str]]] = [
        (
            [{"name": "A", "total": 50}, {"name": "B", "total": 11, **here}],
            Reason.VENUE_CAPACITY_EXCEEDED,
            {"maximum": "60", "total": "61", **here},
        ),
        (
            [{"name": "A", "total": 50}, {"name": "B", "total": 5, "schedule_id": new_id()}],
            Reason.SCHEDULE_NOT_FOUND,
            {},
        ),
    ]
    for sections, reason, metadata in cases:
        error = await refused(make(capacity, event_id, *sections))
        assert error.reason is reason
        assert metadata.items() <= error.metadata.items()
    made = await make(capacity, event_id, {"name": "A", "total": 50}, {"name": "A", "total": 10, **here})
    taken = await refused(make(capacity, event_id, {"name": "C", "total": 0 + 1}, {"name": "A", "total": 1}))
    assert taken.reason in {Reason.SECTION_EXISTS, Reason.VENUE_CAPACITY_EXCEEDED}
    assert taken.metadata["section_id"] == made.sections[0].id
    assert (await capacity.call("GetTotals", event_id=event_id)).total == 60
    unknown = await refused(make(capacity, new_id(), {"name": "A", "total": 1}))
    assert unknown.reason is Reason.EVENT_NOT_FOUND
    foreign = await refused(make(capacity, event_id, {"name": "Z", "total": 1}, organization_id=new_id()))
    assert foreign.reason is Reason.EVENT_NOT_FOUND
    await capacity.check(event_id)


async def test_the_third_section_races_the_second_from_two_replicas(capacity: Capacity) -> None:
    def asked(name: str, total: int) -> CreateSections:
        return CreateSections((NewSection(new_id(), {"name": name}, total),), None)

    async with capacity.engine_of_the_service() as one, capacity.engine_of_the_service() as other:
        for _ in range(5):
            event_id = await capacity.event(venue_max_capacity=5000)
            await one(event_id, asked("first", 2000))
            done = await outcomes(one(event_id, asked("second", 2500)), other(event_id, asked("third", 1000)))
            assert reasons(done) == {"ok": 1, Reason.VENUE_CAPACITY_EXCEEDED: 1}
            totals = await capacity.call("GetTotals", event_id=event_id)
            assert totals.total in {4500, 3000}
            await capacity.check(event_id)
    assert capacity.deadlocks() == 0


async def test_a_section_goes_with_its_blocks_and_its_name_is_free_again(capacity: Capacity) -> None:
    event_id = await capacity.event(venue_max_capacity=100)
    section = await capacity.section(event_id, 60, name="Floor")
    other = await capacity.section(event_id, 40, name="Balcony")
    blocks = [await blocked(capacity, section, 10), await blocked(capacity, section, 5)]
    await capacity.call("Unblock", block_id=blocks[1].id)
    await capacity.call("SetBuffer", section_id=section.id, quantity=3)
    before = await capacity.call("GetAvailability", event_id=event_id)
    assert len(before.availability.sections) == 2
    stale = await refused(capacity.call("DeleteSection", section_id=section.id, etag=section.etag))
    assert stale.reason is Reason.ETAG_MISMATCH
    etag = (await capacity.read(section.id)).etag
    await capacity.call("DeleteSection", section_id=section.id, etag=etag, subject="user:manager")
    await capacity.call("DeleteSection", section_id=section.id)
    await capacity.call("DeleteSection", section_id=section.id, etag=etag)

    gone: list[tuple[str, dict[str, Any]]] = [
        ("GetSection", {}),
        ("CheckAvailability", {"quantity": 1}),
        ("PlaceHold", {"quantity": 1}),
        ("UpdateSection", {"section": {"total": 5}}),
        ("BlockQuantity", {"quantity": 1, "note": "x"}),
        ("SetBuffer", {"quantity": 1}),
    ]
    for rpc, fields in gone:
        error = await refused(capacity.call(rpc, section_id=section.id, **fields))
        assert (error.reason, error.metadata) == (Reason.SECTION_NOT_FOUND, {"section_id": section.id}), rpc
    listed = await capacity.call("ListSections", event_id=event_id, with_total=True)
    assert ([each.id for each in listed.sections], listed.pagination.total) == ([other.id], 1)
    totals = await capacity.call("GetTotals", event_id=event_id)
    assert (totals.total, totals.available, totals.blocked, totals.section_count) == (40, 40, 0, 1)
    left = (await capacity.call("GetAvailability", event_id=event_id)).availability
    assert ([each.section_id for each in left.sections], left.total) == ([other.id], 40)
    ended = (await capacity.call("GetBlock", block_id=blocks[0].id)).block
    assert (ended.quantity, ended.HasField("end_time")) == (0, True)
    row = (await capacity.journal(event_id))[-1]
    (told,) = row.sections
    assert (told.section_id, told.deleted, told.total, told.blocked, told.buffer) == (section.id, True, 60, 3, 3)
    assert [(each.block_id, each.ended, each.actor) for each in row.blocks] == [(blocks[0].id, True, "user:manager")]
    assert (row.totals.total, row.totals.blocked) == (40, 0)

    again = await capacity.section(event_id, 60, name="Floor")
    assert again.id != section.id
    await capacity.place(again.id, 60)
    await capacity.check(event_id)


async def test_what_is_sold_or_held_keeps_a_section(capacity: Capacity) -> None:
    event_id = await capacity.event()
    section = await capacity.section(event_id, 10)
    live = await capacity.place(section.id, 2)
    paying = await capacity.place(section.id, 3)
    await capacity.call("BeginPayment", hold_id=paying.id)
    sale = await sold(capacity, await capacity.place(section.id, 4))
    for ending, told in (
        (("ReleaseHold", {"hold_id": live.id}), {"held": "2", "pending": "3", "sold": "4"}),
        (("ReleaseHold", {"hold_id": paying.id}), {"held": "0", "pending": "3", "sold": "4"}),
        (
            ("ReturnSale", {"sale_id": sale.id, "lines": [{"number": 1, "all": True}]}),
            {"held": "0", "pending": "0", "sold": "4"},
        ),
    ):
        error = await refused(capacity.call("DeleteSection", section_id=section.id))
        assert (error.reason, error.metadata) == (Reason.TICKETS_SOLD, told)
        await capacity.call(ending[0], **ending[1])
    await capacity.call("DeleteSection", section_id=section.id)
    # What was returned of it is still told.
    shown = (await capacity.call("GetSale", sale_id=sale.id)).sale
    assert (shown.lines[0].section_id, shown.lines[0].returned_quantity) == (section.id, 4)
    assert state_of(await capacity.hold(live.id)) == "RELEASED"
    await capacity.call("ReleaseHold", hold_id=live.id)
    await capacity.check(event_id)


async def test_expired_holds_do_not_keep_a_section(capacity: Capacity) -> None:
    event_id = await capacity.event()
    section, seats = await capacity.section(event_id, 1200), await seated(capacity, event_id)
    block = await blocked(capacity, seats, ["A-1", "A-2"])
    seat = await hold_seats(capacity, seats, "A-1", block_id=block.id, hold_ttl_seconds=1)
    placed = await capacity.fill(section, 1100, hold_ttl_seconds=1)
    await over(capacity, seat.id)
    await over(capacity, placed[-1])
    for each in (section, seats):
        await capacity.call("DeleteSection", section_id=each.id)
    assert (await capacity.call("GetTotals", event_id=event_id)).total == 0
    assert state_of(await capacity.hold(placed[0])) == "EXPIRED"
    ended = (await capacity.call("GetBlock", block_id=block.id)).block
    assert (ended.taken_quantity, list(ended.seats), ended.HasField("end_time")) == (0, [], True)
    assert capacity.rows("SELECT 1 FROM capacity.seat_claims WHERE section_id = %s", seats.id) == []
    await capacity.check(event_id)


async def test_a_section_with_very_many_blocks_is_kept_until_some_end(capacity: Capacity) -> None:
    section = await capacity.on_sale(600)
    block = await blocked(capacity, section, 1)
    copied = capacity.change(
        "INSERT INTO capacity.blocks (organization_id, event_id, id, section_id, kind, quantity, initial_quantity,"
        " note, actor, create_time, update_time, revision) SELECT b.organization_id, b.event_id,"
        " gen_random_uuid()::text, b.section_id, b.kind, 1, 1, b.note, b.actor, b.create_time, b.update_time, 1"
        " FROM capacity.blocks b, generate_series(1, 500) WHERE b.id = %s",
        block.id,
    )
    assert copied == 500
    error = await refused(capacity.call("DeleteSection", section_id=section.id))
    assert (error.reason, [each.field for each in error.violations]) == (Reason.VALIDATION_FAILED, ["section_id"])
    assert (await capacity.read(section.id)).blocked == 1


async def test_deleting_races_holding_and_one_of_them_wins(capacity: Capacity) -> None:
    event_id = await capacity.event()
    async with capacity.engine_of_the_service() as replica:
        for _ in range(6):
            section = await capacity.section(event_id, 5)
            request = PlaceRequest(new_id(), event_id, "ann", "ann", lines=(LineRequest(section.id, None, 1),))
            deleted, held = await outcomes(
                capacity.call("DeleteSection", section_id=section.id), replica(event_id, PlaceHold(request))
            )
            if isinstance(deleted, DomainError):
                assert deleted.reason is Reason.TICKETS_SOLD
                assert await figures(capacity, section.id) == (4, 1, 0, 0)
            else:
                assert held.reason is Reason.SECTION_NOT_FOUND
    await capacity.check(event_id)


async def test_a_deleted_section_is_deleted_for_whoever_may_and_repeats(capacity: Capacity) -> None:
    section = await capacity.on_sale(5)
    unknown = await refused(capacity.call("DeleteSection", section_id=new_id()))
    assert unknown.reason is Reason.SECTION_NOT_FOUND
    foreign = await refused(capacity.call("DeleteSection", section_id=section.id, organization_id=new_id()))
    assert foreign.reason is Reason.SECTION_NOT_FOUND
    buyer = await refused(capacity.call("DeleteSection", section_id=section.id, role="buyer"))
    assert buyer.reason is Reason.PERMISSION_MISSING
    done = await outcomes(
        *(
            capacity.call_with_metadata("DeleteSection", section_id=section.id, request_id="delete-once")
            for _ in range(4)
        )
    )
    assert sum(metadata.get("holdfast-replayed") == "true" for _, metadata in done) == 3
    assert (await capacity.journal(section.event_id))[-1].version == 3
    other = await capacity.section(section.event_id, 5)
    reused = await refused(capacity.call("DeleteSection", section_id=other.id, request_id="delete-once"))
    assert reused.reason is Reason.IDEMPOTENCY_KEY_REUSED


async def test_totals_are_those_of_one_moment_while_places_move(capacity: Capacity) -> None:
    event_id = await capacity.event()
    sections = [await capacity.section(event_id, 20) for _ in range(3)]
    done = asyncio.Event()

    async def move(number: int) -> None:
        for _ in range(6):
            lines = [{"section_id": each.id, "quantity": 1 + number % 2} for each in sections]
            hold = (await capacity.call("PlaceHold", lines=lines)).hold
            block = await blocked(capacity, sections[number % 3], 1)
            sale = await sold(capacity, hold)
            lines = [{"number": line.number, "all": True} for line in sale.lines]
            await capacity.call("ReturnSale", sale_id=sale.id, lines=lines)
            await capacity.call("Unblock", block_id=block.id)

    async def watch() -> int:
        seen = 0
        while not done.is_set():
            totals = await capacity.call("GetTotals", event_id=event_id)
            assert totals.available + totals.held + totals.pending + totals.sold + totals.blocked == 60
            assert (totals.held + totals.sold) % 3 == 0
            seen += 1
        return seen

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(move(number) for number in range(4)))
    done.set()
    assert await watching > 0
    totals = await capacity.call("GetTotals", event_id=event_id)
    assert (totals.available, totals.sold, totals.held, totals.blocked) == (60, 0, 0, 0)
    await capacity.check(event_id)
    assert capacity.deadlocks() == 0


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"total": 0}, []),
        ({"total": -1}, ["section.total"]),
        ({"total": 5, "min_per_order": 0}, ["section.min_per_order"]),
        ({"total": 5, "min_per_order": 3, "max_per_order": 2}, ["section.max_per_order"]),
        ({"total": 5, "max_per_order": 1001}, ["section.max_per_order"]),
    ],
)
async def test_a_section_has_sound_numbers(capacity: Capacity, fields: dict[str, Any], told: list[str]) -> None:
    error = await refused(capacity.section(await capacity.event(), **fields))
    assert error.reason is Reason.VALIDATION_FAILED
    assert [each.field for each in error.violations if each.field] == told
