"""Seating configurations as callers write them, over the stubs and over REST: prices to the last digit, and faults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.mesh import key
from tests.support.show import create_show, post
from tests.support.transports import RPCS, Answer, Caller, Rest, Stubs

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.support.mesh import Mesh
    from tests.support.show import Show
    from tests.support.transports import Transport


@pytest.fixture(scope="module")
def show(organizer: httpx.Client) -> Show:
    """An event at a venue for 150,000."""
    return create_show(organizer, total=1, max_capacity=150_000, on_sale=False)


@pytest.fixture(scope="module", params=["stubs", "rest"])
def transport(mesh: Mesh, request: pytest.FixtureRequest) -> Iterator[Transport]:
    made = Stubs(mesh) if request.param == "stubs" else Rest(mesh)
    yield made
    made.close()


def generate(transport: Transport, show: Show, config: dict[str, Any]) -> Answer:
    fields = {"event_id": show.event_id, "config": config, "request_id": key()}
    return transport.call(RPCS["GenerateSeating"], fields, Caller("olga", "organizer", show.organization_id))


def hall(*sections: dict[str, Any], rows: int = 2, cols: int = 5, **config: Any) -> dict[str, Any]:
    return {"rows": rows, "cols": cols, "sections": list(sections), **config}


LAID_OUT: Final = {"runs": [{"seats": 2}]}
FAULTS: Final[dict[str, tuple[dict[str, Any], str, str]]] = {
    "no section": (hall(), "VALIDATION_FAILED", "sections"),
    "an empty name": (hall({"name": "A"}, {"name": ""}), "VALIDATION_FAILED", "sections[1].name"),
    "a blank name": (hall({"name": "A"}, {"name": " "}), "INVALID_SEATING_CONFIG", "sections[1].name"),
    "a negative price": (hall({"name": "A", "price": "-1"}), "VALIDATION_FAILED", "sections[0].price"),
    "an exponent": (hall({"name": "A", "price": "1e2"}), "VALIDATION_FAILED", "sections[0].price"),
    "too many decimals": (
        hall({"name": "A"}, {"name": "B", "price": "20.001"}),
        "INVALID_SEATING_CONFIG",
        "sections[1].price",
    ),
    "decimals of yen": (
        hall({"name": "A", "price": "20.1"}, currency_code="JPY"),
        "INVALID_SEATING_CONFIG",
        "sections[0].price",
    ),
    "too high a price": (hall({"name": "A", "price": "1000000000.01"}), "INVALID_SEATING_CONFIG", "sections[0].price"),
    "zero rows": (hall({"name": "A"}, rows=0), "INVALID_SEATING_CONFIG", "sections[0].rows"),
    "zero columns": (hall({"name": "A"}, cols=0), "INVALID_SEATING_CONFIG", "sections[0].cols"),
    "negative rows": (hall({"name": "A", "rows": -1}), "VALIDATION_FAILED", "sections[0].rows"),
    "a section twice": (hall({"name": "A"}, {"name": "A"}), "INVALID_SEATING_CONFIG", "sections[1].name"),
    "more than 100,000 seats": (
        hall({"name": "A", "subsections": 100}, {"name": "B", "rows": 1, "cols": 1}, rows=20, cols=50),
        "INVALID_SEATING_CONFIG",
        "sections[1]",
    ),
    "more than 500 sections": (
        hall(*({"name": name, "subsections": 200} for name in "ABC")),
        "INVALID_SEATING_CONFIG",
        "sections[2]",
    ),
    "a row twice": (
        hall({"name": "A", "row_layouts": [{"label": "K", **LAID_OUT}, {"label": "K", **LAID_OUT}]}),
        "INVALID_SEATING_CONFIG",
        "sections[0].row_layouts[1].label",
    ),
    "a seat twice": (
        hall({"name": "A", "row_layouts": [{"runs": [{"seats": 2, "labels": ["1", "1"]}]}]}),
        "INVALID_SEATING_CONFIG",
        "sections[0].row_layouts[0].runs[0].labels[1]",
    ),
    "a name that is too long with its number": (
        hall({"name": "A" * 99, "price": "1", "subsections": 2}),
        "INVALID_SEATING_CONFIG",
        "sections[0].name",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_built_is_refused_with_the_path_of_the_fault(
    transport: Transport, show: Show, fault: str
) -> None:
    config, reason, path = FAULTS[fault]
    answer = generate(transport, show, config)
    assert answer.reason == reason, answer
    assert {each.removeprefix("config.") for each in answer.violations} == {path}
    if reason == "INVALID_SEATING_CONFIG":
        assert answer.metadata == {"path": path}


def test_an_unknown_currency_is_refused(transport: Transport, show: Show) -> None:
    answer = generate(transport, show, hall({"name": "A", "price": "1"}, currency_code="XXX"))
    assert (answer.reason, answer.metadata) == ("UNKNOWN_CURRENCY", {"currency_code": "XXX"})


def test_nothing_was_made_of_what_was_refused(organizer: httpx.Client, transport: Transport, show: Show) -> None:
    assert generate(transport, show, FAULTS["too many decimals"][0]).reason == "INVALID_SEATING_CONFIG"
    sections = organizer.get(f"/api/v1/events/{show.event_id}/capacity").json()["sections"]
    tiers = organizer.get(f"/api/v1/events/{show.event_id}/pricing").json()["price_tiers"]
    assert ([each["name"] for each in sections], [each["name"] for each in tiers]) == (["Floor"], ["Standard"])


def test_prices_in_json_are_taken_digit_by_digit(organizer: httpx.Client, buyer: httpx.Client) -> None:
    show = create_show(organizer, total=1)
    path = f"/api/v1/events/{show.event_id}/seating"
    written = {"A": "20.1", "B": "0.07", "C": "2000", "D": '"19.99"', "E": "0", "F": "999999999.99"}
    sections = ", ".join(f'{{"name": "{name}", "price": {price}}}' for name, price in written.items())
    headers = {"Content-Type": "application/json", "Idempotency-Key": key()}
    body = f'{{"rows": 1, "cols": 2, "sections": [{sections}]}}'
    first, again = (organizer.post(path, content=body, headers=headers) for _ in range(2))
    assert (first.status_code, again.json(), again.headers["idempotency-replayed"]) == (200, first.json(), "true")
    yen = {"rows": 1, "cols": 2, "currency_code": "JPY", "sections": [{"name": "Y", "price": 1800, "subsections": 2}]}
    post(organizer, path, yen, expect=200)
    tiers = organizer.get(f"/api/v1/events/{show.event_id}/pricing").json()["price_tiers"]
    assert {tier["name"]: (tier["base_price"]["amount"], tier["base_price"]["currency_code"]) for tier in tiers} == {
        "Standard": ("100.00", "USD"),
        "A": ("20.10", "USD"),
        "B": ("0.07", "USD"),
        "C": ("2000.00", "USD"),
        "D": ("19.99", "USD"),
        "E": ("0.00", "USD"),
        "F": ("999999999.99", "USD"),
        "Y-1": ("1800", "JPY"),
        "Y-2": ("1800", "JPY"),
    }
    tier = next(tier for tier in tiers if tier["name"] == "B")
    reserve = {"seats": {"labels": ["A-1", "A-2"]}, "price_tier_id": tier["id"]}
    hold = post(buyer, f"/api/v1/capacity/{tier['section_id']}/reserve", reserve)["hold"]
    assert hold["lines"][0]["locked_price"]["breakdown"]["total"] == {"currency_code": "USD", "amount": "0.14"}


@pytest.mark.parametrize(
    "price", ["1e2", "1E2", "-1", "20.001", "0.00001", "1e400", "true", "[]", '"1e2"', '" 1"', "NaN"]
)
def test_a_number_that_is_no_price_is_refused(organizer: httpx.Client, show: Show, price: str) -> None:
    body = f'{{"rows": 1, "cols": 2, "sections": [{{"name": "A", "price": {price}}}]}}'
    headers = {"Content-Type": "application/json", "Idempotency-Key": key()}
    response = organizer.post(f"/api/v1/events/{show.event_id}/seating", content=body, headers=headers)
    assert response.status_code == 400, response.text
    problem = response.json()
    assert problem["code"] in {"VALIDATION_FAILED", "INVALID_SEATING_CONFIG", "MALFORMED_BODY"}
    if problem["code"] != "MALFORMED_BODY":
        assert [error["field"].removeprefix("config.") for error in problem["errors"]] == ["sections[0].price"]
