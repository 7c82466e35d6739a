"""Seatings with prices: price tiers, then sections and seats, all of it once or nothing, whatever comes between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from holdfast.capacity import outside
from holdfast.common import permissions
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from tests.integration.capacity.conftest import refused, schedule, until
from tests.integration.capacity.priced import Priced, both
from tests.integration.capacity.racing import outcomes, reasons

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from holdfast.local.nats import EmbeddedNats
    from tests.support.postgres import TestDatabase

HALL: dict[str, Any] = {"rows": 25, "cols": 20, "sections": [{"name": "A", "price": "2000", "subsections": 2}]}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def priced(database: TestDatabase, nats_server: EmbeddedNats, identity_dir: Path) -> AsyncIterator[Priced]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outside, "SEATING_SECONDS", 15.0)  # calls of pricing are held for as long as a test needs
        async with both(database, nats_server, identity_dir) as running:
            yield running


def one(price: str, *, name: str = "A", rows: int = 2, **config: Any) -> dict[str, Any]:
    """Give a configuration of one section with ten seats a row."""
    return {"rows": rows, "cols": 10, "sections": [{"name": name, "price": price}], **config}


def nothing_left(priced: Priced, event_id: str) -> bool:
    return (priced.sections(event_id), priced.tiers(event_id), priced.sagas()) == ([], [], 0)


async def test_each_part_of_a_section_has_its_price(priced: Priced) -> None:
    event_id = await priced.capacity.event()
    config = {**HALL, "sections": [*HALL["sections"], {"name": "Box", "rows": 1, "cols": 4}]}
    made = await priced.generate(event_id, config)
    assert [(each.name, each.subsection, each.total) for each in made.sections] == [
        ("A", 1, 500),
        ("A", 2, 500),
        ("Box", 0, 4),
    ]
    assert made.seat_count == 1004
    first, second, _ = made.sections
    assert priced.tiers(event_id) == [("A-1", first.id, 200_000, "USD"), ("A-2", second.id, 200_000, "USD")]
    assert priced.sagas() == 0
    tier_id = priced.capacity.rows("SELECT id FROM pricing.price_tiers WHERE section_id = %s", first.id)[0][0]
    hold = (
        await priced.capacity.call("PlaceHold", section_id=first.id, price_tier_id=tier_id, seats={"labels": ["A-1"]})
    ).hold
    assert hold.lines[0].locked_price.breakdown.total.amount == "2000.00"
    actors = priced.capacity.rows("SELECT actor FROM pricing.price_tier_versions WHERE event_id = %s", event_id)
    assert actors == [("user:owner",), ("user:owner",)]
    await priced.capacity.check(event_id)


async def test_explicit_layouts_and_dates_have_prices_of_their_own(priced: Priced) -> None:
    dates = [schedule(), schedule(days=11)]
    event_id = await priced.capacity.event(schedules=dates)
    rows = [{"runs": [{"seats": 3}, {"gap": 1}, {"seats": 2}]}, {"runs": [{"seats": 4}]}]
    config = {
        "currency_code": "JPY",
        "sections": [{"name": "Stalls", "price": "0", "row_layouts": rows, "tier": "VIP"}],
    }
    for date in dates:
        await priced.generate(event_id, config, schedule_id=date.schedule_id)
    shown = priced.capacity.rows(
        "SELECT schedule_id, name, base_price, currency_code, tier FROM pricing.price_tiers WHERE event_id = %s"
        " ORDER BY id",
        event_id,
    )
    assert shown == [(date.schedule_id, "Stalls", 0, "JPY", "VIP") for date in dates]


@pytest.mark.parametrize(
    ("price", "currency_code", "minor"),
    [("20.1", "", 2010), ("0.07", "", 7), ("19.99", "EUR", 1999), ("2000", "JPY", 2000), ("1.234", "BHD", 1234)],
)
async def test_a_price_is_exactly_what_was_written(priced: Priced, price: str, currency_code: str, minor: int) -> None:
    event_id = await priced.capacity.event()
    made = await priced.generate(event_id, one(price, currency_code=currency_code))
    assert priced.tiers(event_id) == [("A", made.sections[0].id, minor, currency_code or "USD")]


async def test_the_same_key_gives_the_same_answer_and_nothing_more(priced: Priced) -> None:
    event_id, key = await priced.capacity.event(), new_id()
    first = await priced.generate(event_id, HALL, request_id=key)
    tiers = priced.tiers(event_id)
    async with priced.pricing_away():
        again, metadata = await priced.capacity.call_with_metadata(
            "GenerateSeating", event_id=event_id, config=HALL, request_id=key
        )
    assert (again, "holdfast-replayed" in metadata) == (first, True)
    error = await refused(priced.generate(event_id, one("1"), request_id=key))
    assert error.reason is Reason.IDEMPOTENCY_KEY_REUSED
    assert priced.tiers(event_id) == tiers
    assert len(priced.sections(event_id)) == 2


async def test_callers_with_the_same_key_share_one_seating(priced: Priced) -> None:
    event_id, key = await priced.capacity.event(), new_id()
    answers = await asyncio.gather(*(priced.generate(event_id, HALL, request_id=key) for _ in range(8)))
    assert {tuple(each.id for each in answer.sections) for answer in answers} == {
        tuple(section_id for _, _, section_id in priced.sections(event_id))
    }
    assert [tier[:2] for tier in priced.tiers(event_id)] == [
        (f"A-{number}", section_id) for _, number, section_id in priced.sections(event_id)
    ]
    assert priced.sagas() == 0
    await priced.capacity.check(event_id)


async def test_seatings_that_race_for_the_venue_stay_within_it_and_the_loser_leaves_nothing(priced: Priced) -> None:
    event_id = await priced.capacity.event(venue_max_capacity=5000)
    names = ("A", "B", "C")
    async with priced.pricing.gate.shut():
        racing = [asyncio.create_task(priced.generate(event_id, one("10", name=name, rows=200))) for name in names]
        await priced.until_begun(3)  # each of them fits as long as none of the others is there
    done = await outcomes(*racing)
    assert reasons(done) == {"ok": 2, Reason.VENUE_CAPACITY_EXCEEDED: 1}
    made = {section.id for answer in done if not isinstance(answer, DomainError) for section in answer.sections}
    assert {section_id for _, _, section_id in priced.sections(event_id)} == made
    assert {section_id for _, section_id, _, _ in priced.tiers(event_id)} == made
    assert priced.sagas() == 0
    await priced.capacity.check(event_id)


@pytest.mark.parametrize(
    ("controls", "config", "reason"),
    [
        ({"venue_max_capacity": 19}, one("10"), Reason.VENUE_CAPACITY_EXCEEDED),
        ({"state": "CANCELLED"}, one("10"), Reason.EVENT_CANCELLED),
        ({"deleted": True}, one("10"), Reason.EVENT_NOT_FOUND),
        ({}, one("10", currency_code="XXX"), Reason.UNKNOWN_CURRENCY),
        ({}, one("10.001"), Reason.INVALID_SEATING_CONFIG),
        ({}, one("1000000000.01"), Reason.INVALID_SEATING_CONFIG),
    ],
)
async def test_what_cannot_be_made_begins_nothing(
    priced: Priced, controls: dict[str, Any], config: dict[str, Any], reason: Reason
) -> None:
    event_id = await priced.capacity.event(**controls)
    async with priced.pricing.gate.shut():  # pricing is not asked
        assert (await refused(priced.generate(event_id, config))).reason is reason
    assert nothing_left(priced, event_id)


async def test_sections_that_are_refused_after_all_take_their_prices_with_them(priced: Priced) -> None:
    event_id, key = await priced.capacity.event(venue_max_capacity=100), new_id()
    async with priced.pricing.gate.shut():
        asking = asyncio.create_task(priced.generate(event_id, one("10"), request_id=key))
        await priced.until_begun()
        other = await priced.generate(event_id, {"rows": 10, "cols": 9, "sections": [{"name": "B"}]})
    assert (await refused(asking)).reason is Reason.VENUE_CAPACITY_EXCEEDED
    assert [name for name, _, _ in priced.sections(event_id)] == ["B"]
    assert (priced.tiers(event_id), priced.sagas()) == ([], 0)
    # It is judged afresh, and the names are free.
    await priced.capacity.call("DeleteSection", section_id=other.sections[0].id)
    made = await priced.generate(event_id, one("10"), request_id=key)
    assert priced.tiers(event_id) == [("A", made.sections[0].id, 1000, "USD")]


async def test_a_price_tier_that_has_the_name_refuses_the_seating(priced: Priced) -> None:
    event_id = await priced.capacity.event()
    section = (await priced.generate(event_id, one("10"))).sections[0]
    tiers = priced.tiers(event_id)
    await priced.capacity.call("DeleteSection", section_id=section.id)
    config = {"rows": 1, "cols": 1, "sections": [{"name": "B", "price": "1"}, {"name": "A", "price": "1"}]}
    error = await refused(priced.generate(event_id, config))
    assert (error.reason, error.metadata["name"]) == (Reason.NAME_TAKEN, "A")
    assert (priced.sections(event_id), priced.tiers(event_id), priced.sagas()) == ([], tiers, 0)


async def test_without_pricing_it_is_said_and_the_seating_goes_on_by_itself(priced: Priced) -> None:
    event_id, key = await priced.capacity.event(), new_id()

    async def counted() -> bool:
        value = priced.capacity.app.metrics.registry.get_sample_value
        return bool(value("holdfast_seatings_resumed_total", {"outcome": "made"}))

    async with priced.pricing_away():
        error = await refused(priced.generate(event_id, HALL, request_id=key))
        assert (error.reason, error.metadata["dependency"]) == (Reason.DEPENDENCY_UNAVAILABLE, "pricing")
        assert "goes on by itself" in error.message
        assert priced.sections(event_id) == []
        reused = await refused(priced.generate(event_id, one("1"), request_id=key))
        assert reused.reason is Reason.IDEMPOTENCY_KEY_REUSED
        unpriced = await refused(
            priced.generate(event_id, {"rows": 1, "cols": 1, "sections": [{"name": "A"}]}, request_id=key)
        )
        assert unpriced.reason is Reason.IDEMPOTENCY_KEY_REUSED
    await priced.until_ended()
    await until(counted)  # just after the commit that ended it
    sections = [section_id for _, _, section_id in priced.sections(event_id)]
    assert [section_id for _, section_id, _, _ in priced.tiers(event_id)] == sections
    answer = await priced.generate(event_id, HALL, request_id=key)
    assert [section.id for section in answer.sections] == sections


async def test_a_refusal_stands_while_its_prices_wait_to_be_withdrawn(priced: Priced) -> None:
    event_id, key = await priced.capacity.event(venue_max_capacity=100), new_id()
    async with priced.pricing.gate.shut():
        asking = asyncio.create_task(priced.generate(event_id, one("10"), request_id=key))
        await priced.until_begun()
        await priced.generate(event_id, {"rows": 10, "cols": 9, "sections": [{"name": "B"}]})
        holding = priced.capacity.holding(event_id)
        holding.__enter__()
    await priced.until_priced(event_id)
    with priced.pricing.held():
        holding.__exit__(None, None, None)
        assert (await refused(asking)).reason is Reason.VENUE_CAPACITY_EXCEEDED
        assert (len(priced.tiers(event_id)), priced.sagas()) == (1, 1)
    # Places are free by now, but it was decided.
    await priced.capacity.change_event(event_id, venue_max_capacity=5000)
    assert (
        await refused(priced.generate(event_id, one("10"), request_id=key))
    ).reason is Reason.VENUE_CAPACITY_EXCEEDED
    await priced.until_ended()
    assert priced.tiers(event_id) == []
    assert len((await priced.generate(event_id, one("10"), request_id=key)).sections) == 1


async def test_a_seating_whose_prices_nobody_can_make_is_given_up(priced: Priced) -> None:
    event_id = await priced.capacity.event()
    async with priced.pricing_away():
        await refused(priced.generate(event_id, one("10")))
        aged = "UPDATE capacity.seating_sagas SET create_time = create_time - interval '1 day'"
        assert priced.capacity.change(aged) == 1
        await priced.until_refused()
    await priced.until_ended()
    assert nothing_left(priced, event_id)


async def test_an_organization_sees_its_own_seatings_only(priced: Priced) -> None:
    event_id, key, other = await priced.capacity.event(), new_id(), new_id()
    theirs = priced.capacity.controls(organization_id=other)
    await priced.capacity.apply(theirs)
    error = await refused(priced.generate(event_id, HALL, request_id=key, organization_id=other))
    assert error.reason is Reason.EVENT_NOT_FOUND
    async with priced.pricing_away():
        await refused(priced.generate(event_id, HALL, request_id=key))
        # The same key of another organization is another request.
        await refused(priced.generate(theirs.event_id, one("1"), request_id=key, organization_id=other))
        assert priced.sagas() == 2
    await priced.until_ended()
    assert [name for name, *_ in priced.tiers(event_id)] == ["A-1", "A-2"]
    assert [name for name, *_ in priced.tiers(theirs.event_id)] == ["A"]


async def test_prices_need_a_permission_of_their_own(priced: Priced, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(permissions._ROLES, "stagehand", permissions.READS | {"sections.write"})
    event_id = await priced.capacity.event()
    error = await refused(priced.generate(event_id, one("10"), role="stagehand"))
    assert (error.reason, error.metadata["permission"]) == (Reason.PERMISSION_MISSING, "pricing.write")
    await priced.generate(event_id, {"rows": 1, "cols": 1, "sections": [{"name": "A"}]}, role="stagehand")
    assert priced.tiers(event_id) == []
