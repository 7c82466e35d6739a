"""Creating, reading, changing and deleting events, over RPC."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format

from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from tests.integration.events.conftest import refused

if TYPE_CHECKING:
    from tests.integration.events.conftest import Events

EVERYTHING = {
    "name": "Everything",
    "description": "All there is",
    "short_description": "All",
    "kind": "RECURRING",
    "visibility": "UNLISTED",
    "is_featured": True,
    "priority_score": 7,
    "tags": ["jazz", "late"],
    "banner_image_url": "https://img.example/banner.png",
    "thumbnail_image_url": "https://img.example/small.png",
    "video_url": "https://img.example/trailer",
    "is_hybrid": True,
    "virtual_event_url": "https://stream.example/1",
    "streaming_platform": "YouTube",
    "streaming_config": {"key": "a", "quality": 1080},
    "age_restriction": 18,
    "dress_code": "black tie",
    "special_requirements": ["passport"],
    "accessibility_info": {"ramps": 2},
    "royalty_percentage": "10.50",
    "artist_percentage": "60.00",
    "venue_percentage": "40.00",
    "cancellation_policy": "none",
    "refund_policy": "never",
    "cancellation_deadline_hours": 48,
    "meta_title": "title",
    "meta_description": "description",
    "meta_keywords": ["one"],
    "external_id": "4711",
    "organizer_id": "user:ann",
    "settings": {"reminder": 24},
    "metadata": {"nested": {"deep": [1, 2, "three"]}},
    "gate_ids": ["north"],
}


async def test_all_fields_come_back(events: Events) -> None:
    venue = await events.venue(gates=[{"id": "north", "name": "North"}])
    given = EVERYTHING | {"sales_start_time": events.after(days=1), "sales_end_time": events.after(days=2)}
    created = await events.event(days=None, venue_id=venue.id, **given)
    read = await events.read(created.id)
    assert read == created
    shown = json_format.MessageToDict(read, preserving_proto_field_name=True)
    for name, value in EVERYTHING.items():
        assert shown[name] == value, name
    assert shown["venue_name"] == venue.name
    assert shown["state"] == "DRAFT"
    assert shown["etag"] == "1"
    assert shown["created_by"] == "user:owner"
    assert read.slug == f"{venue.slug}-everything"


async def test_a_start_makes_the_first_date_with_its_defaults(events: Events) -> None:
    venue = await events.venue(time_zone="America/New_York", settings={"default_doors_minutes": 60})
    response = await events.call(
        "CreateEvent",
        event={"name": "One", "venue_id": venue.id, "event_date": events.after(days=5), "capacity": 250},
    )
    date = response.schedule
    assert response.effective
    assert date.time_zone == "America/New_York"
    assert date.end_time.seconds - date.start_time.seconds == 180 * 60
    assert date.start_time.seconds - date.doors_time.seconds == 60 * 60
    assert response.event.starts_at == date.start_time
    assert not response.event.HasField("capacity")  # capacity reported nothing yet
    (controls,) = events.world.controls[response.event.id]
    assert (controls.version, controls.initial_capacity, controls.venue_max_capacity) == (1, 250, 1000)
    assert [one.schedule_id for one in controls.schedules] == [date.id]
    assert (controls.hold_ttl_seconds_default, controls.hold_ttl_seconds_max) == (900, 3600)
    ((version, kind, body),) = events.messages(response.event.id)
    assert (version, kind, body.controls) == (1, "event_created", controls)
    assert events.world.callers == {"service:events"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"starts_at": {"hours": 1}}, Reason.INVALID_DATE_RANGE),
        ({"starts_at": {"days": 366}}, Reason.INVALID_DATE_RANGE),
        ({"starts_at": {"days": 3}, "ends_at": {"days": 3}}, Reason.INVALID_DATE_RANGE),
        ({"starts_at": {"days": 3}, "doors_open": {"days": 4}}, Reason.INVALID_DATE_RANGE),
        ({"starts_at": {"days": 3}, "timezone": "Mars/Olympus"}, Reason.UNKNOWN_TIME_ZONE),
        ({"starts_at": {"days": 3}, "sales_end_time": {"days": 9}}, Reason.INVALID_DATE_RANGE),
        ({"starts_at": {"days": 3}, "event_date": {"days": 3}}, Reason.VALIDATION_FAILED),
        ({"timezone": "UTC"}, Reason.VALIDATION_FAILED),
        ({"state": "ON_SALE"}, Reason.VALIDATION_FAILED),
        ({"capacity": 1001}, Reason.VENUE_CAPACITY_EXCEEDED),
        ({"is_virtual": True}, Reason.VALIDATION_FAILED),
        ({"artist_percentage": "60", "venue_percentage": "41"}, Reason.VALIDATION_FAILED),
        ({"gate_ids": ["nowhere"]}, Reason.VALIDATION_FAILED),
        ({"venue_id": "018f0000-0000-7000-8000-00000000dead"}, Reason.VENUE_NOT_FOUND),
        ({"metadata": {"text": "x" * 40_000}}, Reason.VALIDATION_FAILED),
    ],
)
async def test_what_is_wrong_is_refused_and_changes_nothing(events: Events, fields: Any, reason: Any) -> None:
    venue = await events.venue()
    given = {
        name: events.after(**value) if isinstance(value, dict) and set(value) <= {"hours", "days"} else value
        for name, value in fields.items()
    }
    before = events.rows("SELECT count(*) FROM events.events")
    error = await refused(events.event(**{"days": None, "venue_id": venue.id} | given))
    assert error.reason is reason
    assert events.rows("SELECT count(*) FROM events.events") == before


async def test_twenty_creates_with_one_key_make_one_event(events: Events) -> None:
    venue, key = await events.venue(), new_id()
    given = {"name": "Once", "venue_id": venue.id, "starts_at": events.after(days=8)}

    async def create() -> Any:
        return await events.call_with_metadata("CreateEvent", event=given, request_id=key)

    answers = await asyncio.gather(*(create() for _ in range(20)))
    assert len({response.event.id for response, _ in answers}) == 1
    assert len({response.schedule.id for response, _ in answers}) == 1
    assert sum("holdfast-replayed" not in metadata for _, metadata in answers) == 1
    assert events.rows("SELECT count(*) FROM events.events WHERE venue_id = %s", venue.id) == [(1,)]
    error = await refused(events.call("CreateEvent", event=given | {"name": "Twice"}, request_id=key))
    assert error.reason is Reason.IDEMPOTENCY_KEY_REUSED


async def test_of_two_events_at_one_time_and_place_exactly_one_is_made(events: Events) -> None:
    for round_number in range(5):
        venue = await events.venue()
        answers = await asyncio.gather(
            *(events.event(venue_id=venue.id, name=f"E{n}", days=20 + round_number) for n in range(4)),
            return_exceptions=True,
        )
        made = [one for one in answers if not isinstance(one, BaseException)]
        refusals = [one for one in answers if isinstance(one, DomainError)]
        assert (len(made), len(refusals)) == (1, 3)
        assert {one.reason for one in refusals} == {Reason.OVERLAPPING_EVENT}
        assert {one.metadata["event_id"] for one in refusals} == {made[0].id}
        assert {one.metadata["name"] for one in refusals} == {made[0].name}


async def test_overlap_can_be_allowed_and_cancelled_or_touching_events_do_not_count(events: Events) -> None:
    venue = await events.venue()
    first = await events.event(venue_id=venue.id, days=20)
    given = {"name": "Other", "venue_id": venue.id, "starts_at": events.after(days=20)}
    assert (await events.call("CreateEvent", event=given, allow_overlap=True)).event.id
    await events.event(venue_id=venue.id, starts_at=events.after(days=20, hours=3))
    other = await events.venue()
    second = await events.event(venue_id=other.id, days=20)
    await events.call("CancelEvent", event_id=second.id, reason="rain")
    await events.event(venue_id=other.id, days=20)
    error = await refused(events.call("UpdateEvent", event_id=first.id, event={"venue_id": other.id}))
    assert error.reason is Reason.OVERLAPPING_EVENT


async def test_slugs_are_numbered_stable_and_free_again_after_deleting(events: Events) -> None:
    venue = await events.venue(name="Slug Hall")
    slugs = await asyncio.gather(*(events.event(days=None, venue_id=venue.id, name="Same") for _ in range(6)))
    base = f"{venue.slug}-same"
    assert {one.slug for one in slugs} == {base, *(f"{base}-{n}" for n in range(2, 7))}
    renamed = (await events.call("UpdateEvent", event_id=slugs[0].id, event={"name": "Another"})).event
    assert (renamed.name, renamed.slug) == ("Another", slugs[0].slug)
    gone = next(one for one in slugs if one.slug == base)
    await events.call("DeleteEvent", event_id=gone.id)
    assert (await events.event(days=None, venue_id=venue.id, name="Same")).slug == base
    assert (await events.call("GetEvent", slug=f"{base}-2")).event.slug == f"{base}-2"


async def test_updates_change_what_is_present_clear_what_is_named_and_obey_the_etag(events: Events) -> None:
    event = await events.event(description="old", tags=["a"], artist_percentage="50")
    response = await events.call("UpdateEvent", event_id=event.id, event={"short_description": "new"}, etag=event.etag)
    assert response.effective
    assert (response.event.description, response.event.short_description, response.event.etag) == ("old", "new", "2")
    error = await refused(events.call("UpdateEvent", event_id=event.id, event={"name": "x"}, etag=event.etag))
    assert (error.reason, error.metadata["etag"]) == (Reason.ETAG_MISMATCH, "2")
    cleared = await events.call(
        "UpdateEvent", event_id=event.id, event={"name": "Kept"}, mask=["name", "description", "tags"]
    )
    assert cleared.event.name == "Kept"
    assert not cleared.event.HasField("description")
    assert not cleared.event.tags
    assert cleared.event.artist_percentage == "50.00"
    for mask in (["name"], ["venue_id"], ["state"], ["nothing"], ["starts_at"]):
        error = await refused(events.call("UpdateEvent", event_id=event.id, event={"description": "x"}, mask=mask))
        assert error.reason is Reason.VALIDATION_FAILED, mask
    kinds = [(version, kind) for version, kind, _ in events.messages(event.id)]
    assert kinds == [(1, "event_created"), (2, "event_updated"), (3, "event_updated")]
    assert list(events.messages(event.id)[2][2].changed_fields) == ["description", "name", "tags"]


async def test_another_venue_needs_a_confirmation_once_anything_is_sold(events: Events) -> None:
    event, other = await events.on_sale(), await events.venue()
    events.world.sold(event.id, 3)
    error = await refused(events.call("UpdateEvent", event_id=event.id, event={"venue_id": other.id}))
    assert (error.reason, error.metadata["fields"]) == (Reason.CONFIRMATION_REQUIRED, "venue_id")
    events.world.sold(event.id, 0)
    moved = (await events.call("UpdateEvent", event_id=event.id, event={"venue_id": other.id})).event
    assert (moved.venue_id, moved.venue_name) == (other.id, other.name)


async def test_deleting_is_soft_and_twice_is_once(events: Events) -> None:
    event = await events.event()
    events.world.sold(event.id, 1)
    error = await refused(events.call("DeleteEvent", event_id=event.id))
    assert (error.reason, error.metadata["sold"]) == (Reason.TICKETS_SOLD, "1")
    events.world.sold(event.id, 0)
    await events.call("DeleteEvent", event_id=event.id)
    await events.call("DeleteEvent", event_id=event.id)
    assert (await refused(events.read(event.id))).reason is Reason.EVENT_NOT_FOUND
    assert events.rows("SELECT state, delete_time IS NOT NULL FROM events.events WHERE id = %s", event.id) == [
        ("DRAFT", True)
    ]
    assert [kind for _, kind, _ in events.messages(event.id)] == ["event_created", "event_deleted"]
    assert events.world.controls[event.id][-1].deleted
    live = await events.on_sale()
    assert (await refused(events.call("DeleteEvent", event_id=live.id))).reason is Reason.NOT_EDITABLE


async def test_buyers_find_what_is_public_and_no_more(events: Events) -> None:
    organization_id = events.organization_id = await events.organization()
    draft = await events.event(name="Draft")
    listed = await events.on_sale(name="Listed", virtual_event_url="https://stream.example/x", settings={"a": 1})
    unlisted = await events.on_sale(name="Unlisted", visibility="UNLISTED")
    private = await events.on_sale(name="Private", visibility="PRIVATE")
    seen = await events.call("ListEvents", role="buyer", with_total=True)
    assert [one.id for one in seen.events] == [listed.id]
    assert seen.pagination.total == 1
    members = await events.call("ListEvents", with_total=True)
    assert [one.id for one in members.events] == [private.id, unlisted.id, listed.id, draft.id]
    for hidden in (draft, private):
        error = await refused(events.call("GetEvent", role="buyer", event_id=hidden.id))
        assert error.reason is Reason.EVENT_NOT_FOUND
        error = await refused(events.call("ListSchedules", role="buyer", event_id=hidden.id))
        assert error.reason is Reason.EVENT_NOT_FOUND
    found = (await events.call("GetEvent", role="buyer", event_id=unlisted.id.upper())).event
    assert found.id == unlisted.id
    shown = (await events.call("GetEvent", role="buyer", slug=listed.slug)).event
    assert not shown.HasField("virtual_event_url")
    assert not shown.HasField("settings")
    assert (await events.read(listed.id)).virtual_event_url == "https://stream.example/x"
    assert not (await events.call("ListEvents", role="buyer", states=["DRAFT"])).events
    error = await refused(events.call("CreateEvent", role="buyer", event={"name": "x", "venue_id": draft.venue_id}))
    assert error.reason is Reason.PERMISSION_MISSING
    assert organization_id


async def test_lists_are_paged_filtered_and_bound_to_their_filters(events: Events) -> None:
    events.organization_id = await events.organization()
    venue = await events.venue()
    ids = [(await events.event(days=None, venue_id=venue.id, organizer_id="ann")).id for _ in range(5)]
    await events.event(days=None, organizer_id="bob")
    found, token = [], ""
    for _ in range(3):
        page = await events.call("ListEvents", venue_id=venue.id, page_size=2, page_token=token, with_total=True)
        assert page.pagination.total == 5
        found += [one.id for one in page.events]
        token = page.pagination.next_page_token
    assert (found, token) == (ids[::-1], "")
    assert len((await events.call("ListEvents", organizer_id="ann")).events) == 5
    assert len((await events.call("ListEvents", states=["DRAFT"])).events) == 6
    first = await events.call("ListEvents", page_size=2)
    error = await refused(
        events.call("ListEvents", page_size=2, organizer_id="ann", page_token=first.pagination.next_page_token)
    )
    assert error.reason is Reason.PAGE_TOKEN_INVALID


async def test_another_organizations_events_do_not_exist(events: Events) -> None:
    event = await events.event()
    other = await events.organization()
    for rpc in ("GetEvent", "CancelEvent", "DeleteEvent", "ListSchedules", "ListEventTransitions"):
        fields = {"reason": "x"} if rpc == "CancelEvent" else {}
        theirs = await refused(events.call(rpc, organization_id=other, event_id=event.id, **fields))
        unknown = new_id()
        nobodys = await refused(events.call(rpc, organization_id=other, event_id=unknown, **fields))
        assert theirs.reason is nobodys.reason is Reason.EVENT_NOT_FOUND
        assert theirs.message == nobodys.message
        assert theirs.metadata == {"event_id": event.id}
    error = await refused(
        events.call("CreateEvent", organization_id=other, event={"name": "x", "venue_id": event.venue_id})
    )
    assert error.reason is Reason.VENUE_NOT_FOUND
    assert not (await events.call("ListEvents", organization_id=other)).events


async def test_capacity_alone_reads_controls(events: Events) -> None:
    event = await events.event()
    response = await events.call("GetEventControls", role="service", peer="capacity", event_id=event.id)
    assert (response.controls.event_id, response.controls.version) == (event.id, 1)
    assert response.controls == events.world.controls[event.id][-1]
    error = await refused(events.call("GetEventControls", peer="gateway", event_id=event.id))
    assert error.reason is Reason.CALLER_NOT_ALLOWED
    error = await refused(events.call("GetEventControls", role="service", peer="capacity", event_id=new_id()))
    assert error.reason is Reason.EVENT_NOT_FOUND


@pytest.mark.parametrize("field", ["name", "description", "external_id"])
async def test_text_that_the_database_cannot_hold_is_refused(events: Events, field: str) -> None:
    error = await refused(events.event(days=10, **{field: "a\x00b"}))
    assert error.reason is Reason.VALIDATION_FAILED


async def test_text_of_other_languages_is_kept_literally(events: Events) -> None:
    text = "'; DROP TABLE events.events; -- {{7*7}} <b> 東京 🎷"
    event = await events.event(name=text, metadata={"text": text})
    shown = await events.read(event.id)
    assert (shown.name, shown.metadata["text"]) == (text, text)
