"""Rules between the fields of an event, and what of it is shown to whom."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.api.capacity.v1 import messages_pb2
from holdfast.api.events.v1 import event_pb2
from holdfast.common.errors import DomainError, Reason
from holdfast.common.message import PoisonMessage
from holdfast.events import messages
from holdfast.events.consumers import change_of
from holdfast.events.convert import events as convert
from holdfast.events.domain.events import (
    EventKind,
    Figures,
    Visibility,
    check_etag,
    check_initial_capacity,
    check_percentages,
    check_single,
    check_venue_fits,
    missing_for_publishing,
    missing_for_sales,
    visible,
)
from holdfast.events.domain.lifecycle import LISTED_STATES, EventState
from holdfast.events.domain.organizations import check_settings
from holdfast.events.domain.schedules import ScheduleState
from holdfast.events.domain.venues import Gate, VenueKind
from holdfast.events.operations.slugs import free_slug, slug_of
from tests.unit.events.examples import NOW, event, organization, scene, schedule, venue


@pytest.mark.parametrize(
    ("royalty", "artist", "house", "right"),
    [
        (None, None, None, True),
        ("100", "0", "100", True),
        ("0", "60.5", "39.5", True),
        ("0", "60.51", "39.5", False),
        ("100.01", None, None, False),
        ("-0.01", None, None, False),
    ],
)
def test_percentages(royalty: Any, artist: Any, house: Any, right: Any) -> None:
    one = event(
        royalty_percentage=None if royalty is None else Decimal(royalty),
        artist_percentage=None if artist is None else Decimal(artist),
        venue_percentage=None if house is None else Decimal(house),
    )
    if right:
        check_percentages(one)
    else:
        with pytest.raises(DomainError) as caught:
            check_percentages(one)
        assert caught.value.reason is Reason.VALIDATION_FAILED


@pytest.mark.parametrize(
    ("fields", "kind", "field"),
    [
        ({}, VenueKind.PHYSICAL, None),
        ({"is_hybrid": True}, VenueKind.PHYSICAL, None),
        ({"is_virtual": True}, VenueKind.VIRTUAL, None),
        ({"is_virtual": True}, VenueKind.PHYSICAL, "event.venue_id"),
        ({}, VenueKind.VIRTUAL, "event.venue_id"),
        ({"is_virtual": True, "is_hybrid": True}, VenueKind.VIRTUAL, "event.is_hybrid"),
        ({"gate_ids": ("north",)}, VenueKind.PHYSICAL, None),
        ({"gate_ids": ("north", "south")}, VenueKind.PHYSICAL, "event.gate_ids[1]"),
    ],
)
def test_an_event_fits_its_venue(fields: Any, kind: Any, field: Any) -> None:
    place = venue(kind=kind, gates=(Gate(id="north", name="North"),))
    if field is None:
        check_venue_fits(event(**fields), place)
        return
    with pytest.raises(DomainError) as caught:
        check_venue_fits(event(**fields), place)
    assert [one.field for one in caught.value.violations] == [field]


def test_a_first_section_fits_the_venue() -> None:
    check_initial_capacity(5000, venue())
    with pytest.raises(DomainError) as caught:
        check_initial_capacity(5001, venue())
    assert caught.value.reason is Reason.VENUE_CAPACITY_EXCEEDED
    assert caught.value.metadata == {"maximum": "5000", "total": "5001"}


def test_a_single_event_has_one_live_date() -> None:
    gone = schedule(id="b", state=ScheduleState.CANCELLED)
    check_single(EventKind.SINGLE, [schedule(), gone])
    check_single(EventKind.RECURRING, [schedule(), schedule(id="b")])
    with pytest.raises(DomainError, match="at most one live date"):
        check_single(EventKind.SINGLE, [schedule(), schedule(id="b")])


@pytest.mark.parametrize(
    ("fields", "dates", "missing"),
    [
        ({}, [schedule()], []),
        ({}, [], ["future_schedule"]),
        ({}, [schedule(start_time=NOW)], ["future_schedule"]),
        ({}, [schedule(state=ScheduleState.POSTPONED)], ["future_schedule"]),
        ({"is_virtual": True}, [], ["future_schedule", "virtual_event_url"]),
        ({"is_hybrid": True, "virtual_event_url": "https://x"}, [schedule()], []),
    ],
)
def test_what_publishing_needs(fields: Any, dates: Any, missing: Any) -> None:
    assert missing_for_publishing(event(**fields), dates, now=NOW) == missing


def test_what_selling_needs() -> None:
    assert missing_for_sales(active_sections=1, active_price_tiers=1) == []
    assert missing_for_sales(active_sections=0, active_price_tiers=0) == ["active_section", "active_price_tier"]


@pytest.mark.parametrize("state", EventState)
@pytest.mark.parametrize("visibility", Visibility)
def test_who_finds_an_event(state: Any, visibility: Any) -> None:
    one = event(state=state, visibility=visibility)
    assert visible(one, member=True)
    assert visible(one, member=False) is (state in LISTED_STATES and visibility is not Visibility.PRIVATE)
    assert not visible(event(delete_time=NOW), member=True)


def test_an_etag_is_a_condition_only_if_given() -> None:
    check_etag("", "7")
    check_etag("7", "7")
    with pytest.raises(DomainError) as caught:
        check_etag("6", "7")
    assert caught.value.reason is Reason.ETAG_MISMATCH
    assert caught.value.metadata == {"etag": "7"}


def test_settings_that_contradict_each_other() -> None:
    check_settings(organization())
    with pytest.raises(DomainError, match="hold_ttl_seconds_default"):
        check_settings(organization(hold_ttl_seconds_max=899))
    with pytest.raises(DomainError, match="event_lead_days_max"):
        check_settings(organization(event_lead_minutes_min=1441, event_lead_days_max=1))


def test_slugs() -> None:
    assert slug_of("Main Hall", "Jäzz & Söul  Night!") == "main-hall-jazz-soul-night"
    assert slug_of("東京") != ""
    assert slug_of("!!!") == "unnamed"
    assert len(slug_of("x" * 900)) <= 560
    assert free_slug("a", {"b"}) == "a"
    assert free_slug("a", {"a", "a-2", "a-4", "a-b"}) == "a-3"


SECRETS = {
    "virtual_event_url": "https://stream.example/secret-url",
    "streaming_config": {"key": "secret-config"},
    "settings": {"rule": "secret-settings"},
}


def test_where_an_event_is_streamed_is_for_members_only() -> None:
    view = convert.EventView(event=event(**SECRETS), venue_name="Main Hall", schedules=(), figures=None)
    member, buyer = convert.to_proto(view, member=True), convert.to_proto(view, member=False)
    assert member.virtual_event_url == SECRETS["virtual_event_url"]
    assert member.streaming_config["key"] == "secret-config"
    assert member.settings["rule"] == "secret-settings"
    assert b"secret" not in buyer.SerializeToString()


def test_messages_carry_the_version_and_no_secrets() -> None:
    message = messages.event_created(scene(schedule(), version=1, **SECRETS), now=NOW)
    assert message.type == "event_created"
    assert message.message_id == "events-event-1"
    assert message.subject.startswith("events.018f0000-0000-7000-8000-000000000001.event.")
    assert b"secret" not in message.body


def test_an_event_is_shown_with_its_first_date_and_its_figures() -> None:
    date = schedule(doors_time=NOW + timedelta(days=9))
    figures = Figures(capacity=100, available=60, sold=30, sold_out=False, inventory_version=7)
    view = convert.EventView(
        event=event(state=EventState.ON_SALE, artist_percentage=Decimal("12.50")),
        venue_name="Main Hall",
        schedules=(date,),
        figures=figures,
    )
    shown = convert.to_proto(view, member=False)
    assert shown.starts_at == shown.event_date
    assert shown.starts_at.ToDatetime() == date.start_time.replace(tzinfo=None)
    assert shown.timezone == "Europe/Amsterdam"
    assert (shown.capacity, shown.available_capacity, shown.sold_count, shown.inventory_version) == (100, 60, 30, 7)
    assert shown.artist_percentage == "12.50"
    assert shown.sales_allowed
    assert shown.scanning_allowed
    blank = convert.to_proto(convert.EventView(event=event(), venue_name="", schedules=(), figures=None), member=False)
    assert not blank.HasField("capacity")
    assert not blank.HasField("starts_at")


def test_fields_that_are_named_and_absent_are_cleared() -> None:
    message = event_pb2.Event(name="New", kind=event_pb2.Event.Kind.SERIES, sales_end_time=Timestamp(seconds=1))
    changes = convert.changes(message, ["name", "kind", "sales_end_time", "description", "tags", "visibility"])
    assert changes["name"] == "New"
    assert changes["kind"] is EventKind.SERIES
    assert changes["sales_end_time"].timestamp() == 1
    assert (changes["description"], changes["tags"], changes["visibility"]) == (None, (), None)


def test_free_form_fields_have_a_size() -> None:
    message = event_pb2.Event()
    message.settings["text"] = "x" * 40_000
    with pytest.raises(DomainError) as caught:
        convert.changes(message, ["settings"])
    assert [one.field for one in caught.value.violations] == ["event.settings"]


def test_inventory_messages() -> None:
    good = messages_pb2.InventoryChanged(
        event_id="018f0000-0000-7000-8000-000000000002",
        organization_id="018f0000-0000-7000-8000-000000000001",
        version=3,
        totals=messages_pb2.InventoryTotals(total=10, held=1, pending=2, sold=3, blocked=1),
        crossings=[
            messages_pb2.ThresholdCrossing(kind=messages_pb2.ThresholdCrossing.Kind.SOLD_OUT, section_id="one"),
            messages_pb2.ThresholdCrossing(kind=messages_pb2.ThresholdCrossing.Kind.CAPACITY_WARNING),
        ],
    )
    change = change_of(good)
    assert (change.total, change.held, change.pending, change.sold, change.blocked) == (10, 1, 2, 3, 1)
    assert change.sold_out is None  # a section's crossing is not the event's
    good.crossings.add(kind=messages_pb2.ThresholdCrossing.Kind.REOPENED)
    assert change_of(good).sold_out is False
    for name, value in (("version", 0), ("event_id", "x"), ("organization_id", "")):
        bad = messages_pb2.InventoryChanged()
        bad.CopyFrom(good)
        setattr(bad, name, value)
        with pytest.raises(PoisonMessage):
            change_of(bad)
