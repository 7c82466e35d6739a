"""REST in, RPC out, and back: what callers rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Stack


async def test_a_hold_is_placed_and_read_where_its_location_says(stack: Stack) -> None:
    section = new_id()
    async with stack.client() as client:
        placed = await client.post(f"/api/v1/capacity/{section}/reserve", json={"quantity": 2, "orderReference": "o-1"})
        assert placed.status_code == 201, placed.text
        hold = placed.json()["hold"]
        assert placed.headers["location"] == f"/api/v1/holds/{hold['id']}"
        assert placed.headers["etag"] == '"1"'
        assert placed.headers["content-type"] == "application/json"
        assert hold["state"] == "ACTIVE"
        (line,) = hold["lines"]
        wanted = {"number": 1, "section_id": section, "schedule_id": "", "quantity": 2, "seats": []}
        assert {name: line[name] for name in wanted} == wanted
        assert hold["create_time"] == "2026-05-01T12:00:00.123456Z"
        assert hold["customer_id"] == "buyer-1"
        assert hold["order_reference"] == "o-1"
        assert "total" not in hold, "what is not set is not there"
        assert placed.json()["inventory_version"] == str(2**53 + 1), "64-bit integers are strings"
        read = await client.get(placed.headers["location"])
        assert read.json() == {"hold": hold}
        head = await client.head(placed.headers["location"])
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == read.headers["content-length"]


async def test_a_repeated_key_answers_200_and_says_so(stack: Stack) -> None:
    path, key = f"/api/v1/capacity/{new_id()}/reserve", {"Idempotency-Key": "again"}
    async with stack.client(subject="buyer-again") as client:
        first = await client.post(path, json={"quantity": 1}, headers=key)
        second = await client.post(path, json={"quantity": 1}, headers=key)
    assert (first.status_code, second.status_code) == (201, 200)
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert first.json()["hold"]["id"] == second.json()["hold"]["id"]


async def test_a_second_binding_reaches_the_same_rpc(stack: Stack) -> None:
    event, section = new_id(), new_id()
    async with stack.client() as client:
        answer = await client.post(
            f"/api/v1/events/{event}/holds", json={"lines": [{"section_id": section, "quantity": 3}]}
        )
    assert answer.status_code == 201, answer.text
    request = stack.behind.holds.requests[-1]
    assert (request.event_id, request.lines[0].section_id, request.lines[0].quantity) == (event, section, 3)


async def test_a_body_field_is_the_resource_itself(stack: Stack) -> None:
    async with stack.client("organizer") as client:
        answer = await client.post(
            "/api/v1/events?allow_overlap=true",
            json={"name": "Jazz", "venue_id": new_id(), "starts_at": "2027-07-01T19:00:00+02:00", "settings": {"a": 1}},
        )
    assert answer.status_code == 201, answer.text
    request = stack.behind.events.creations[-1]
    assert request.allow_overlap
    assert request.event.starts_at.ToJsonString() == "2027-07-01T17:00:00Z"
    assert answer.json()["event"]["settings"] == {"a": 1}
    assert answer.headers["location"] == f"/api/v1/events/{answer.json()['event']['id']}"


async def test_an_update_changes_what_the_body_names_also_to_nothing(stack: Stack) -> None:
    event = new_id()
    async with stack.client("organizer") as client:
        answer = await client.patch(f"/api/v1/events/{event}", json={"description": None, "tags": [], "name": "Blue"})
        assert answer.status_code == 200, answer.text
        assert list(stack.behind.events.updates[-1].update_mask.paths) == ["description", "name", "tags"]
        await client.put(f"/api/v1/events/{event}?update_mask=name,shortDescription", json={"name": "Red"})
    assert list(stack.behind.events.updates[-1].update_mask.paths) == ["name", "short_description"]


@pytest.mark.parametrize(("sent", "status"), [('"1"', 200), ('W/"1"', 200), ("1", 200), ("*", 200), ('"7"', 412)])
async def test_if_match_makes_an_update_conditional(stack: Stack, sent: str, status: int) -> None:
    async with stack.client("organizer") as client:
        answer = await client.patch(f"/api/v1/events/{new_id()}", json={"name": "x"}, headers={"If-Match": sent})
    assert answer.status_code == status, answer.text
    if status == 412:
        assert answer.json()["code"] == "ETAG_MISMATCH"
        assert answer.json()["metadata"] == {"etag": "1"}


async def test_deleting_answers_204_without_a_body(stack: Stack) -> None:
    async with stack.client("organizer") as client:
        answer = await client.delete(f"/api/v1/events/{new_id()}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-length" not in answer.headers


async def test_an_action_needs_no_body(stack: Stack) -> None:
    async with stack.client("organizer") as client:
        answer = await client.post(f"/api/v1/events/{new_id()}/publish")
        lost = await client.post(f"/api/v1/events/{new_id()}/publish", headers={"Content-Type": "application/json"})
        needed = await client.post("/api/v1/events")
    assert answer.status_code == 200, answer.text
    assert (lost.status_code, lost.json()["code"]) == (400, "MALFORMED_BODY"), "announced and not there"
    assert (needed.status_code, needed.json()["code"]) == (400, "MALFORMED_BODY")


async def test_query_parameters_reach_the_request(stack: Stack) -> None:
    venue = new_id()
    async with stack.client() as client:
        answer = await client.get(
            f"/api/v1/venues/{venue}/events?states=ON_SALE&states=SOLD_OUT&page_size=5&withTotal=true"
        )
    assert answer.status_code == 200, answer.text
    request = stack.behind.events.lists[-1]
    assert (request.venue_id, list(request.states), request.page_size, request.with_total) == (venue, [5, 7], 5, True)


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("status=ON_SALE", "status", "status is called states"),
        ("page_size=1x", "page_size", "must be a whole number"),
        ("page_size=", "page_size", "must be a whole number"),
        ("page_size=1&page_size=2", "page_size", "given more than once"),
        ("with_total=yes", "with_total", "must be true or false"),
        ("states=OPEN", "states[0]", "must be one of DRAFT"),
        ("bogus=1", "bogus", "is not a field of this request"),
        ("page_token=%ff", "", "the query string cannot be read"),
    ],
)
async def test_query_parameters_that_are_wrong_are_named(stack: Stack, query: str, field: str, message: str) -> None:
    async with stack.client() as client:
        answer = await client.get(f"/api/v1/events?{query}")
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["field"] == field
    assert answer.json()["errors"][0]["message"].startswith(message)


async def test_a_refusal_of_a_service_arrives_whole(stack: Stack) -> None:
    metadata = {"section_id": "s", "available": "3", "inventory_version": "912"}
    stack.behind.holds.refusal = DomainError(
        Reason.INSUFFICIENT_CAPACITY, "only 3 places are free", metadata=metadata, retry_after_seconds=2.2
    )
    try:
        async with stack.client() as client:
            answer = await client.post(f"/api/v1/capacity/{new_id()}/reserve", json={"quantity": 4})
    finally:
        stack.behind.holds.refusal = None
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "3"
    document = answer.json()
    assert document == {
        "type": "urn:holdfast:problem:insufficient-capacity",
        "title": "Insufficient capacity",
        "status": 409,
        "detail": "only 3 places are free",
        "code": "INSUFFICIENT_CAPACITY",
        "errors": [],
        "metadata": metadata,
        "trace_id": answer.headers["x-request-id"],
    }


async def test_what_the_contract_validates_is_refused_with_paths(stack: Stack) -> None:
    async with stack.client() as client:
        answer = await client.post(f"/api/v1/capacity/{new_id()}/reserve", json={"quantity": 0})
    assert answer.status_code == 400
    assert answer.json()["code"] == "VALIDATION_FAILED"
    assert answer.json()["errors"][0]["field"] == "quantity"


async def test_a_fault_of_a_service_tells_the_trace_id_and_nothing_else(stack: Stack) -> None:
    async with stack.client() as client:
        answer = await client.get(f"/api/v1/events/{new_id()}/capacity/total")
    assert answer.status_code == 500
    assert answer.json()["code"] == "INTERNAL"
    assert answer.json()["metadata"] == {"trace_id": answer.json()["trace_id"]}
    assert "hunter2" not in answer.text
    assert "secret.py" not in answer.text


async def test_an_rpc_that_is_not_built_answers_501(stack: Stack) -> None:
    async with stack.client() as client:
        answer = await client.get(f"/api/v1/pricing/{new_id()}")
    assert answer.status_code == 501
    assert answer.json()["metadata"] == {"rpc": "GetPriceTier"}


async def test_a_client_may_ask_for_less_time(stack: Stack) -> None:
    stack.behind.holds.delay_seconds = 2
    try:
        async with stack.client() as client:
            answer = await client.post(
                f"/api/v1/capacity/{new_id()}/reserve", json={"quantity": 1}, headers={"Request-Timeout": "0.2"}
            )
            wrong = await client.get("/api/v1/events", headers={"Request-Timeout": "soon"})
    finally:
        stack.behind.holds.delay_seconds = 0
    assert answer.status_code == 504, answer.text
    assert answer.json()["code"] == "DEADLINE_EXCEEDED"
    assert wrong.status_code == 400


async def test_a_service_that_is_gone_is_503_with_retry_after(stack: Stack) -> None:
    await stack.servers["pricing"].stop()
    async with stack.client() as client:
        answer = await client.get(f"/api/v1/pricing/{new_id()}")
        still = await client.get("/api/v1/events")
    assert answer.status_code == 503
    assert answer.json()["code"] == "DEPENDENCY_UNAVAILABLE"
    assert answer.json()["metadata"] == {"dependency": "pricing"}
    assert int(answer.headers["retry-after"]) >= 1
    assert still.status_code == 200
