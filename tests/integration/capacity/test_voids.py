"""Cancelling and postponing: what was ended is ended for everybody at once, however many rows there are to write."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.api.capacity.v1 import hold_pb2
from holdfast.api.events.v1 import event_pb2
from holdfast.capacity.operations.controls import TakeOverControls
from holdfast.common.errors import Reason
from holdfast.common.ids import new_id
from tests.integration.capacity.conftest import refused, running, schedule, state_of, until

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.api.capacity.v1 import messages_pb2
    from holdfast.local.nats import EmbeddedNats
    from tests.integration.capacity.conftest import Capacity

VOIDED = hold_pb2.Hold.State.VOIDED


def voids(journal: list[messages_pb2.InventoryChanged]) -> list[int]:
    """How many holds each commit voided, of those that voided any."""
    counts = [sum(hold.state == VOIDED for hold in change.holds) for change in journal]
    return [count for count in counts if count]


async def test_cancelling_1200_holds_goes_on_after_a_crash(
    capacity: Capacity, nats_server: EmbeddedNats, identity_dir: Path
) -> None:
    section = await capacity.on_sale(2000)
    sold = await capacity.place(section.id, 2)
    await capacity.call("ConfirmHold", role="buyer", hold_id=sold.id)
    holds = await capacity.fill(section, 1200)

    # The service dies right after the commit that takes the cancellation over: nobody has tidied a row.
    controls = capacity.world.controls[section.event_id]
    controls.version += 1
    controls.state = event_pb2.Event.State.CANCELLED
    async with capacity.engine_of_the_service() as submit:
        applied = await submit(section.event_id, TakeOverControls(controls, section_id=new_id()))
    assert applied.unfinished
    assert voids(await capacity.journal(section.event_id)) == []

    seen = await capacity.hold(holds[-1])
    assert (state_of(seen), seen.void_cause) == ("VOIDED", "EVENT_CANCELLED")
    shown = await capacity.read(section.id)
    assert (shown.held, shown.sold, shown.available, shown.active) == (0, 2, 1998, False)
    listed = await capacity.call("ListHolds", event_id=section.event_id, states=["VOIDED"], with_total=True)
    assert listed.pagination.total == 1200
    none = await capacity.call("ListHolds", event_id=section.event_id, states=["ACTIVE", "EXPIRED"], with_total=True)
    assert none.pagination.total == 0
    late = await refused(capacity.call("ConfirmHold", role="buyer", hold_id=holds[0]))
    assert (late.reason, late.metadata["cause"]) == (Reason.HOLD_VOIDED, "EVENT_CANCELLED")
    assert (await refused(capacity.place(section.id))).reason is Reason.EVENT_CANCELLED

    async with running(capacity.database, nats_server.url, identity_dir, reaper="on", reaper_interval_seconds=0.05):

        async def tidied() -> bool:
            return not capacity.rows("SELECT 1 FROM capacity.voids WHERE event_id = %s AND NOT done", section.event_id)

        await until(tidied)
    journal = await capacity.journal(section.event_id)
    assert sum(voids(journal)) == 1200
    assert len(voids(journal)) >= 3
    assert max(voids(journal)) <= 500
    sizes = capacity.rows("SELECT max(octet_length(body)) FROM capacity.inventory_changes")
    assert sizes[0][0] <= 256 * 1024
    assert [sale.state for change in journal for sale in change.sales] == [
        hold_pb2.Sale.State.SOLD,
        hold_pb2.Sale.State.CANCELLED,
    ]
    assert await capacity.hold(holds[-1]) == seen
    await capacity.check(section.event_id)


async def test_holds_of_many_lines_fit_the_journal(capacity: Capacity) -> None:
    event_id = await capacity.event()
    sections = [await capacity.section(event_id, 100) for _ in range(50)]
    lines = [{"section_id": section.id, "quantity": 1} for section in sections]
    for _ in range(15):
        await capacity.call(
            "PlaceHold",
            role="buyer",
            subject="b" * 128,
            order_reference="r" * 128,
            lines=[{**line, "price_tier_id": capacity.tier()} for line in lines],
        )
    await capacity.change_event(event_id, state="CANCELLED")
    for _ in range(50):
        await capacity.app._reaper._look(asyncio.Event())
    sizes = capacity.rows(
        "SELECT max(octet_length(body)) FROM capacity.inventory_changes WHERE event_id = %s", event_id
    )
    assert sizes[0][0] <= 256 * 1024
    assert sum(voids(await capacity.journal(event_id))) == 15
    await capacity.check(event_id)


async def test_postponing_voids_active_holds_but_not_those_whose_payment_runs(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    active, paying = await capacity.place(section.id, 2), await capacity.place(section.id, 3)
    # Payment begins in a later slice; the rows are what it will leave behind.
    capacity.change("UPDATE capacity.holds SET state = 'PENDING' WHERE id = %s", paying.id)
    moved = "SET held = held - 3, pending = pending + 3"
    capacity.change(f"UPDATE capacity.sections {moved} WHERE id = %s", section.id)
    capacity.change(
        f"UPDATE capacity.event_inventories {moved} WHERE event_id = %s",
        section.event_id,
    )
    await capacity.change_event(section.event_id, state="POSTPONED")
    assert state_of(await capacity.hold(active.id)) == "VOIDED"
    assert state_of(await capacity.hold(paying.id)) == "PENDING"
    refusal = await refused(capacity.place(section.id))
    assert refusal.reason is Reason.EVENT_POSTPONED
    confirmed = await capacity.call("ConfirmHold", role="buyer", hold_id=paying.id)
    assert state_of(confirmed.hold) == "CONFIRMED"
    shown = await capacity.read(section.id)
    assert (shown.held, shown.pending, shown.sold, shown.available) == (0, 0, 3, 7)

    await capacity.change_event(section.event_id, state="RESCHEDULED")
    await capacity.change_event(section.event_id, state="ON_SALE")
    fresh = await capacity.place(section.id, 7)
    assert state_of(await capacity.hold(fresh.id)) == "ACTIVE"
    await capacity.check(section.event_id)


async def test_cancelling_a_date_voids_only_its_holds_and_marks_only_its_sales(capacity: Capacity) -> None:
    friday, saturday = schedule(days=10), schedule(days=11)
    event_id = await capacity.event(schedules=[friday, saturday])
    everywhere = await capacity.section(event_id, 100)
    only_friday = await capacity.section(event_id, 100, schedule_id=friday.schedule_id)
    unclear = await refused(capacity.place(everywhere.id))
    assert (unclear.reason, [each.field for each in unclear.violations]) == (
        Reason.VALIDATION_FAILED,
        ["schedule_id"],
    )
    on_friday = await capacity.place(everywhere.id, schedule_id=friday.schedule_id)
    at_friday = await capacity.place(only_friday.id)
    on_saturday = await capacity.place(everywhere.id, schedule_id=saturday.schedule_id)
    sold = [await capacity.place(everywhere.id, schedule_id=day.schedule_id) for day in (friday, saturday)]
    for hold in sold:
        await capacity.call("ConfirmHold", role="buyer", hold_id=hold.id)

    friday.state = "CANCELLED"
    await capacity.change_event(event_id, schedules=[friday, saturday])
    states = [state_of(await capacity.hold(each.id)) for each in (on_friday, at_friday, on_saturday)]
    assert states == ["VOIDED", "VOIDED", "ACTIVE"]
    assert (await capacity.hold(on_friday.id)).void_cause == "SCHEDULE_CANCELLED"
    sales = dict(capacity.rows("SELECT hold_id, state FROM capacity.sales WHERE event_id = %s", event_id))
    assert sales == {sold[0].id: "CANCELLED", sold[1].id: "SOLD"}
    assert (await refused(capacity.place(only_friday.id))).reason is Reason.SALES_WINDOW_CLOSED
    # The date that is left is the one meant, without being named.
    assert (await capacity.place(everywhere.id)).lines[0].schedule_id == saturday.schedule_id
    await capacity.check(event_id)
