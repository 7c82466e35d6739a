"""Who sees and changes what, and what proves that the counters are true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from holdfast.common.errors import Reason
from holdfast.common.ids import new_id
from tests.integration.capacity.conftest import refused, state_of

if TYPE_CHECKING:
    from tests.integration.capacity.conftest import Capacity

TABLES = (
    "event_inventories",
    "sections",
    "holds",
    "hold_lines",
    "sales",
    "sale_lines",
    "seat_claims",
    "voids",
    "inventory_changes",
    "due_work",
    "requests",
    "positions",
)


async def test_another_organization_sees_nothing(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    hold = await capacity.place(section.id, request_id="ours")
    # Their own hold under the same key is their own.
    theirs = new_id()
    calls: dict[str, tuple[dict[str, Any], Reason]] = {
        "GetSection": ({"section_id": section.id}, Reason.SECTION_NOT_FOUND),
        "UpdateSection": ({"section_id": section.id, "section": {"total": 1}}, Reason.SECTION_NOT_FOUND),
        "PlaceHold": ({"section_id": section.id, "quantity": 1, "request_id": "ours"}, Reason.SECTION_NOT_FOUND),
        "GetHold": ({"hold_id": hold.id}, Reason.HOLD_NOT_FOUND),
        "ConfirmHold": ({"hold_id": hold.id}, Reason.HOLD_NOT_FOUND),
        "ReleaseHold": ({"hold_id": hold.id}, Reason.HOLD_NOT_FOUND),
        "ListSections": ({"event_id": section.event_id}, Reason.EVENT_NOT_FOUND),
        "GetTotals": ({"event_id": section.event_id}, Reason.EVENT_NOT_FOUND),
        "VerifyInventory": ({"event_id": section.event_id}, Reason.EVENT_NOT_FOUND),
        "ListInventoryChanges": ({"event_id": section.event_id}, Reason.EVENT_NOT_FOUND),
        "CreateSection": (
            {"event_id": section.event_id, "section": {"name": "Theirs", "total": 1}},
            Reason.EVENT_NOT_FOUND,
        ),
    }
    for rpc, (fields, reason) in calls.items():
        refusal = await refused(capacity.call(rpc, organization_id=theirs, **fields))
        assert refusal.reason is reason, rpc
    assert not (await capacity.call("ListHolds", organization_id=theirs)).holds
    assert await capacity.hold(hold.id) == hold


def test_row_level_security_is_forced_on_every_table(capacity: Capacity) -> None:
    rows = capacity.rows(
        "SELECT relname, relrowsecurity AND relforcerowsecurity FROM pg_class"
        " WHERE relnamespace = 'capacity'::regnamespace AND relkind = 'r'"
    )
    found = dict(rows)
    assert set(TABLES) <= set(found)
    assert [name for name in TABLES if not found[name]] == []


async def test_buyers_see_and_end_only_their_own_holds(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    mine = await capacity.place(section.id, buyer="user:ann")
    await capacity.place(section.id, buyer="user:bob")
    bob: dict[str, Any] = {"role": "buyer", "subject": "user:bob"}
    for rpc in ("GetHold", "ConfirmHold", "ReleaseHold"):
        assert (await refused(capacity.call(rpc, **bob, hold_id=mine.id))).reason is Reason.HOLD_NOT_FOUND
    listed = await capacity.call("ListHolds", role="buyer", subject="user:ann", event_id=section.event_id)
    assert [each.id for each in listed.holds] == [mine.id]
    everyone = await capacity.call("ListHolds", role="box_office", event_id=section.event_id)
    assert len(everyone.holds) == 2
    named = await refused(capacity.call("PlaceHold", **bob, section_id=section.id, quantity=1, customer_id="user:ann"))
    assert named.reason is Reason.PERMISSION_MISSING
    placed = await capacity.call(
        "PlaceHold", role="box_office", section_id=section.id, quantity=1, customer_id="user:ann"
    )
    assert (placed.hold.customer_id, placed.hold.placed_by) == ("user:ann", "user:box_office")
    ended = await capacity.call("ReleaseHold", role="buyer", subject="user:ann", hold_id=placed.hold.id)
    assert state_of(ended.hold) == "RELEASED"


async def test_lists_go_on_where_the_page_before_ended(capacity: Capacity) -> None:
    event_id = await capacity.event()
    sections = [await capacity.section(event_id, 10) for _ in range(5)]
    hidden = await capacity.section(event_id, 10, visible=False)
    placed = [await capacity.place(sections[0].id) for _ in range(5)]
    for rpc, name, expected, role in (
        ("ListSections", "sections", [each.id for each in sections], "buyer"),
        ("ListSections", "sections", [*(each.id for each in sections), hidden.id], "owner"),
        ("ListHolds", "holds", [each.id for each in reversed(placed)], "owner"),
    ):
        seen: list[str] = []
        token = ""
        for _ in range(4):
            page = await capacity.call(
                rpc, role=role, event_id=event_id, page_size=2, page_token=token, with_total=True
            )
            assert page.pagination.total == len(expected)
            seen += [each.id for each in getattr(page, name)]
            token = page.pagination.next_page_token
            if not token:
                break
        assert seen == expected
    first = await capacity.call("ListHolds", event_id=event_id, page_size=2)
    wrong = await refused(
        capacity.call("ListHolds", page_size=2, page_token=first.pagination.next_page_token, customer_id="user:x")
    )
    assert wrong.reason is Reason.PAGE_TOKEN_INVALID
    assert (await refused(capacity.call("GetSection", role="buyer", section_id=hidden.id))).reason is (
        Reason.SECTION_NOT_FOUND
    )


async def test_ended_holds_answer_again_what_became_of_them(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    hold = await capacity.place(section.id, 2)
    buyer: dict[str, Any] = {"role": "buyer", "hold_id": hold.id}
    stale = await refused(capacity.call("ReleaseHold", **buyer, etag="7"))
    assert stale.reason is Reason.ETAG_MISMATCH
    released, first = await capacity.call_with_metadata("ReleaseHold", **buyer, request_id="give back")
    again, second = await capacity.call_with_metadata("ReleaseHold", **buyer, request_id="give back")
    assert (released.hold, "holdfast-replayed" in first) == (again.hold, False)
    assert second["holdfast-replayed"] == "true"
    assert (await capacity.call("ReleaseHold", **buyer)).hold == released.hold
    assert (await refused(capacity.call("ConfirmHold", **buyer))).reason is Reason.HOLD_NOT_ACTIVE
    other = await capacity.place(section.id)
    reused = await refused(capacity.call("ReleaseHold", role="buyer", hold_id=other.id, request_id="give back"))
    assert reused.reason is Reason.IDEMPOTENCY_KEY_REUSED
    # Five commits: controls, section, two holds, one release; nothing for what changed nothing.
    assert (await capacity.call("GetTotals", event_id=section.event_id)).inventory_version == 5


async def test_sections_of_one_name_are_refused_and_repeated_requests_answered(capacity: Capacity) -> None:
    event_id = await capacity.event()
    body: dict[str, Any] = {"event_id": event_id, "section": {"name": "Floor", "total": 10}}
    made, _ = await capacity.call_with_metadata("CreateSection", **body, request_id="floor")
    again, metadata = await capacity.call_with_metadata("CreateSection", **body, request_id="floor")
    assert (again.section, metadata["holdfast-replayed"]) == (made.section, "true")
    taken = await refused(capacity.call("CreateSection", **body))
    assert (taken.reason, taken.metadata) == (Reason.SECTION_EXISTS, {"section_id": made.section.id})
    other = await capacity.section(event_id, 10, name="Floor", subsection=2)
    renamed = await capacity.call("UpdateSection", section_id=other.id, section={"name": "Balcony", "active": False})
    assert (renamed.section.name, renamed.section.etag) == ("Balcony", "2")
    closed = await refused(capacity.place(other.id))
    assert (closed.reason, closed.metadata) == (Reason.SECTION_CLOSED, {"section_id": other.id})


@pytest.mark.parametrize(
    ("table", "counter", "touch"),
    [
        ("sections", "held", "UPDATE capacity.sections SET held = held + 1 WHERE event_id = %s"),
        ("event_inventories", "sold", "UPDATE capacity.event_inventories SET sold = sold + 1 WHERE event_id = %s"),
        (
            "hold_lines",
            "held",
            (
                "UPDATE capacity.hold_lines SET quantity = 3 WHERE hold_id IN"
                " (SELECT id FROM capacity.holds WHERE event_id = %s AND state = 'ACTIVE')"
            ),
        ),
        ("inventory_changes", "version", "DELETE FROM capacity.inventory_changes WHERE event_id = %s AND version = 2"),
    ],
)
async def test_a_planted_corruption_is_found(capacity: Capacity, table: str, counter: str, touch: str) -> None:
    section = await capacity.on_sale(10)
    await capacity.place(section.id, 2)
    await capacity.check(section.event_id)
    assert capacity.change(touch, section.event_id) == 1, table
    found = await capacity.call("VerifyInventory", event_id=section.event_id)
    assert not found.consistent
    assert counter in {each.counter for each in found.differences}
