"""Who did what to an event's inventory: written in the commit that does it, listed by organization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from google.protobuf.json_format import MessageToDict

from holdfast.common.errors import Reason
from holdfast.common.ids import new_id
from tests.integration.capacity.conftest import refused
from tests.integration.capacity.steps import blocked, hold_seats, seated, sold

if TYPE_CHECKING:
    from holdfast.api.common.v1.audit_pb2 import AuditEntry
    from tests.integration.capacity.conftest import Capacity


async def entries(capacity: Capacity, **fields: Any) -> list[AuditEntry]:
    """List entries, the oldest first."""
    return [*reversed((await capacity.call("ListAuditEntries", page_size=200, **fields)).entries)]


def changes(entry: AuditEntry) -> dict[str, Any]:
    return MessageToDict(entry.changes)


async def test_what_is_done_to_sections_and_blocks_is_told_with_who_did_it_and_what_changed(
    capacity: Capacity,
) -> None:
    section = await capacity.on_sale(10, name="Floor")
    await capacity.call(
        "UpdateSection",
        section_id=section.id,
        section={"total": 12, "name": "Pit"},
        mask=["total", "name"],
        subject="user:editor",
        request_id="edit-1",
    )
    await capacity.call("SetBuffer", section_id=section.id, quantity=2)
    await capacity.call("SetBuffer", section_id=section.id, quantity=2)  # nothing changes
    block = await blocked(capacity, section, 3)
    await capacity.call("Unblock", block_id=block.id, quantity=1, note="needed")
    await capacity.call("Unblock", block_id=block.id)
    await capacity.call("SetBuffer", section_id=section.id, quantity=0)
    await capacity.call("DeleteSection", section_id=section.id)
    made, edited, *rest = await entries(capacity, resource_id=section.id)
    assert [each.action for each in (made, edited, *rest)] == [
        "CreateSection",
        "UpdateSection",
        "SetBuffer",
        "SetBuffer",
        "DeleteSection",
    ]
    assert (made.actor, list(made.actor_roles), made.resource_type, made.service) == (
        "user:owner",
        ["owner"],
        "section",
        "capacity",
    )
    assert changes(made)["total"] == {"from": None, "to": 10}
    assert (edited.actor, edited.request_id) == ("user:editor", "edit-1")
    assert changes(edited) == {"name": {"from": "Floor", "to": "Pit"}, "total": {"from": 10, "to": 12}}
    assert [changes(each) for each in rest] == [
        {"buffer": {"from": 0, "to": 2}},
        {"buffer": {"from": 2, "to": 0}},
        {"deleted": {"from": False, "to": True}},
    ]
    told = await entries(capacity, resource_type="block", resource_id=block.id)
    assert [(each.action, each.note, changes(each)) for each in told] == [
        ("BlockQuantity", "house", {"quantity": {"from": None, "to": 3}, "ended": {"from": None, "to": False}}),
        ("Unblock", "needed", {"quantity": {"from": 3, "to": 2}}),
        ("Unblock", "", {"quantity": {"from": 2, "to": 0}, "ended": {"from": False, "to": True}}),
    ]
    change = (await capacity.journal(section.event_id))[-1]
    assert rest[-1].create_time == change.occur_time


async def test_seats_returns_and_exchanges_are_told(capacity: Capacity) -> None:
    section = await seated(capacity, await capacity.event())
    await capacity.call(
        "SetSeatAttributes",
        section_id=section.id,
        seats={"labels": ["A-1"]},
        attributes={"wheelchair": True},
    )
    assert [each.action for each in await entries(capacity, resource_id=section.id)] == [
        "GenerateSeating",
        "SetSeatAttributes",
    ]
    sale = await sold(capacity, await hold_seats(capacity, section, "A-2", "A-3"))
    await capacity.call("ReturnSale", sale_id=sale.id, lines=[{"number": 1, "seats": {"labels": ["A-2"]}}], note="ill")
    (back,) = await entries(capacity, resource_type="sale", resource_id=sale.id)
    assert (back.action, back.note) == ("ReturnSale", "ill")
    assert changes(back) == {
        "state": {"from": "SOLD", "to": "PARTIALLY_RETURNED"},
        "returned_quantity": {"from": 0, "to": 1},
    }


async def test_what_staff_do_to_holds_is_told_and_what_buyers_do_to_their_own_is_not(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    own, other = await capacity.place(section.id), await capacity.place(section.id)
    await capacity.call("ReleaseHold", role="buyer", hold_id=own.id)
    await capacity.call("ReleaseHold", role="box_office", hold_id=other.id)
    await capacity.call("ReleaseHold", role="box_office", hold_id=other.id)  # it is over already
    assert await entries(capacity, resource_id=own.id) == []
    (told,) = await entries(capacity, resource_type="hold", resource_id=other.id)
    assert (told.actor, told.action) == ("user:box_office", "ReleaseHold")
    assert changes(told) == {"state": {"from": "ACTIVE", "to": "RELEASED"}}


async def test_a_repair_is_told_with_its_reason_and_what_it_put_right(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    await capacity.place(section.id, 4)
    capacity.change("UPDATE capacity.sections SET held = 1 WHERE id = %s", section.id)
    fields = {"event_id": section.event_id, "reason": "after the crash"}
    shown = await capacity.call("RepairInventory", **fields)
    assert await entries(capacity, resource_type="inventory") == []
    done = await capacity.call("RepairInventory", confirmation_token=shown.confirmation_token, **fields)
    (told,) = await entries(capacity, resource_type="inventory")
    assert (told.action, told.note, told.resource_id) == ("RepairInventory", "after the crash", section.event_id)
    assert changes(told) == {
        f"{section.id}/held": {"from": 1, "to": 4, "journal": 4},
        "inventory_version": {"to": done.inventory_version},
    }


async def test_repetitions_and_refusals_leave_no_entry(capacity: Capacity) -> None:
    event_id, key = await capacity.event(), new_id()
    fields: dict[str, Any] = {"event_id": event_id, "section": {"name": "Floor", "total": 5}}
    for _ in range(2):
        made = (await capacity.call("CreateSection", request_id=key, **fields)).section
    assert (await refused(capacity.call("CreateSection", **fields))).reason is Reason.SECTION_EXISTS
    assert [each.resource_id for each in await entries(capacity, action="CreateSection")][-1] == made.id
    assert len(await entries(capacity, resource_id=made.id)) == 1


async def test_lists_are_filtered_paged_and_of_one_organization(capacity: Capacity) -> None:
    capacity.organization_id = new_id()
    event_id = await capacity.event()
    made = [await capacity.section(event_id, 5) for _ in range(5)]
    other = await capacity.section(event_id, 5)
    await capacity.call("SetBuffer", section_id=other.id, quantity=1, subject="user:second")

    seen: list[str] = []
    token, pages = "", 0
    for _ in range(4):
        answer = await capacity.call(
            "ListAuditEntries", action="CreateSection", page_size=2, page_token=token, with_total=True
        )
        assert answer.pagination.total == 6
        seen += [each.resource_id for each in answer.entries]
        token, pages = answer.pagination.next_page_token, pages + 1
        if not token:
            break
    assert (seen, pages) == ([each.id for each in reversed([*made, other])], 3)

    (second,) = await entries(capacity, actor="user:second")
    at = second.create_time.ToJsonString()
    assert [each.id for each in await entries(capacity, from_time=at)] == [second.id]
    assert len(await entries(capacity, to_time=at)) == 6
    assert await entries(capacity, outcome="FAILURE") == []
    assert len(await entries(capacity, outcome="SUCCESS")) == 7
    wrong = await refused(entries(capacity, from_time=at, to_time=at))
    assert wrong.reason is Reason.INVALID_DATE_RANGE
    assert await entries(capacity, organization_id=new_id()) == []
    for role in ("organizer", "box_office", "buyer"):
        assert (await refused(entries(capacity, role=role))).reason is Reason.PERMISSION_MISSING


@pytest.mark.parametrize(
    "statement", ["UPDATE capacity.audit_entries SET note = ''", "DELETE FROM capacity.audit_entries"]
)
def test_entries_are_never_changed_by_the_service(capacity: Capacity, statement: str) -> None:
    with psycopg.connect(capacity.database.dsn("capacity_service")) as connection:
        connection.execute("SELECT set_config('holdfast.organization_id', %s, true)", (capacity.organization_id,))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())
