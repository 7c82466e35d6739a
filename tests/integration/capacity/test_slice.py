"""One hold's life, over every RPC of the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.capacity.conftest import state_of

if TYPE_CHECKING:
    from tests.integration.capacity.conftest import Capacity


async def test_a_hold_is_placed_confirmed_and_seen_by_every_read(capacity: Capacity) -> None:
    event_id = await capacity.event()
    section = await capacity.section(event_id, 100, name="Floor", code="FL")
    tier_id = capacity.tier(unit_minor=2500)
    placed = await capacity.call(
        "PlaceHold", role="buyer", section_id=section.id, quantity=2, price_tier_id=tier_id, hold_ttl_seconds=300
    )
    hold = placed.hold
    assert state_of(hold) == "ACTIVE"
    assert hold.expire_time.ToSeconds() - hold.create_time.ToSeconds() == 300
    assert (hold.total.currency_code, hold.total.amount) == ("USD", "50.00")
    assert placed.inventory_version == 3
    shown = await capacity.read(section.id)
    assert (shown.available, shown.held, shown.sold) == (98, 2, 0)

    assert (await capacity.call("GetHold", role="buyer", hold_id=hold.id)).hold == hold
    confirmed = await capacity.call(
        "ConfirmHold", role="buyer", hold_id=hold.id, expected_total={"currency_code": "USD", "amount": "50.00"}
    )
    assert state_of(confirmed.hold) == "CONFIRMED"
    assert confirmed.hold.sale_id == confirmed.sale.id
    assert confirmed.sale.lines == hold.lines
    assert confirmed.sale.total == hold.total

    other = await capacity.place(section.id, 3)
    released = await capacity.call("ReleaseHold", role="buyer", hold_id=other.id)
    assert state_of(released.hold) == "RELEASED"

    sections = await capacity.call("ListSections", event_id=event_id, with_total=True)
    assert [(each.name, each.available, each.sold) for each in sections.sections] == [("Floor", 98, 2)]
    assert sections.pagination.total == 1
    totals = await capacity.call("GetTotals", event_id=event_id)
    assert (totals.total, totals.available, totals.sold, totals.section_count) == (100, 98, 2, 1)
    assert totals.inventory_version == 6
    holds = await capacity.call("ListHolds", role="buyer", event_id=event_id, with_total=True)
    assert [each.id for each in holds.holds] == [other.id, hold.id]
    verified = await capacity.call("VerifyInventory", event_id=event_id)
    assert verified.consistent, verified.differences
    changes = await capacity.call("ListInventoryChanges", event_id=event_id)
    assert [change.version for change in changes.changes] == [1, 2, 3, 4, 5, 6]
    assert changes.inventory_version == 6
