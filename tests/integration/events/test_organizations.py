"""Organizations and venues over RPC, and how what capacity must know of them reaches every event."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format

from holdfast.api.events.v1 import organization_pb2, organization_service_pb2_grpc, venue_pb2
from holdfast.api.events.v1 import organization_service_pb2 as pb
from holdfast.common.errors import Reason
from holdfast.common.ids import new_id
from holdfast.common.mesh_identity import Principal
from tests.integration.events.conftest import refused, until

if TYPE_CHECKING:
    from tests.integration.events.conftest import Events


async def test_an_organization_is_created_once_with_defaults_and_a_slug_of_its_own(events: Events) -> None:
    key, name = new_id(), f"Grand Théâtre {new_id()}"
    platform = {"role": "platform_admin", "organization_id": ""}
    answers = await asyncio.gather(
        *(events.call("CreateOrganization", **platform, organization={"name": name}, request_id=key) for _ in range(10))
    )
    assert len({one.organization.id for one in answers}) == 1
    made = answers[0].organization
    assert made.slug.startswith("grand-theatre-")
    assert organization_pb2.Organization.State.Name(made.state) == "ACTIVE"
    settings = made.settings
    assert (settings.currency_code, settings.time_zone, settings.default_event_minutes) == ("USD", "UTC", 180)
    assert (settings.hold_ttl_seconds_default, settings.hold_ttl_seconds_max) == (900, 3600)
    assert (settings.event_lead_minutes_min, settings.event_lead_days_max) == (120, 365)
    error = await refused(events.call("CreateOrganization", **platform, organization={"name": name}))
    assert (error.reason, error.metadata["slug"]) == (Reason.SLUG_TAKEN, made.slug)
    assert [kind for _, kind, _ in events.messages(made.id)] == ["organization_changed"]
    error = await refused(events.call("CreateOrganization", role="owner", organization={"name": new_id()}))
    assert error.reason is Reason.PERMISSION_MISSING


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"currency_code": "XXX"}, Reason.UNKNOWN_CURRENCY),
        ({"time_zone": "Mars/Olympus"}, Reason.UNKNOWN_TIME_ZONE),
        ({"hold_ttl_seconds_default": 4000}, Reason.VALIDATION_FAILED),
        ({"hold_ttl_seconds_max": 5}, Reason.VALIDATION_FAILED),
    ],
)
async def test_wrong_settings(events: Events, settings: Any, reason: Any) -> None:
    given = {"name": f"Wrong {new_id()}", "settings": settings}
    error = await refused(
        events.call("CreateOrganization", role="platform_admin", organization_id="", organization=given)
    )
    assert error.reason is reason


async def test_members_read_and_change_their_own_organization_only(events: Events) -> None:
    other = await events.organization()

    async def call(rpc: str, wanted: str, role: str = "owner", **fields: object) -> Any:
        peer = events.peers["gateway"]
        stub = organization_service_pb2_grpc.OrganizationServiceStub(peer.channel)
        request = json_format.ParseDict({"organization_id": wanted, **fields}, getattr(pb, f"{rpc}Request")())
        principal = Principal(f"user:{role}", events.organization_id, frozenset({role}))
        return await peer.call(getattr(stub, rpc), request, principal=principal, deadline_seconds=5)

    assert (await call("GetOrganization", events.organization_id)).organization.id == events.organization_id
    assert (await refused(call("GetOrganization", other))).reason is Reason.ORGANIZATION_NOT_FOUND
    assert (await call("GetOrganization", other, "platform_admin")).organization.id == other
    error = await refused(call("UpdateOrganization", other, organization={"name": "Mine"}))
    assert error.reason is Reason.ORGANIZATION_NOT_FOUND

    event = await events.event()
    before = (await call("GetOrganization", events.organization_id)).organization
    changed = await call(
        "UpdateOrganization",
        events.organization_id,
        organization={"settings": {"hold_ttl_seconds_default": 600}},
        etag=before.etag,
    )
    assert changed.organization.settings.hold_ttl_seconds_default == 600
    assert changed.organization.settings.hold_ttl_seconds_max == 3600
    error = await refused(
        call("UpdateOrganization", events.organization_id, organization={"name": "x"}, etag=before.etag)
    )
    assert error.reason is Reason.ETAG_MISMATCH

    async def told() -> bool:
        return events.world.controls[event.id][-1].hold_ttl_seconds_default == 600

    await until(told)
    assert [(version, kind) for version, kind, _ in events.messages(event.id)] == [
        (1, "event_created"),
        (2, "event_updated"),
    ]
    assert list(events.messages(event.id)[-1][2].changed_fields) == ["controls"]


async def test_a_venue_comes_back_as_it_was_given(events: Events) -> None:
    given = {
        "name": "Grote Zaal",
        "kind": "PHYSICAL",
        "time_zone": "Europe/Amsterdam",
        "address": {"lines": ["Kade 1"], "city": "Amsterdam", "postal_code": "1000 AA", "country_code": "NL"},
        "max_capacity": 1500,
        "settings": {"access_rules": "no bags", "default_doors_minutes": 30},
        "gates": [{"id": "north", "name": "North"}, {"id": "south", "name": "South"}],
    }
    key = new_id()
    made = (await events.call("CreateVenue", venue=given, request_id=key)).venue
    assert (await events.call("CreateVenue", venue=given, request_id=key)).venue == made
    assert (await events.call("GetVenue", venue_id=made.id)).venue == made
    assert (made.slug, made.etag, venue_pb2.Venue.Kind.Name(made.kind)) == ("grote-zaal", "1", "PHYSICAL")
    assert made.address.city == "Amsterdam"
    assert [gate.id for gate in made.gates] == ["north", "south"]
    assert (await events.call("CreateVenue", venue=given)).venue.slug == "grote-zaal-2"
    changed = await events.call(
        "UpdateVenue", venue_id=made.id, venue={"name": "Kleine Zaal"}, mask=["name", "settings", "gates"], etag="1"
    )
    assert (changed.venue.name, changed.venue.slug, changed.venue.etag) == ("Kleine Zaal", "grote-zaal", "2")
    assert not changed.venue.HasField("settings")
    assert not changed.venue.gates
    assert changed.venue.address == made.address
    error = await refused(events.call("UpdateVenue", venue_id=made.id, venue={"name": "x"}, etag="1"))
    assert error.reason is Reason.ETAG_MISMATCH
    error = await refused(events.call("GetVenue", venue_id=new_id()))
    assert error.reason is Reason.VENUE_NOT_FOUND
    twice = [{"id": "a", "name": "A"}, {"id": "a", "name": "B"}]
    error = await refused(events.call("CreateVenue", venue=given | {"gates": twice}))
    assert error.reason is Reason.VALIDATION_FAILED
    assert [version for version, _, _ in events.messages(made.id)] == [1, 2]


async def test_venues_are_listed_newest_first(events: Events) -> None:
    events.organization_id = await events.organization()
    ids = [(await events.venue()).id for _ in range(3)]
    page = await events.call("ListVenues", page_size=2, with_total=True)
    rest = await events.call("ListVenues", page_size=2, page_token=page.pagination.next_page_token)
    assert [one.id for one in [*page.venues, *rest.venues]] == ids[::-1]
    assert page.pagination.total == 3


async def test_a_new_size_of_a_venue_reaches_each_of_its_live_events_in_a_version_of_its_own(events: Events) -> None:
    venue = await events.venue()
    live = [await events.event(venue_id=venue.id, days=None, name=f"E{n}") for n in range(8)]
    over = await events.event(venue_id=venue.id, days=None, name="Over")
    await events.call("CancelEvent", event_id=over.id, reason="rain")
    elsewhere = await events.event(days=None)
    await events.call("UpdateVenue", venue_id=venue.id, venue={"max_capacity": 700})

    async def told() -> bool:
        return all(events.world.controls[one.id][-1].venue_max_capacity == 700 for one in live)

    await until(told)
    for one in live:
        assert [version for version, _, _ in events.messages(one.id)] == [1, 2]
        assert events.messages(one.id)[-1][2].controls.venue_max_capacity == 700
    assert len(events.messages(over.id)) == 2
    assert len(events.messages(elsewhere.id)) == 1
    assert events.rows("SELECT count(*) FROM events.due_work WHERE kind = 'CONTROLS'") == [(0,)]
