"""Putting right what does not agree: shown first, confirmed, in one commit that the journal and the audit log tell."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.api.capacity.v1.inventory_service_pb2 import RepairInventoryRequest
from holdfast.capacity.domain import repairs
from holdfast.common.errors import Reason
from holdfast.common.ids import new_id
from holdfast.common.pagination import PageTokens, filters_of
from tests.integration.capacity.conftest import refused
from tests.integration.capacity.steps import blocked, claimed_seats, figures, hold_seats, seated, sold, taken_seats

if TYPE_CHECKING:
    from holdfast.api.capacity.v1 import section_pb2
    from tests.integration.capacity.conftest import Capacity

SECTION = "UPDATE capacity.sections SET {} WHERE id = %s"


async def repair(capacity: Capacity, event_id: str, token: str = "", **fields: Any) -> Any:
    given = {"reason": "after the crash", **({"confirmation_token": token} if token else {}), **fields}
    return await capacity.call("RepairInventory", event_id=event_id, **given)


def told(answer: Any) -> list[tuple[Any, ...]]:
    return [(each.section_id, each.counter, each.stored, each.from_lines, *each.seats) for each in answer.differences]


async def repaired(capacity: Capacity, event_id: str) -> Any:
    """Show what differs, confirm it, and verify; gives what was repaired."""
    shown = await repair(capacity, event_id)
    done = await repair(capacity, event_id, shown.confirmation_token)
    assert done.repaired
    assert (done.confirmation_token, told(done)) == ("", told(shown))
    await capacity.check(event_id)
    return done


async def with_seats(capacity: Capacity) -> section_pb2.Section:
    """Make an event with seats: A-1 and A-2 held, A-3 sold, B-1 blocked."""
    section = await seated(capacity, await capacity.event())
    await hold_seats(capacity, section, "A-1", "A-2")
    await sold(capacity, await hold_seats(capacity, section, "A-3"))
    await blocked(capacity, section, ["B-1"])
    return section


async def test_a_corrupted_counter_is_shown_then_repaired_in_a_commit_of_the_journal(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    await capacity.place(section.id, 4)
    assert (await capacity.call("GetAvailability", event_id=section.event_id)).availability.available == 6
    capacity.change(SECTION.format("held = 1"), section.id)
    shown = await repair(capacity, section.event_id)
    assert told(shown) == [(section.id, "held", 1, 4)]
    assert (shown.repaired, shown.inventory_version) == (False, 3)
    assert shown.confirmation_expire_time.ToSeconds() - shown.server_time.ToSeconds() == 300
    assert (await figures(capacity, section.id))[:2] == (9, 1)

    # Selling goes on, and the error stays the same.
    await capacity.place(section.id, 2)
    done = await repair(capacity, section.event_id, shown.confirmation_token, subject="user:fixer")
    assert told(done) == [(section.id, "held", 3, 6)]
    assert (done.repaired, done.inventory_version) == (True, 5)
    assert (await figures(capacity, section.id))[:2] == (4, 6)
    assert (await capacity.call("GetAvailability", event_id=section.event_id)).availability.available == 4
    change = (await capacity.journal(section.event_id))[-1]
    assert (change.repaired, change.version, change.totals.held) == (True, 5, 6)
    assert [(each.section_id, each.held) for each in change.sections] == [(section.id, 6)]
    await capacity.check(section.event_id)
    assert (await capacity.place(section.id, 4)).id
    await capacity.check(section.event_id)


@pytest.mark.parametrize(
    "wrong",
    [
        "UPDATE capacity.sections SET held = 9, pending = 7, sold = 2, blocked = 9, buffer = 8 WHERE event_id = %s",
        "UPDATE capacity.sections SET total = 90 WHERE event_id = %s",
        "UPDATE capacity.event_inventories SET total = 1, held = 0, sold = 9 WHERE event_id = %s",
        "UPDATE capacity.event_inventories SET live_holds = 0 WHERE event_id = %s",
        "UPDATE capacity.blocks SET quantity = 1 WHERE event_id = %s",
        "UPDATE capacity.sections SET buffer = 0 WHERE event_id = %s",
    ],
)
async def test_whatever_counter_is_wrong_is_right_afterwards(capacity: Capacity, wrong: str) -> None:
    section = await capacity.on_sale(50)
    await capacity.place(section.id, 3)
    await capacity.call("BeginPayment", hold_id=(await capacity.place(section.id, 2)).id)
    await sold(capacity, await capacity.place(section.id, 5))
    await blocked(capacity, section, 4)
    await capacity.call("SetBuffer", section_id=section.id, quantity=2)
    assert capacity.change(wrong, section.event_id) == 1
    await repaired(capacity, section.event_id)
    shown = await capacity.read(section.id)
    assert (shown.total, shown.held, shown.pending, shown.sold, shown.buffer) == (50, 3, 2, 5, 2)
    nothing = await repair(capacity, section.event_id)
    assert (nothing.repaired, nothing.confirmation_token, told(nothing)) == (False, "", [])


@pytest.mark.parametrize(
    ("bitmap", "labels"),
    [("0000", ["A-1", "A-2", "A-3", "B-1"]), ("ff03", ["A-4", "A-5", "B-2", "B-3", "B-4", "B-5"])],
)
async def test_a_corrupted_bitmap_is_repaired_in_both_directions(
    capacity: Capacity, bitmap: str, labels: list[str]
) -> None:
    section = await with_seats(capacity)
    capacity.change(SECTION.format("taken = decode(%s, 'hex')"), bitmap, section.id)
    done = await repaired(capacity, section.event_id)
    assert told(done) == [(section.id, "seats", int(bitmap, 16).bit_count(), 4, *labels)]
    assert taken_seats(capacity, section.id) == [0, 1, 2, 5]
    change = (await capacity.journal(section.event_id))[-1]
    assert [(list(each.indexes), each.taken) for each in change.seats] == [
        ([0, 1, 2, 5] if bitmap == "0000" else [3, 4, 6, 7, 8, 9], bitmap == "0000")
    ]
    assert (await refused(hold_seats(capacity, section, "A-1"))).reason is Reason.SEATS_TAKEN
    await hold_seats(capacity, section, "A-4", "B-5")
    await capacity.check(section.event_id)


async def test_missing_claims_of_holds_sales_and_blocks_are_made_again(capacity: Capacity) -> None:
    section = await with_seats(capacity)
    before = claimed_seats(capacity, section.id)
    capacity.change("DELETE FROM capacity.seat_claims WHERE section_id = %s", section.id)
    capacity.change(SECTION.format("taken = decode('0400', 'hex')"), section.id)
    done = await repaired(capacity, section.event_id)
    assert told(done) == [
        (section.id, "seats", 1, 0, "A-3"),
        (section.id, "claims", 0, 4, "A-1", "A-2", "A-3", "B-1"),
    ]
    assert claimed_seats(capacity, section.id) == before
    assert taken_seats(capacity, section.id) == [0, 1, 2, 5]


async def test_a_seat_that_a_line_has_is_not_set_free_while_its_claim_waits_for_the_next_repair(
    capacity: Capacity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repairs, "MISSING_MAX", 1)
    section = await with_seats(capacity)
    capacity.change("DELETE FROM capacity.seat_claims WHERE section_id = %s AND seat_index IN (1, 2)", section.id)
    for claims in (3, 4):
        shown = await repair(capacity, section.event_id)
        await repair(capacity, section.event_id, shown.confirmation_token)
        assert taken_seats(capacity, section.id) == [0, 1, 2, 5]
        assert len(claimed_seats(capacity, section.id)) == claims
    await capacity.check(section.event_id)


async def test_what_a_claim_keeps_is_never_made_sellable(capacity: Capacity) -> None:
    section = await with_seats(capacity)
    capacity.change(
        "INSERT INTO capacity.seat_claims (organization_id, section_id, seat_index, hold_id)"
        " SELECT organization_id, section_id, 9, 'nobody' FROM capacity.seat_claims"
        " WHERE section_id = %s AND seat_index = 0",
        section.id,
    )
    await repair(capacity, section.event_id, (await repair(capacity, section.event_id)).confirmation_token)
    assert taken_seats(capacity, section.id) == [0, 1, 2, 5, 9]
    left = await repair(capacity, section.event_id)
    assert told(left) == [(section.id, "claims", 5, 4, "B-5")]
    assert left.confirmation_token == ""
    assert (await refused(hold_seats(capacity, section, "B-5"))).reason is Reason.SEATS_TAKEN


async def test_a_hold_that_ends_between_two_looks_gets_no_claim(capacity: Capacity) -> None:
    section = await with_seats(capacity)
    hold = await hold_seats(capacity, section, "B-4")
    capacity.change("DELETE FROM capacity.seat_claims WHERE section_id = %s AND seat_index = 8", section.id)
    shown = await repair(capacity, section.event_id)
    await capacity.call("ReleaseHold", hold_id=hold.id)
    stale = await refused(repair(capacity, section.event_id, shown.confirmation_token))
    assert (stale.reason, stale.metadata) == (
        Reason.CONFIRMATION_INVALID,
        {"event_id": section.event_id, "cause": "CHANGED"},
    )
    await capacity.check(section.event_id)


async def test_a_token_is_good_once_for_its_differences_and_its_event(capacity: Capacity) -> None:
    section, other = await capacity.on_sale(10), await capacity.on_sale(10)
    for each in (section, other):
        await capacity.place(each.id, 4)
        capacity.change(SECTION.format("held = 1"), each.id)

    async def cause(token: str, event_id: str = section.event_id, **fields: Any) -> str:
        error = await refused(repair(capacity, event_id, token, **fields))
        assert error.reason is Reason.CONFIRMATION_INVALID
        return error.metadata["cause"]

    token = (await repair(capacity, section.event_id)).confirmation_token
    assert await cause(token, other.event_id) == "UNKNOWN"
    assert await cause(token[:-2]) == "UNKNOWN"
    tokens, bound = PageTokens(capacity.mesh.page_token_key), RepairInventoryRequest(event_id=section.event_id)
    filters = filters_of(bound, organization_id=capacity.organization_id)
    read = tokens.decode(token, filters)
    assert read is not None
    assert await cause(tokens.encode([*read[:-1], datetime.now(UTC).isoformat()], filters)) == "EXPIRED"
    capacity.change(SECTION.format("held = 2"), section.id)
    assert await cause(token) == "CHANGED"
    capacity.change(SECTION.format("held = 1"), section.id)
    request_id = new_id()
    assert not (await repair(capacity, section.event_id, request_id=request_id)).repaired
    done, _ = await capacity.call_with_metadata(
        "RepairInventory",
        event_id=section.event_id,
        reason="once",
        confirmation_token=token,
        request_id=request_id,
    )
    again, metadata = await capacity.call_with_metadata(
        "RepairInventory",
        event_id=section.event_id,
        reason="once",
        confirmation_token=token,
        request_id=request_id,
    )
    assert metadata["holdfast-replayed"] == "true"
    assert (told(again), again.inventory_version, again.repaired) == (told(done), done.inventory_version, True)
    reused = await refused(repair(capacity, section.event_id, token, request_id=request_id, reason="twice"))
    assert reused.reason is Reason.IDEMPOTENCY_KEY_REUSED
    # The same fault anew: what was confirmed is repaired already.
    capacity.change(SECTION.format("held = 1"), section.id)
    assert await cause(token) == "CHANGED"
    await repaired(capacity, section.event_id)


async def test_more_claimed_than_there_is_has_to_be_made_room_for_first(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    await capacity.place(section.id, 6)
    capacity.change("UPDATE capacity.hold_lines SET quantity = 12 WHERE section_id = %s", section.id)
    token = (await repair(capacity, section.event_id)).confirmation_token
    error = await refused(repair(capacity, section.event_id, token))
    assert (error.reason, error.metadata) == (
        Reason.CAPACITY_COMMITTED,
        {"section_id": section.id, "committed": "12"},
    )
    await capacity.call("UpdateSection", section_id=section.id, section={"total": 20}, mask=["total"])
    await repaired(capacity, section.event_id)


async def test_repairing_needs_the_permission_and_a_reason(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    for role in ("organizer", "box_office", "service"):
        error = await refused(repair(capacity, section.event_id, role=role))
        assert error.reason is Reason.PERMISSION_MISSING
    assert (await refused(repair(capacity, section.event_id, reason=""))).reason is Reason.VALIDATION_FAILED
    assert (await refused(repair(capacity, new_id()))).reason is Reason.EVENT_NOT_FOUND
