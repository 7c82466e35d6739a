from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.api.pricing.v1 import price_tier_pb2, price_tier_service_pb2
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from tests.integration.pricing.conftest import tier_of, usd

if TYPE_CHECKING:
    from tests.integration.pricing.conftest import Pricing

CREATE = price_tier_service_pb2.CreatePriceTierRequest
GET = price_tier_service_pb2.GetPriceTierRequest
LIST = price_tier_service_pb2.ListPriceTiersRequest


def fields_of(error: DomainError) -> list[str]:
    return [violation.field for violation in error.violations]


async def test_a_tier_is_read_as_it_was_created(pricing: Pricing) -> None:
    event_id = pricing.event()
    section_id, schedule_id = pricing.world.add_section(event_id), pricing.world.add_schedule(event_id)
    given: dict[str, Any] = {
        "schedule_id": schedule_id,
        "section_id": section_id,
        "name": "Früh & “günstig”",
        "description": "'; DROP TABLE price_tiers; --",
        "tier": "VIP",
        "base_price": usd("100.00"),
        "service_fee": usd("10.00"),
        "facility_fee": usd("5.00"),
        "tax_rate": "0.0875",
        "tax_inclusive": True,
        "is_dynamic": True,
        "min_price": usd("50.00"),
        "max_price": usd("150.00"),
        "current_price": usd("90.00"),
        "early_bird_price": usd("80.00"),
        "early_bird_end_time": "2026-05-01T12:00:00Z",
        "last_minute_price": usd("120.00"),
        "last_minute_start_time": "2026-06-01T12:00:00.123456Z",
        "group_size_min": 10,
        "group_discount_percent": "12.5",
        "sales_start_time": "2026-04-01T00:00:00Z",
        "sales_end_time": "2026-07-01T00:00:00Z",
        "max_per_order": 8,
        "max_per_customer": 12,
        "active": False,
        "visible": False,
        "display_order": -3,
    }
    created = await pricing.create(event_id, **given)
    read = (await pricing.call("GetPriceTier", GET(price_tier_id=created.id))).price_tier
    assert read == created
    expected = tier_of(**given)
    for field, value in expected.ListFields():
        assert getattr(read, field.name) == value, field.name
    assert (read.version, read.etag, read.event_id) == (1, "1", event_id)
    assert read.organization_id == pricing.organization_id
    assert read.create_time == read.update_time


async def test_what_is_left_out_has_its_default(pricing: Pricing) -> None:
    tier = await pricing.create(pricing.event())
    assert (tier.service_fee.amount, tier.facility_fee.amount, tier.tax_rate) == ("0.00", "0.00", "0")
    assert (tier.active, tier.visible, tier.is_dynamic, tier.display_order) == (True, True, False, 0)
    assert not tier.HasField("current_price")
    assert not tier.HasField("section_id")


@pytest.mark.parametrize(
    ("given", "reason", "field"),
    [
        ({"base_price": usd("-1.00")}, Reason.VALIDATION_FAILED, "price_tier.base_price"),
        ({"base_price": usd("1.001")}, Reason.VALIDATION_FAILED, "price_tier.base_price.amount"),
        (
            {"base_price": {"currency_code": "XXX", "amount": "1.00"}},
            Reason.UNKNOWN_CURRENCY,
            "price_tier.base_price.currency_code",
        ),
        (
            {"service_fee": {"currency_code": "EUR", "amount": "1.00"}},
            Reason.UNKNOWN_CURRENCY,
            "price_tier.service_fee",
        ),
        ({"tax_rate": "1.5"}, Reason.VALIDATION_FAILED, "price_tier.tax_rate"),
        ({"is_dynamic": True, "min_price": usd("1.00")}, Reason.VALIDATION_FAILED, "price_tier.max_price"),
        ({"group_size_min": 10}, Reason.VALIDATION_FAILED, "price_tier.group_discount_percent"),
        (
            {"sales_start_time": "2026-05-01T12:00:00Z", "sales_end_time": "2026-05-01T12:00:00Z"},
            Reason.INVALID_DATE_RANGE,
            "price_tier.sales_end_time",
        ),
        ({"name": ""}, Reason.VALIDATION_FAILED, "price_tier.name"),
        ({"name": "x" * 101}, Reason.VALIDATION_FAILED, "price_tier.name"),
        ({"name": "nul\0"}, Reason.VALIDATION_FAILED, "price_tier.name"),
        ({"section_id": "not-a-uuid"}, Reason.VALIDATION_FAILED, "price_tier.section_id"),
        ({"version": "7"}, Reason.VALIDATION_FAILED, "price_tier.version"),
    ],
)
async def test_bad_input_is_refused_and_changes_nothing(
    pricing: Pricing, given: dict[str, Any], reason: Reason, field: str
) -> None:
    event_id = pricing.event()
    with pytest.raises(DomainError) as refusal:
        await pricing.create(event_id, **given)
    assert (refusal.value.reason, fields_of(refusal.value)) == (reason, [field])
    assert pricing.rows("SELECT 1 FROM pricing.price_tiers WHERE event_id = %s", event_id) == []
    assert pricing.rows("SELECT 1 FROM pricing.outbox WHERE subject LIKE %s", f"%{event_id}%") == []


async def test_an_unknown_event_is_told_by_events(pricing: Pricing) -> None:
    unknown = new_id()
    with pytest.raises(DomainError) as refusal:
        await pricing.create(unknown)
    assert refusal.value.reason is Reason.EVENT_NOT_FOUND
    assert pricing.world.asked[-1] == ("GetEvent", "user:organizer")


async def test_event_section_and_date_must_belong_together(pricing: Pricing) -> None:
    event_id, other_event = pricing.event(), pricing.event()
    schedule_id = pricing.world.add_schedule(event_id)
    of_other = pricing.world.add_section(other_event)
    of_other_date = pricing.world.add_section(event_id, pricing.world.add_schedule(event_id))
    cases: list[tuple[dict[str, str], Reason, str]] = [
        ({"section_id": of_other}, Reason.PRICE_TIER_NOT_APPLICABLE, "price_tier.section_id"),
        ({"section_id": new_id()}, Reason.SECTION_NOT_FOUND, "price_tier.section_id"),
        (
            {"schedule_id": pricing.world.add_schedule(other_event)},
            Reason.SCHEDULE_NOT_FOUND,
            "price_tier.schedule_id",
        ),
        (
            {"schedule_id": schedule_id, "section_id": of_other_date},
            Reason.PRICE_TIER_NOT_APPLICABLE,
            "price_tier.schedule_id",
        ),
    ]
    for given, reason, field in cases:
        with pytest.raises(DomainError) as refusal:
            await pricing.create(event_id, **given)
        assert (refusal.value.reason, fields_of(refusal.value)) == (reason, [field])
    tier = await pricing.create(event_id, schedule_id=schedule_id)
    with pytest.raises(DomainError) as refusal:
        await pricing.update(tier.id, section_id=of_other)
    assert refusal.value.reason is Reason.PRICE_TIER_NOT_APPLICABLE
    with pytest.raises(DomainError) as refusal:
        await pricing.update(tier.id, section_id=of_other_date)
    assert fields_of(refusal.value) == ["price_tier.schedule_id"]


async def test_a_name_is_taken_once_per_event(pricing: Pricing) -> None:
    event_id = pricing.event()
    await pricing.create(event_id, name="Balcony")
    other = await pricing.create(event_id, name="Stalls")
    await pricing.create(pricing.event(), name="Balcony")
    with pytest.raises(DomainError) as created:
        await pricing.create(event_id, name="Balcony")
    with pytest.raises(DomainError) as renamed:
        await pricing.update(other.id, name="Balcony")
    for refusal in (created, renamed):
        assert refusal.value.reason is Reason.NAME_TAKEN
        assert refusal.value.metadata == {"name": "Balcony"}
        assert fields_of(refusal.value) == ["price_tier.name"]


async def test_every_change_is_a_new_version_that_stays_readable(pricing: Pricing) -> None:
    tier = await pricing.create(pricing.event())
    changed = await pricing.update(tier.id, base_price=usd("110.00"))
    again = await pricing.update(tier.id, base_price=usd("110.00"), service_fee=usd("2.00"))
    assert (changed.version, again.version, again.etag) == (2, 3, "3")
    history = pricing.rows(
        "SELECT version, base_price, service_fee, actor FROM pricing.price_tier_versions"
        " WHERE price_tier_id = %s ORDER BY version",
        tier.id,
    )
    assert history == [
        (1, 10000, 0, "user:organizer"),
        (2, 11000, 0, "user:organizer"),
        (3, 11000, 200, "user:organizer"),
    ]
    versions = pricing.rows("SELECT version, type FROM pricing.outbox WHERE aggregate_id = %s ORDER BY 1", tier.id)
    assert versions == [(version, "price_tier_changed") for version in (1, 2, 3)]


async def test_a_change_that_changes_nothing_is_no_new_version(pricing: Pricing) -> None:
    tier = await pricing.create(pricing.event())
    same = await pricing.update(tier.id, base_price=usd("100.00"), active=True)
    assert same == tier


async def test_a_masked_field_that_is_absent_is_cleared_and_others_stay(pricing: Pricing) -> None:
    tier = await pricing.create(pricing.event(), description="Front", max_per_order=4, service_fee=usd("3.00"))
    changed = await pricing.update(tier.id, mask="description,max_per_order,display_order", display_order=5)
    assert not changed.HasField("description")
    assert not changed.HasField("max_per_order")
    assert (changed.display_order, changed.service_fee.amount) == (5, "3.00")


@pytest.mark.parametrize("mask", ["nothing", "version", "base_price.amount", "name"])
async def test_a_mask_that_cannot_be_applied_is_refused(pricing: Pricing, mask: str) -> None:
    tier = await pricing.create(pricing.event())
    with pytest.raises(DomainError) as refusal:
        await pricing.update(tier.id, mask=mask)
    assert refusal.value.reason is Reason.VALIDATION_FAILED


async def test_an_update_of_nothing_is_refused(pricing: Pricing) -> None:
    tier = await pricing.create(pricing.event())
    with pytest.raises(DomainError) as refusal:
        await pricing.update(tier.id)
    assert refusal.value.reason is Reason.VALIDATION_FAILED


async def test_the_currency_is_fixed(pricing: Pricing) -> None:
    tier = await pricing.create(pricing.event())
    with pytest.raises(DomainError) as refusal:
        await pricing.update(tier.id, base_price={"currency_code": "EUR", "amount": "100.00"})
    assert refusal.value.reason is Reason.UNKNOWN_CURRENCY


async def test_an_update_with_an_old_etag_is_refused(pricing: Pricing) -> None:
    tier = await pricing.create(pricing.event())
    await pricing.update(tier.id, base_price=usd("110.00"), etag=tier.etag)
    with pytest.raises(DomainError) as refusal:
        await pricing.update(tier.id, base_price=usd("120.00"), etag=tier.etag)
    assert (refusal.value.reason, refusal.value.metadata) == (Reason.ETAG_MISMATCH, {"etag": "2"})


async def test_of_racing_updates_with_one_etag_one_wins(pricing: Pricing) -> None:
    tier = await pricing.create(pricing.event())
    outcomes = await asyncio.gather(
        *(pricing.update(tier.id, base_price=usd(f"{price}.00"), etag=tier.etag) for price in range(101, 109)),
        return_exceptions=True,
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, DomainError)]
    assert len(refused) == 7
    assert {error.reason for error in refused} == {Reason.ETAG_MISMATCH}
    assert pricing.rows("SELECT count(*) FROM pricing.price_tier_versions WHERE price_tier_id = %s", tier.id) == [(2,)]


async def test_a_repeated_create_gives_the_same_tier(pricing: Pricing) -> None:
    event_id = pricing.event()
    request = CREATE(event_id=event_id, price_tier=tier_of(), request_id=new_id())
    first, metadata = await pricing.call_with_metadata("CreatePriceTier", request)
    again, replay = await pricing.call_with_metadata("CreatePriceTier", request)
    assert first == again
    assert "holdfast-replayed" not in metadata
    assert replay["holdfast-replayed"] == "true"
    other = CREATE(event_id=event_id, price_tier=tier_of(name="Other"), request_id=request.request_id)
    with pytest.raises(DomainError) as refusal:
        await pricing.call("CreatePriceTier", other)
    assert refusal.value.reason is Reason.IDEMPOTENCY_KEY_REUSED


async def test_concurrent_repetitions_make_one_tier(pricing: Pricing) -> None:
    event_id = pricing.event()
    request = CREATE(event_id=event_id, price_tier=tier_of(), request_id=new_id())
    answers = await asyncio.gather(*(pricing.call("CreatePriceTier", request) for _ in range(20)))
    assert len({answer.price_tier.id for answer in answers}) == 1
    assert pricing.rows("SELECT count(*) FROM pricing.price_tiers WHERE event_id = %s", event_id) == [(1,)]


async def test_a_repeated_update_gives_the_tier_as_it_is_now(pricing: Pricing) -> None:
    tier = await pricing.create(pricing.event())
    request_id = new_id()
    await pricing.update(tier.id, base_price=usd("110.00"), etag="1", request_id=request_id)
    await pricing.update(tier.id, base_price=usd("120.00"))
    again = await pricing.update(tier.id, base_price=usd("110.00"), etag="1", request_id=request_id)
    assert (again.version, again.base_price.amount) == (3, "120.00")


async def test_a_refused_request_is_judged_afresh(pricing: Pricing) -> None:
    event_id, request_id = new_id(), new_id()
    with pytest.raises(DomainError):
        await pricing.create(event_id, request_id=request_id)
    pricing.world.organizations[event_id] = pricing.organization_id
    assert (await pricing.create(event_id, request_id=request_id)).version == 1


async def test_another_organizations_tier_does_not_exist(pricing: Pricing) -> None:
    tier = await pricing.create(pricing.event())
    other = new_id()
    unknown = new_id()
    for price_tier_id in (tier.id, unknown):
        with pytest.raises(DomainError) as refusal:
            await pricing.call("GetPriceTier", GET(price_tier_id=price_tier_id), organization_id=other)
        assert refusal.value.reason is Reason.PRICE_TIER_NOT_FOUND
        assert refusal.value.metadata == {"price_tier_id": price_tier_id}
        update = price_tier_service_pb2.UpdatePriceTierRequest(
            price_tier_id=price_tier_id, price_tier=price_tier_pb2.PriceTier(name="Mine")
        )
        with pytest.raises(DomainError) as refusal:
            await pricing.call("UpdatePriceTier", update, organization_id=other)
        assert refusal.value.reason is Reason.PRICE_TIER_NOT_FOUND
    listed = await pricing.call("ListPriceTiers", LIST(event_id=tier.event_id), organization_id=other)
    assert list(listed.price_tiers) == []


async def test_buyers_see_visible_tiers_only(pricing: Pricing) -> None:
    event_id = pricing.event()
    shown = await pricing.create(event_id, name="Shown")
    hidden = await pricing.create(event_id, name="Hidden", visible=False)
    for role, names in (("buyer", ["Shown"]), ("organizer", ["Shown", "Hidden"]), ("box_office", ["Shown", "Hidden"])):
        listed = await pricing.call("ListPriceTiers", LIST(event_id=event_id, with_total=True), role=role)
        assert [tier.name for tier in listed.price_tiers] == names
        assert listed.pagination.total == len(names)
    assert (await pricing.call("GetPriceTier", GET(price_tier_id=shown.id), role="buyer")).price_tier == shown
    with pytest.raises(DomainError) as refusal:
        await pricing.call("GetPriceTier", GET(price_tier_id=hidden.id), role="buyer")
    assert refusal.value.reason is Reason.PRICE_TIER_NOT_FOUND


async def test_who_may_only_read_cannot_write(pricing: Pricing) -> None:
    request = CREATE(event_id=pricing.event(), price_tier=tier_of())
    for role in ("buyer", "box_office", "analyst", "scanner"):
        with pytest.raises(DomainError) as refusal:
            await pricing.call("CreatePriceTier", request, role=role)
        assert refusal.value.reason is Reason.PERMISSION_MISSING


async def test_pages_follow_display_order_then_creation(pricing: Pricing) -> None:
    event_id = pricing.event()
    for number, order in enumerate((2, 1, 1, 0, 2)):
        await pricing.create(event_id, name=f"tier {number}", display_order=order, active=number != 4)
    names: list[str] = []
    token = ""
    for _ in range(3):
        request = LIST(event_id=event_id, page_size=2, page_token=token, with_total=True)
        page = await pricing.call("ListPriceTiers", request)
        assert page.pagination.total == 5
        names += [tier.name for tier in page.price_tiers]
        token = page.pagination.next_page_token
    assert names == ["tier 3", "tier 1", "tier 2", "tier 0", "tier 4"]
    assert token == ""
    active = await pricing.call("ListPriceTiers", LIST(event_id=event_id, only_active=True))
    assert [tier.name for tier in active.price_tiers] == ["tier 3", "tier 1", "tier 2", "tier 0"]
    assert not active.pagination.HasField("total")


async def test_a_page_token_is_good_for_its_own_list_only(pricing: Pricing) -> None:
    event_id = pricing.event()
    for number in range(3):
        await pricing.create(event_id, name=f"tier {number}")
    page = await pricing.call("ListPriceTiers", LIST(event_id=event_id, page_size=1))
    token = page.pagination.next_page_token
    for request, role in (
        (LIST(event_id=pricing.event(), page_token=token), "organizer"),
        (LIST(event_id=event_id, page_token=token, only_active=True), "organizer"),
        (LIST(event_id=event_id, page_token=token[:-2] + "AA"), "organizer"),
        (LIST(event_id=event_id, page_token=token), "buyer"),
    ):
        with pytest.raises(DomainError) as refusal:
            await pricing.call("ListPriceTiers", request, role=role)
        assert refusal.value.reason is Reason.PAGE_TOKEN_INVALID


async def test_an_event_that_does_not_exist_has_no_tiers(pricing: Pricing) -> None:
    page = await pricing.call("ListPriceTiers", LIST(event_id=new_id(), with_total=True))
    assert list(page.price_tiers) == []
    assert (page.pagination.total, page.pagination.next_page_token) == (0, "")
    assert page.HasField("server_time")


async def test_the_history_cannot_be_changed_by_the_service(pricing: Pricing) -> None:
    granted = pricing.rows(
        "SELECT table_name, privilege_type FROM information_schema.role_table_grants"
        " WHERE grantee = 'holdfast_pricing_service' AND table_name LIKE 'price_tier%%' ORDER BY 1, 2"
    )
    assert granted == [
        ("price_tier_versions", "INSERT"),
        ("price_tier_versions", "SELECT"),
        ("price_tiers", "INSERT"),
        ("price_tiers", "SELECT"),
        ("price_tiers", "UPDATE"),
    ]


async def test_a_request_id_that_cannot_be_stored_is_refused(pricing: Pricing) -> None:
    for request_id in ("nul\0", "x" * 256):
        with pytest.raises(DomainError) as refusal:
            await pricing.create(pricing.event(), request_id=request_id)
        assert (refusal.value.reason, fields_of(refusal.value)) == (Reason.VALIDATION_FAILED, ["request_id"])
