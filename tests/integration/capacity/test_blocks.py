"""Blocks and buffers: places out of sale, holds from them, and what is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from holdfast.api.capacity.v1 import block_pb2
from holdfast.capacity.domain.blocking import BlockRequest
from holdfast.capacity.domain.blocks import Act, BlockKind
from holdfast.capacity.domain.parts import PartRequest
from holdfast.capacity.domain.returning import ReturnRequest
from holdfast.capacity.domain.sales import ReturnTo
from holdfast.capacity.operations.blocks import MakeBlock
from holdfast.capacity.operations.sales import ReturnSale
from holdfast.common.errors import Reason
from holdfast.common.idempotency import RequestKey
from holdfast.common.ids import new_id
from tests.integration.capacity.conftest import refused, state_of
from tests.integration.capacity.racing import outcomes, reasons
from tests.integration.capacity.steps import blocked, claimed_seats, figures, hold_seats, seated, sold, taken_seats
from tests.integration.capacity.test_expiry import over

if TYPE_CHECKING:
    from tests.integration.capacity.conftest import Capacity


async def read(capacity: Capacity, block_id: str) -> block_pb2.Block:
    found: block_pb2.Block = (await capacity.call("GetBlock", block_id=block_id)).block
    return found


async def test_blocked_places_are_not_sold_and_come_back(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    made = await capacity.call(
        "BlockQuantity", subject="user:manager", section_id=section.id, quantity=4, kind="KILL", note="camera"
    )
    block = made.block
    assert (block.quantity, block.initial_quantity, block.taken_quantity) == (4, 4, 0)
    assert (block.note, block.actor, block.kind) == ("camera", "user:manager", block_pb2.Block.Kind.KILL)
    assert (block.event_id, block.section_id, block.etag) == (section.event_id, section.id, "1")
    assert not block.HasField("end_time")
    assert await read(capacity, block.id) == block
    assert await figures(capacity, section.id) == (6, 0, 0, 4)
    short = await refused(capacity.place(section.id, 7))
    assert (short.reason, short.metadata["available"]) == (Reason.INSUFFICIENT_CAPACITY, "6")
    await capacity.place(section.id, 6)
    none = await refused(blocked(capacity, section, 1))
    assert none.reason is Reason.INSUFFICIENT_CAPACITY

    some = await capacity.call("Unblock", block_id=block.id, quantity=1, note="needed")
    assert (some.block.quantity, some.block.etag) == (3, "2")
    assert some.inventory_version == made.inventory_version + 2
    rest = (await capacity.call("Unblock", subject="user:other", block_id=block.id)).block
    assert (rest.quantity, rest.HasField("end_time")) == (0, True)
    assert await figures(capacity, section.id) == (4, 6, 0, 0)
    again = await capacity.call("Unblock", block_id=block.id)
    assert again.block == rest

    told = [change for row in await capacity.journal(section.event_id) for change in row.blocks]
    assert [(each.quantity, each.ended, each.actor, each.note) for each in told] == [
        (4, False, "user:manager", "camera"),
        (3, False, "user:owner", "needed"),
        (0, True, "user:other", ""),
    ]
    await capacity.check(section.event_id)


@pytest.mark.parametrize(
    ("rpc", "fields", "reason"),
    [
        ("BlockQuantity", {"quantity": 11, "note": "x"}, Reason.INSUFFICIENT_CAPACITY),
        ("BlockQuantity", {"quantity": 0, "note": "x"}, Reason.VALIDATION_FAILED),
        ("BlockQuantity", {"quantity": 1, "note": ""}, Reason.VALIDATION_FAILED),
        ("BlockQuantity", {"quantity": 1, "note": "x", "kind": "RETURNED"}, Reason.VALIDATION_FAILED),
        ("BlockSeats", {"seats": {"labels": ["A-1"]}, "note": "x"}, Reason.SEAT_NOT_FOUND),
        ("SetBuffer", {"quantity": 11}, Reason.INSUFFICIENT_CAPACITY),
        ("SetBuffer", {"quantity": 1, "etag": "7"}, Reason.ETAG_MISMATCH),
        ("SetBuffer", {}, Reason.VALIDATION_FAILED),
    ],
)
async def test_what_cannot_be_taken_out_of_sale(
    capacity: Capacity, rpc: str, fields: dict[str, Any], reason: Reason
) -> None:
    section = await capacity.on_sale(10)
    error = await refused(capacity.call(rpc, section_id=section.id, **fields))
    assert error.reason is reason
    assert await figures(capacity, section.id) == (10, 0, 0, 0)
    assert (await refused(capacity.call(rpc, section_id=new_id(), **fields))).reason in {
        Reason.SECTION_NOT_FOUND,
        Reason.VALIDATION_FAILED,
    }


async def test_seats_are_blocked_by_name_all_or_none(capacity: Capacity) -> None:
    event_id = await capacity.event()
    section = await seated(capacity, event_id)
    block = await blocked(capacity, section, ["B-2", "A-1", "A-2"])
    assert list(block.seats) == ["A-1", "A-2", "B-2"]
    assert claimed_seats(capacity, section.id) == {0: "block", 1: "block", 6: "block"}
    assert taken_seats(capacity, section.id) == [0, 1, 6]
    cases: list[tuple[dict[str, Any], Reason, str]] = [
        ({"seats": {"labels": ["A-3", "A-2", "B-2"]}}, Reason.SEATS_TAKEN, "A-2,B-2"),
        ({"seats": {"labels": ["A-3", "Z-9"]}}, Reason.SEAT_NOT_FOUND, "Z-9"),
    ]
    for fields, reason, named in cases:
        error = await refused(capacity.call("BlockSeats", section_id=section.id, note="x", **fields))
        assert (error.reason, error.metadata["seats"]) == (reason, named)
    number = await refused(blocked(capacity, section, 2))
    assert [each.field for each in number.violations] == ["quantity"]
    taken = await refused(hold_seats(capacity, section, "A-1", "A-3"))
    assert (taken.reason, taken.metadata["seats"]) == (Reason.SEATS_TAKEN, "A-1")

    left = (await capacity.call("Unblock", block_id=block.id, seats={"labels": ["A-2"]})).block
    assert (list(left.seats), left.quantity) == (["A-1", "B-2"], 2)
    outside = await refused(capacity.call("Unblock", block_id=block.id, seats={"labels": ["A-2", "A-1"]}))
    assert (outside.reason, outside.metadata["seats"]) == (Reason.LINE_EXCEEDED, "A-2")
    by_number = await refused(capacity.call("Unblock", block_id=block.id, quantity=1))
    assert [each.field for each in by_number.violations] == ["quantity"]
    stale = await refused(capacity.call("Unblock", block_id=block.id, etag="1"))
    assert stale.reason is Reason.ETAG_MISMATCH
    await hold_seats(capacity, section, "A-2")
    ended = (await capacity.call("Unblock", block_id=block.id, etag=left.etag)).block
    assert (list(ended.seats), ended.HasField("end_time")) == ([], True)
    assert claimed_seats(capacity, section.id) == {1: "hold"}
    assert taken_seats(capacity, section.id) == [1]
    await capacity.check(event_id)


async def test_more_than_is_in_a_block_cannot_be_given_back(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    block = await blocked(capacity, section, 3)
    error = await refused(capacity.call("Unblock", block_id=block.id, quantity=4))
    assert (error.reason, error.metadata) == (Reason.LINE_EXCEEDED, {"block_id": block.id, "remaining": "3"})
    seats = await refused(capacity.call("Unblock", block_id=block.id, seats={"labels": ["A-1"]}))
    assert [each.field for each in seats.violations] == ["seats"]
    all_of_them = (await capacity.call("Unblock", block_id=block.id, quantity=3)).block
    assert all_of_them.HasField("end_time")
    unknown = await refused(capacity.call("Unblock", block_id=new_id()))
    assert unknown.reason is Reason.BLOCK_NOT_FOUND


async def test_places_of_expired_holds_can_be_blocked(capacity: Capacity) -> None:
    event_id = await capacity.event()
    general, seats = await capacity.section(event_id, 5), await seated(capacity, event_id)
    hold = await capacity.place(general.id, 5, hold_ttl_seconds=1)
    other = await hold_seats(capacity, seats, "A-1", "A-2", hold_ttl_seconds=1)
    await over(capacity, hold.id)
    await over(capacity, other.id)
    await blocked(capacity, general, 5)
    await blocked(capacity, seats, ["A-2"])
    assert await figures(capacity, general.id) == (0, 0, 0, 5)
    assert claimed_seats(capacity, seats.id) == {1: "block"}
    await capacity.check(event_id)


async def test_very_many_expired_holds_are_tidied_up_for_one_block(capacity: Capacity) -> None:
    section = await capacity.on_sale(1200)
    placed = await capacity.fill(section, 1200, hold_ttl_seconds=1)
    await over(capacity, placed[-1])
    block = await blocked(capacity, section, 1150)
    assert block.quantity == 1150
    await capacity.check(section.event_id)


async def test_a_hold_from_a_block_never_passes_public_sale(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    block = await blocked(capacity, section, 10)
    buyer = await refused(capacity.place(section.id, 1, block_id=block.id))
    assert (buyer.reason, buyer.metadata) == (Reason.PERMISSION_MISSING, {"permission": "holds.manage"})
    guest = {"role": "box_office", "section_id": section.id, "customer_id": "user:guest", "block_id": block.id}
    hold = (await capacity.call("PlaceHold", **guest, quantity=4)).hold
    assert (hold.customer_id, hold.lines[0].block_id) == ("user:guest", block.id)
    assert await figures(capacity, section.id) == (0, 4, 0, 6)
    shown = await read(capacity, block.id)
    assert (shown.quantity, shown.initial_quantity, shown.taken_quantity) == (6, 10, 4)
    public = await refused(capacity.place(section.id, 1))
    assert "next_change_time" not in public.metadata  # its places go back into the block
    short = await refused(capacity.call("PlaceHold", **guest, quantity=7))
    assert (short.reason, short.metadata["available"], short.metadata["block_id"]) == (
        Reason.INSUFFICIENT_CAPACITY,
        "6",
        block.id,
    )
    unknown = await refused(capacity.call("PlaceHold", **{**guest, "block_id": new_id()}, quantity=1))
    assert unknown.reason is Reason.BLOCK_NOT_FOUND
    other = await capacity.section(section.event_id, 10)
    elsewhere = await refused(capacity.call("PlaceHold", **{**guest, "section_id": other.id}, quantity=1))
    assert elsewhere.reason is Reason.BLOCK_NOT_FOUND

    await capacity.call("ReleaseHold", role="box_office", hold_id=hold.id)
    assert await figures(capacity, section.id) == (0, 0, 0, 10)
    shown = await read(capacity, block.id)
    assert (shown.quantity, shown.taken_quantity) == (10, 0)
    hold = (await capacity.call("PlaceHold", **guest, quantity=4)).hold
    sale = await sold(capacity, hold)
    assert sale.lines[0].block_id == block.id
    shown = await read(capacity, block.id)
    assert (shown.quantity, shown.taken_quantity) == (6, 4)
    await capacity.check(section.event_id)


async def test_what_was_held_from_a_block_that_ended_goes_back_to_sale(capacity: Capacity) -> None:
    event_id = await capacity.event()
    general, seats = await capacity.section(event_id, 10), await seated(capacity, event_id)
    block, of_seats = await blocked(capacity, general, 5), await blocked(capacity, seats, ["A-1", "A-2"])
    hold = (await capacity.call("PlaceHold", section_id=general.id, quantity=2, block_id=block.id)).hold
    seat = await hold_seats(capacity, seats, "A-1", block_id=of_seats.id)
    for each in (block, of_seats):
        ended = (await capacity.call("Unblock", block_id=each.id)).block
        assert ended.HasField("end_time")
        gone = await refused(capacity.call("PlaceHold", section_id=each.section_id, quantity=1, block_id=each.id))
        assert gone.reason in {Reason.INSUFFICIENT_CAPACITY, Reason.VALIDATION_FAILED}
    for hold_id in (hold.id, seat.id):
        await capacity.call("ReleaseHold", role="box_office", hold_id=hold_id)
    assert await figures(capacity, general.id) == (10, 0, 0, 0)
    assert claimed_seats(capacity, seats.id) == {}
    assert taken_seats(capacity, seats.id) == []
    assert (await read(capacity, block.id)).taken_quantity == 0
    await capacity.check(event_id)


async def test_seats_held_from_a_block_go_back_into_it(capacity: Capacity) -> None:
    section = await seated(capacity, await capacity.event())
    block = await blocked(capacity, section, ["A-1", "A-2", "A-3"])
    hold = await hold_seats(capacity, section, "A-2", block_id=block.id)
    assert list((await read(capacity, block.id)).seats) == ["A-1", "A-3"]
    outside = await refused(hold_seats(capacity, section, "A-2", "A-4", block_id=block.id))
    assert (outside.reason, outside.metadata["seats"]) == (Reason.SEATS_TAKEN, "A-2,A-4")
    await capacity.call("ReleaseHold", role="box_office", hold_id=hold.id)
    assert list((await read(capacity, block.id)).seats) == ["A-1", "A-2", "A-3"]
    assert claimed_seats(capacity, section.id) == {0: "block", 1: "block", 2: "block"}
    await capacity.check(section.event_id)


async def test_places_of_expired_holds_are_back_in_their_block_at_once(capacity: Capacity) -> None:
    event_id = await capacity.event()
    general, seats = await capacity.section(event_id, 10), await seated(capacity, event_id)
    block, of_seats = await blocked(capacity, general, 5), await blocked(capacity, seats, ["A-1", "A-2"])
    hold = await capacity.call("PlaceHold", section_id=general.id, quantity=5, block_id=block.id, hold_ttl_seconds=1)
    seat = await hold_seats(capacity, seats, "A-1", "A-2", block_id=of_seats.id, hold_ttl_seconds=1)
    await over(capacity, hold.hold.id)
    await over(capacity, seat.id)
    # Not tidied up yet, and yet told as it stands.
    assert await figures(capacity, general.id) == (5, 0, 0, 5)
    totals = await capacity.call("GetTotals", event_id=event_id)
    assert (totals.available, totals.held, totals.blocked) == (13, 0, 7)
    shown = await read(capacity, block.id)
    assert (shown.quantity, shown.taken_quantity, shown.etag) == (5, 0, "2")
    listed = (await capacity.call("ListBlocks", event_id=event_id)).blocks
    assert [(each.quantity, list(each.seats)) for each in listed] == [(2, ["A-1", "A-2"]), (5, [])]
    # And taken again by who asks next, from the block and from nowhere else.
    short = await refused(capacity.place(general.id, 6))
    assert short.metadata["available"] == "5"
    again = await capacity.call("PlaceHold", section_id=general.id, quantity=4, block_id=block.id)
    assert state_of(again.hold) == "ACTIVE"
    await hold_seats(capacity, seats, "A-2", block_id=of_seats.id)
    assert await figures(capacity, general.id) == (5, 4, 0, 1)
    left = (await capacity.call("Unblock", block_id=of_seats.id, seats={"labels": ["A-1"]})).block
    assert (left.quantity, left.taken_quantity, left.HasField("end_time")) == (0, 1, True)
    await capacity.check(event_id)


async def test_the_buffer_is_a_counter_of_its_own_inside_blocked(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    await blocked(capacity, section, 2)
    answer = await capacity.call("SetBuffer", section_id=section.id, quantity=3, etag=section.etag)
    assert (answer.section.buffer, answer.section.blocked, answer.section.available) == (3, 5, 5)
    assert answer.section.etag != section.etag
    same = await capacity.call("SetBuffer", section_id=section.id, quantity=3)
    assert (same.section.etag, same.inventory_version) == (answer.section.etag, answer.inventory_version)
    hold = await capacity.place(section.id, 5, hold_ttl_seconds=1)
    full = await refused(capacity.call("SetBuffer", section_id=section.id, quantity=4))
    assert full.reason is Reason.INSUFFICIENT_CAPACITY
    await over(capacity, hold.id)
    more = (await capacity.call("SetBuffer", section_id=section.id, quantity=8)).section
    assert (more.buffer, more.blocked, more.available) == (8, 10, 0)
    none = (await capacity.call("SetBuffer", section_id=section.id, quantity=0)).section
    assert (none.buffer, none.blocked, none.available) == (0, 2, 8)
    await capacity.check(section.event_id)


async def test_blocks_are_listed_by_section_and_kind_newest_first_in_pages(capacity: Capacity) -> None:
    event_id = await capacity.event()
    one, other = await capacity.section(event_id, 50), await capacity.section(event_id, 50)
    made = [await blocked(capacity, section, 1) for section in (one, other, one, one)]
    kill = (await capacity.call("BlockQuantity", section_id=other.id, quantity=1, kind="KILL", note="pillar")).block
    await capacity.call("Unblock", block_id=made[0].id)

    async def ids(**fields: Any) -> list[str]:
        return [each.id for each in (await capacity.call("ListBlocks", event_id=event_id, **fields)).blocks]

    newest = [kill.id, made[3].id, made[2].id, made[1].id]
    assert await ids() == newest
    assert await ids(with_ended=True) == [*newest, made[0].id]
    assert await ids(section_id=one.id) == [made[3].id, made[2].id]
    assert await ids(kinds=["KILL"]) == [kill.id]
    assert await ids(kinds=["HOUSE", "RETURNED"]) == newest[1:]

    paged: list[str] = []
    token = ""
    for _ in range(3):
        page = await capacity.call(
            "ListBlocks", event_id=event_id, page_size=2, page_token=token, with_total=True, with_ended=True
        )
        assert page.pagination.total == 5
        paged += [each.id for each in page.blocks]
        token = page.pagination.next_page_token
    assert (paged, token) == ([*newest, made[0].id], "")
    first = await capacity.call("ListBlocks", event_id=event_id, page_size=2)
    token = first.pagination.next_page_token
    for fields in ({"with_ended": True}, {"section_id": one.id}, {"event_id": await capacity.event()}):
        error = await refused(
            capacity.call("ListBlocks", **{"event_id": event_id, "page_size": 2, "page_token": token, **fields})
        )
        assert error.reason is Reason.PAGE_TOKEN_INVALID
    assert (await refused(capacity.call("ListBlocks", event_id=new_id()))).reason is Reason.EVENT_NOT_FOUND


async def test_a_repeated_request_makes_one_block(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    fields: dict[str, Any] = {"section_id": section.id, "quantity": 3, "note": "house", "request_id": "block-once"}
    done = await outcomes(*(capacity.call_with_metadata("BlockQuantity", **fields) for _ in range(10)))
    assert len({answer.block.id for answer, _ in done}) == 1
    assert sum(metadata.get("holdfast-replayed") == "true" for _, metadata in done) == 9
    assert (await capacity.read(section.id)).blocked == 3
    other = await refused(capacity.call("BlockQuantity", **{**fields, "quantity": 4}))
    assert other.reason is Reason.IDEMPOTENCY_KEY_REUSED

    block_id = done[0][0].block.id
    part: dict[str, Any] = {"block_id": block_id, "quantity": 1, "request_id": "unblock-once"}
    done = await outcomes(*(capacity.call_with_metadata("Unblock", **part) for _ in range(5)))
    assert {answer.block.quantity for answer, _ in done} == {2}
    assert sum(metadata.get("holdfast-replayed") == "true" for _, metadata in done) == 4
    other = await refused(capacity.call("Unblock", **{**part, "quantity": 2}))
    assert other.reason is Reason.IDEMPOTENCY_KEY_REUSED
    buffer: dict[str, Any] = {"section_id": section.id, "quantity": 2, "request_id": "buffer-once"}
    done = await outcomes(*(capacity.call_with_metadata("SetBuffer", **buffer) for _ in range(5)))
    assert {answer.section.buffer for answer, _ in done} == {2}
    assert sum(metadata.get("holdfast-replayed") == "true" for _, metadata in done) == 4
    await capacity.check(section.event_id)


async def test_two_blocks_for_the_last_places_and_a_hold_beside_them(capacity: Capacity) -> None:
    event_id = await capacity.event()
    general, seats = await capacity.section(event_id, 5), await seated(capacity, event_id)
    done = await outcomes(blocked(capacity, general, 3), blocked(capacity, general, 3), capacity.place(general.id, 3))
    assert reasons(done) == {"ok": 1, Reason.INSUFFICIENT_CAPACITY: 2}
    done = await outcomes(
        blocked(capacity, seats, ["A-1", "A-2"]),
        blocked(capacity, seats, ["A-2", "A-3"]),
        hold_seats(capacity, seats, "A-2"),
    )
    assert reasons(done) == {"ok": 1, Reason.SEATS_TAKEN: 2}
    await capacity.check(event_id)
    assert capacity.deadlocks() == 0


async def test_blocks_are_the_business_of_whoever_may_write_them(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    block = await blocked(capacity, section, 3)
    calls: list[tuple[str, dict[str, Any], Reason]] = [
        ("BlockQuantity", {"section_id": section.id, "quantity": 1, "note": "x"}, Reason.SECTION_NOT_FOUND),
        ("BlockSeats", {"section_id": section.id, "seats": {"labels": ["A-1"]}, "note": "x"}, Reason.SECTION_NOT_FOUND),
        ("SetBuffer", {"section_id": section.id, "quantity": 1}, Reason.SECTION_NOT_FOUND),
        ("Unblock", {"block_id": block.id}, Reason.BLOCK_NOT_FOUND),
        ("GetBlock", {"block_id": block.id}, Reason.BLOCK_NOT_FOUND),
        ("ListBlocks", {"event_id": section.event_id}, Reason.EVENT_NOT_FOUND),
    ]
    for rpc, fields, reason in calls:
        assert (await refused(capacity.call(rpc, organization_id=new_id(), **fields))).reason is reason
        assert (await refused(capacity.call(rpc, role="buyer", **fields))).reason is Reason.PERMISSION_MISSING
    assert (await capacity.read(section.id)).blocked == 3


async def test_blocking_all_that_is_left_sells_out_and_unblocking_reopens(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    await sold(capacity, await capacity.place(section.id, 4))
    block = await blocked(capacity, section, 6)
    await capacity.call("Unblock", block_id=block.id, quantity=1)
    told = [
        [each.kind for each in row.crossings if each.section_id] for row in await capacity.journal(section.event_id)
    ]
    assert [each for each in told if each] == [[1, 2, 3], [4]]


async def test_verification_tells_of_blocked_places_that_no_block_names(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    await blocked(capacity, section, 3)
    await capacity.call("SetBuffer", section_id=section.id, quantity=2)
    await capacity.check(section.event_id)
    capacity.change("UPDATE capacity.blocks SET quantity = 1 WHERE section_id = %s", section.id)
    found = await capacity.call("VerifyInventory", event_id=section.event_id)
    assert [
        (each.section_id, each.counter, each.stored, each.from_lines, each.from_journal) for each in found.differences
    ] == [("", "blocked", 5, 3, 5), (section.id, "blocked", 5, 3, 5)]


async def test_a_command_that_runs_again_after_an_unknown_commit_finds_what_it_did(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    sale = await sold(capacity, await capacity.place(section.id, 4))
    act = Act("user:owner", "why")
    block = MakeBlock(
        BlockRequest(new_id(), section.id, BlockKind.HOUSE, 3, act), RequestKey("user:owner", "B", new_id(), b"")
    )
    back = ReturnSale(
        ReturnRequest(new_id(), sale.id, (PartRequest(1, 2),), ReturnTo.SALE, act, (new_id(),)),
        RequestKey("user:owner", "R", new_id(), b""),
    )
    async with capacity.engine_of_the_service() as submit:
        for _ in range(2):
            made = await submit(section.event_id, block)
            assert (made.block_id, made.replayed) == (block.request.block_id, False)
            returned = await submit(section.event_id, back)
            assert (returned.return_id, returned.replayed) == (back.request.return_id, False)
    assert await figures(capacity, section.id) == (5, 0, 2, 3)
    await capacity.check(section.event_id)
