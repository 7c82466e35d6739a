"""Changing what seats are, and where the best of them look at: for everybody, and nobody's seat changes under them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from holdfast.common.errors import Reason
from holdfast.common.ids import new_id
from tests.integration.capacity.conftest import refused, running
from tests.integration.capacity.steps import hold_seats, seated
from tests.integration.capacity.test_expiry import over

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.local.nats import EmbeddedNats
    from tests.integration.capacity.conftest import Capacity

WHEELCHAIR = {"wheelchair": True}


async def change(capacity: Capacity, section_id: str, *labels: str, attributes: Any, **fields: Any) -> Any:
    return await capacity.call(
        "SetSeatAttributes", section_id=section_id, seats={"labels": labels}, attributes=attributes, **fields
    )


async def test_seats_become_something_else_and_keep_their_labels(capacity: Capacity) -> None:
    section = await seated(capacity, await capacity.event(), rows=2, cols=5)
    hold = await hold_seats(capacity, section, "A-3")
    made = await change(capacity, section.id, "A-1", "B-5", attributes=WHEELCHAIR)
    assert (made.section.layout.wheelchair_count, made.section.layout.companion_count) == (2, 0)
    assert made.section.layout.layout_etag != section.layout.layout_etag
    assert made.section.etag != section.etag
    assert (made.section.total, made.section.held) == (10, 1)
    described = await change(capacity, section.id, "A-1", "A-2", attributes={"category": "Rang 1"})
    assert list(described.section.layout.categories) == ["Rang 1"]
    assert described.section.layout.wheelchair_count == 2, "what is not named stays"
    assert described.inventory_version == made.inventory_version + 1
    taken_away = await change(capacity, section.id, "A-1", "A-2", attributes={"category": ""})
    assert not taken_away.section.layout.categories
    assert list((await capacity.hold(hold.id)).lines[0].seats) == ["A-3"]
    await capacity.check(section.event_id)


async def test_what_changes_nothing_makes_no_version_and_a_repetition_answers_the_same(capacity: Capacity) -> None:
    section = await seated(capacity, await capacity.event())
    key = new_id()
    made = await change(capacity, section.id, "A-1", attributes=WHEELCHAIR, request_id=key)
    same = await change(capacity, section.id, "A-1", attributes=WHEELCHAIR)
    assert (same.inventory_version, same.section) == (made.inventory_version, made.section)
    again = await change(capacity, section.id, "A-1", attributes=WHEELCHAIR, request_id=key)
    assert again == made
    other = await refused(change(capacity, section.id, "A-2", attributes=WHEELCHAIR, request_id=key))
    assert other.reason is Reason.IDEMPOTENCY_KEY_REUSED


@pytest.mark.parametrize("confirm", [False, True])
async def test_a_seat_that_somebody_has_stays_the_kind_of_seat_it_is(capacity: Capacity, *, confirm: bool) -> None:
    section = await seated(capacity, await capacity.event())
    await change(capacity, section.id, "A-1", attributes=WHEELCHAIR)
    await change(capacity, section.id, "A-2", attributes={"companion": True})
    hold = await hold_seats(capacity, section, "A-1", "A-2", "A-3")
    if confirm:
        await capacity.call("ConfirmHold", hold_id=hold.id)
    before = await capacity.read(section.id)
    for attributes in ({"wheelchair": False}, {"wheelchair": False, "companion": True}):
        error = await refused(change(capacity, section.id, "A-1", "B-1", attributes=attributes))
        assert (error.reason, error.metadata["seats"]) == (Reason.SEATS_TAKEN, "A-1")
    error = await refused(change(capacity, section.id, "A-2", "A-3", attributes={"companion": False}))
    assert (error.reason, error.metadata["seats"]) == (Reason.SEATS_TAKEN, "A-2")
    error = await refused(change(capacity, section.id, "A-3", "A-4", attributes=WHEELCHAIR))
    assert (error.reason, error.metadata["seats"]) == (Reason.SEATS_TAKEN, "A-3")
    assert await capacity.read(section.id) == before
    seen = await change(capacity, section.id, "A-1", "A-3", attributes={"restricted_view": True, "category": "Seite"})
    assert (seen.section.layout.restricted_view_count, list(seen.section.layout.categories)) == (2, ["Seite"])


async def test_blocked_seats_and_those_of_ended_holds_change(capacity: Capacity) -> None:
    section = await seated(capacity, await capacity.event())
    await capacity.call("BlockSeats", section_id=section.id, seats={"labels": ["A-1"]}, note="house")
    released = await hold_seats(capacity, section, "A-2")
    await capacity.call("ReleaseHold", hold_id=released.id)
    expired = await hold_seats(capacity, section, "A-3", hold_ttl_seconds=1)
    await over(capacity, expired.id)
    made = await change(capacity, section.id, "A-1", "A-2", "A-3", attributes=WHEELCHAIR)
    assert made.section.layout.wheelchair_count == 3


@pytest.mark.parametrize(
    ("labels", "attributes", "reason"),
    [
        (["A-1", "Z-9"], WHEELCHAIR, Reason.SEAT_NOT_FOUND),
        (["A-1"], {}, Reason.VALIDATION_FAILED),
        (["A-1"], {"category": "x" * 51}, Reason.VALIDATION_FAILED),
        (["A-1"], {"wheelchair": True, "companion": True}, Reason.VALIDATION_FAILED),
        ([], WHEELCHAIR, Reason.VALIDATION_FAILED),
    ],
)
async def test_what_cannot_be_changes_nothing(
    capacity: Capacity, labels: list[str], attributes: Any, reason: Reason
) -> None:
    section = await seated(capacity, await capacity.event())
    assert (await refused(change(capacity, section.id, *labels, attributes=attributes))).reason is reason
    assert await capacity.read(section.id) == section


async def test_an_etag_makes_it_conditional(capacity: Capacity) -> None:
    section = await seated(capacity, await capacity.event())
    made = await change(capacity, section.id, "A-1", attributes=WHEELCHAIR, etag=section.etag)
    stale = await refused(change(capacity, section.id, "A-2", attributes=WHEELCHAIR, etag=section.etag))
    assert (stale.reason, stale.metadata["etag"]) == (Reason.ETAG_MISMATCH, made.section.etag)


async def test_only_those_who_may_and_only_their_own(capacity: Capacity) -> None:
    section = await seated(capacity, await capacity.event())
    for role in ("buyer", "box_office", "analyst"):
        error = await refused(change(capacity, section.id, "A-1", attributes=WHEELCHAIR, role=role))
        assert error.reason is Reason.PERMISSION_MISSING
    other = await refused(change(capacity, section.id, "A-1", attributes=WHEELCHAIR, organization_id=new_id()))
    unknown = await refused(change(capacity, new_id(), "A-1", attributes=WHEELCHAIR))
    assert other.reason is unknown.reason is Reason.SECTION_NOT_FOUND
    general = await capacity.section(section.event_id, 10)
    none = await refused(change(capacity, general.id, "A-1", attributes=WHEELCHAIR))
    assert none.reason is Reason.SEAT_NOT_FOUND


async def test_the_focal_point_is_a_setting_of_a_section_with_seats(capacity: Capacity) -> None:
    section = await seated(capacity, await capacity.event())
    assert not section.HasField("focal_point")
    set_to = await capacity.call(
        "UpdateSection", section_id=section.id, section={"focal_point": {"row": 0, "place": 3}}
    )
    assert (set_to.section.focal_point.row, set_to.section.focal_point.place) == (0, 3)
    assert set_to.section.layout.layout_etag != section.layout.layout_etag
    named = await capacity.call("UpdateSection", section_id=section.id, section={"code": "S"})
    assert named.section.focal_point == set_to.section.focal_point
    assert named.section.layout.layout_etag == set_to.section.layout.layout_etag
    gone = await capacity.call("UpdateSection", section_id=section.id, section={}, mask=["focal_point"])
    assert not gone.section.HasField("focal_point")
    general = await capacity.section(section.event_id, 10)
    error = await refused(
        capacity.call("UpdateSection", section_id=general.id, section={"focal_point": {"row": 1, "place": 1}})
    )
    assert [each.field for each in error.violations] == ["section.focal_point"]
    created = await refused(capacity.section(section.event_id, 10, focal_point={"row": 1, "place": 1}))
    assert [each.field for each in created.violations] == ["section.focal_point"]


async def test_another_replica_knows_at_once(capacity: Capacity, nats_server: EmbeddedNats, identity_dir: Path) -> None:
    section = await seated(capacity, await capacity.event())
    async with running(capacity.database, nats_server.url, identity_dir) as other:
        other.organization_id = capacity.organization_id
        await hold_seats(other, section, "A-1")  # it remembers the layout from now on
        await change(capacity, section.id, "A-2", attributes=WHEELCHAIR)
        assert (await other.read(section.id)).layout.wheelchair_count == 1
        made = await change(other, section.id, "A-3", attributes=WHEELCHAIR)
        assert made.section.layout.wheelchair_count == 2, "the other's change is not lost"
        taken = await refused(change(capacity, section.id, "A-1", attributes=WHEELCHAIR))
        assert taken.metadata["seats"] == "A-1"
