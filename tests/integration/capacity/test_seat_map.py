"""All seats of an event as bitmaps, from memory: by row and seat what the tables say, at once and to the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.common.errors import Reason
from holdfast.common.ids import new_id
from tests.integration.capacity.conftest import refused, running, schedule, until
from tests.integration.capacity.steps import hold_seats, seated
from tests.integration.capacity.test_expiry import over

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.api.capacity.v1 import seat_map_pb2
    from holdfast.local.nats import EmbeddedNats
    from tests.integration.capacity.conftest import Capacity


async def look(capacity: Capacity, event_id: str, *, role: str = "owner", **fields: Any) -> seat_map_pb2.SeatMap:
    found: seat_map_pb2.SeatMap = (await capacity.call("GetSeatMap", role=role, event_id=event_id, **fields)).seat_map
    return found


async def shown_at(capacity: Capacity, event_id: str, version: int) -> seat_map_pb2.SectionSeatMap:
    """Look until a version is shown; gives the first section."""

    async def there() -> bool:
        return (await look(capacity, event_id)).inventory_version >= version

    await until(there)
    return (await look(capacity, event_id)).sections[0]


async def newest(capacity: Capacity, event_id: str) -> seat_map_pb2.SectionSeatMap:
    return await shown_at(capacity, event_id, (await capacity.journal(event_id))[-1].version)


def seats(bitmap: bytes) -> set[int]:
    mask = int.from_bytes(bitmap, "little")
    return {seat for seat in range(mask.bit_length()) if mask >> seat & 1}


def states(section: seat_map_pb2.SectionSeatMap) -> dict[str, set[int]]:
    found = {name: seats(getattr(section, name)) for name in ("held", "pending", "sold", "blocked")}
    assert seats(section.taken) == set().union(*found.values())
    return {name: where for name, where in found.items() if where}


async def test_each_seat_is_in_the_bitmap_of_what_became_of_it(capacity: Capacity) -> None:
    section = await seated(capacity, await capacity.event(), rows=2, cols=5)
    assert not states((await look(capacity, section.event_id)).sections[0]), "read once, followed from here on"
    held = await hold_seats(capacity, section, "A-1", "A-2")
    paying = await hold_seats(capacity, section, "A-4")
    sold = await hold_seats(capacity, section, "B-5", "B-4")
    await capacity.call("BeginPayment", hold_id=paying.id)
    sale = (await capacity.call("ConfirmHold", hold_id=sold.id)).sale
    block = (
        await capacity.call("BlockSeats", section_id=section.id, seats={"labels": ["B-1", "B-2"]}, note="house")
    ).block
    followed = await newest(capacity, section.event_id)
    assert states(followed) == {"held": {0, 1}, "pending": {3}, "sold": {8, 9}, "blocked": {5, 6}}
    await capacity.call("ReleaseHold", hold_id=held.id)
    await capacity.call("Unblock", block_id=block.id, seats={"labels": ["B-2"]})
    line = {"number": 1, "seats": {"labels": ["B-4"]}}
    await capacity.call("ReturnSale", sale_id=sale.id, lines=[line], return_to="BLOCKED", note="lost")
    followed = await newest(capacity, section.event_id)
    assert states(followed) == {"pending": {3}, "sold": {9}, "blocked": {5, 8}}
    assert (followed.seat_count, followed.active, len(followed.taken)) == (10, True, 2)


async def test_what_is_followed_is_what_another_process_reads(
    capacity: Capacity, nats_server: EmbeddedNats, identity_dir: Path
) -> None:
    section = await seated(capacity, await capacity.event())
    await look(capacity, section.event_id)
    block = await capacity.call("BlockSeats", section_id=section.id, seats={"labels": ["A-1", "A-2"]}, note="house")
    kept = await hold_seats(capacity, section, "A-1", block_id=block.block.id)
    await hold_seats(capacity, section, "B-1", "B-3")
    changed = await hold_seats(capacity, section, "B-4", "B-5")
    await capacity.call("ChangeHold", hold_id=changed.id, release_lines=[{"number": 1, "seats": {"labels": ["B-4"]}}])
    mine = await newest(capacity, section.event_id)
    assert states(mine) == {"held": {0, 5, 7, 9}, "blocked": {1}}
    async with running(capacity.database, nats_server.url, identity_dir) as other:
        other.organization_id = capacity.organization_id
        read = (await look(other, section.event_id)).sections[0]
        assert read == mine
        await other.call("ReleaseHold", hold_id=kept.id)
        followed = await newest(capacity, section.event_id)
        assert states(followed) == {"held": {5, 7, 9}, "blocked": {0, 1}}, "back in its block"


async def test_seats_of_a_hold_are_free_from_its_expiry_on_and_the_etag_tells(capacity: Capacity) -> None:
    section = await seated(capacity, await capacity.event())
    block = await capacity.call("BlockSeats", section_id=section.id, seats={"labels": ["B-1"]}, note="house")
    await look(capacity, section.event_id)
    short = await hold_seats(capacity, section, "A-1", hold_ttl_seconds=1)
    from_block = await hold_seats(capacity, section, "B-1", block_id=block.block.id, hold_ttl_seconds=1)
    long = await hold_seats(capacity, section, "A-2")
    before = await look(capacity, section.event_id)
    for hold in (short, from_block):
        await over(capacity, hold.id)

    async def free() -> bool:
        return states((await look(capacity, section.event_id)).sections[0]) == {"held": {1}, "blocked": {5}}

    await until(free)
    found = await look(capacity, section.event_id)
    assert found.inventory_version == before.inventory_version, "nobody wrote a row"
    assert found.next_change_time == long.expire_time
    assert found.etag != before.etag
    assert found.etag == (await look(capacity, section.event_id)).etag


async def test_buyers_see_that_seats_are_taken_and_not_by_whom(capacity: Capacity) -> None:
    event_id = await capacity.event()
    section = await seated(capacity, event_id)
    hidden = await seated(capacity, event_id)
    await capacity.call("UpdateSection", section_id=hidden.id, section={"visible": False})
    general = await capacity.section(event_id, 10)
    await hold_seats(capacity, section, "A-1")
    staff = await look(capacity, event_id)
    assert [each.section_id for each in staff.sections] == [section.id, hidden.id]
    assert general.id not in {each.section_id for each in staff.sections}
    buyer = await look(capacity, event_id, role="buyer")
    assert [each.section_id for each in buyer.sections] == [section.id]
    shown = buyer.sections[0]
    assert seats(shown.taken) == {0}
    assert not any((shown.held, shown.pending, shown.sold, shown.blocked))
    assert buyer.etag != staff.etag
    office = await look(capacity, event_id, role="box_office")
    assert states(office.sections[0]) == {"held": {0}}


async def test_the_layout_comes_only_when_asked_for_and_is_the_one_made(capacity: Capacity) -> None:
    event_id = await capacity.event()
    rows = [
        {"runs": [{"seats": 3}, {"gap": 2}, {"seats": 3}]},
        {"label": "L", "offset": 1, "runs": [{"seats": 2, "labels": ["1", "1A"], "attributes": {"wheelchair": True}}]},
    ]
    config = {
        "sections": [
            {
                "name": "Stalls",
                "row_layouts": rows,
                "focal_point": {"row": 0, "place": 4},
                "numbering": {"seats": "ODD_LEFT_EVEN_RIGHT"},
            }
        ]
    }
    made = (await capacity.call("GenerateSeating", event_id=event_id, config=config)).sections[0]
    bare = (await look(capacity, event_id)).sections[0]
    assert (list(bare.row_layouts), bare.HasField("focal_point")) == ([], False)
    assert bare.layout_etag == made.layout.layout_etag
    shown = (await look(capacity, event_id, with_layout=True)).sections[0]
    assert [[list(run.labels) or -run.gap for run in row.runs] for row in shown.row_layouts] == [
        [["5", "3", "1"], -2, ["2", "4", "6"]],
        [["1", "1A"]],
    ]
    assert shown.focal_point == made.focal_point
    await capacity.call(
        "SetSeatAttributes", section_id=made.id, seats={"labels": ["A-1"]}, attributes={"companion": True}
    )
    changed = (await look(capacity, event_id, with_layout=True)).sections[0]
    assert changed.layout_etag != shown.layout_etag
    assert [run.seats for run in changed.row_layouts[0].runs if run.attributes.companion] == [1]


async def test_dates_choose_sections(capacity: Capacity) -> None:
    first, second = schedule(), schedule()
    event_id = await capacity.event(schedules=[first, second])
    everywhere = await seated(capacity, event_id)
    config = {"rows": 1, "cols": 2, "sections": [{"name": "Box"}]}
    dated = await capacity.call("GenerateSeating", event_id=event_id, config=config, schedule_id=second.schedule_id)
    box = dated.sections[0]
    of_first = await look(capacity, event_id, schedule_id=first.schedule_id)
    assert [each.section_id for each in of_first.sections] == [everywhere.id]
    of_second = await look(capacity, event_id, schedule_id=second.schedule_id)
    assert [each.section_id for each in of_second.sections] == [everywhere.id, box.id]
    error = await refused(look(capacity, event_id, schedule_id=new_id()))
    assert error.reason is Reason.SCHEDULE_NOT_FOUND


async def test_a_cancelled_event_has_no_held_seats_any_more(capacity: Capacity) -> None:
    section = await seated(capacity, await capacity.event())
    sold = await hold_seats(capacity, section, "A-1")
    await capacity.call("ConfirmHold", hold_id=sold.id)
    await hold_seats(capacity, section, "A-2")
    await look(capacity, section.event_id)
    applied = await capacity.change_event(section.event_id, state="CANCELLED")
    assert states(await shown_at(capacity, section.event_id, applied.inventory_version)) == {"sold": {0}}


async def test_another_organization_finds_nothing(capacity: Capacity) -> None:
    section = await seated(capacity, await capacity.event())
    await look(capacity, section.event_id)
    other = await refused(look(capacity, section.event_id, organization_id=new_id()))
    unknown = await refused(look(capacity, new_id()))
    assert other.reason is unknown.reason is Reason.EVENT_NOT_FOUND
