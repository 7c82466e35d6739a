"""What the mesh refuses, and how: typed, named, and without a trace of its insides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.mesh import key
from tests.support.show import create_show, post

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.mesh import Mesh
    from tests.support.show import Show

UNKNOWN_ID = "019a9b1e-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def show(organizer: httpx.Client) -> Show:
    return create_show(organizer)


@pytest.fixture(scope="module")
def stranger(mesh: Mesh) -> Iterator[httpx.Client]:
    """The owner of another organization."""
    with mesh.client("platform_admin") as platform:
        other = post(platform, "/api/v1/organizations", {"name": f"Other {key()}"})["organization"]
    with mesh.client("owner", subject="otto", organization_id=other["id"]) as client:
        yield client


def problem(response: httpx.Response) -> dict[str, Any]:
    """Return a problem document after checking its form."""
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == response.status_code
    assert {"type", "title", "status", "code"} <= body.keys()
    for inside in ("Traceback", "psycopg", "sqlalchemy", "SELECT", "grpc", ".py"):
        assert inside not in response.text
    return body


def paths_of(show: Show, hold_id: str) -> list[tuple[str, str, dict[str, Any] | None]]:
    """Every way to reach something of a show, with a body that is right."""
    return [
        ("GET", f"/api/v1/organizations/{show.organization_id}", None),
        ("PATCH", f"/api/v1/organizations/{show.organization_id}", {"name": "mine"}),
        ("GET", f"/api/v1/venues/{show.venue_id}", None),
        ("PATCH", f"/api/v1/venues/{show.venue_id}", {"name": "mine"}),
        ("GET", f"/api/v1/events/{show.event_id}", None),
        ("PATCH", f"/api/v1/events/{show.event_id}", {"name": "mine"}),
        ("POST", f"/api/v1/events/{show.event_id}/pause-sales", {}),
        ("POST", f"/api/v1/events/{show.event_id}/cancel", {"reason": "mine"}),
        ("GET", f"/api/v1/events/{show.event_id}/transitions", None),
        ("GET", f"/api/v1/events/{show.event_id}/schedules", None),
        ("GET", f"/api/v1/events/{show.event_id}/schedules/{show.schedule_id}", None),
        ("GET", f"/api/v1/events/{show.event_id}/capacity", None),
        ("GET", f"/api/v1/events/{show.event_id}/capacity/total", None),
        ("POST", f"/api/v1/events/{show.event_id}/capacity", {"name": "mine", "total": 1}),
        ("GET", f"/api/v1/events/{show.event_id}/inventory-changes", None),
        ("POST", f"/api/v1/events/{show.event_id}/inventory:verify", {}),
        ("GET", f"/api/v1/capacity/{show.section_id}", None),
        ("PATCH", f"/api/v1/capacity/{show.section_id}", {"total": 1}),
        ("POST", f"/api/v1/capacity/{show.section_id}/reserve", {"quantity": 1}),
        ("GET", f"/api/v1/holds/{hold_id}", None),
        ("POST", f"/api/v1/holds/{hold_id}/confirm", {}),
        ("POST", f"/api/v1/holds/{hold_id}/release", {}),
        ("GET", f"/api/v1/pricing/{show.price_tier_id}", None),
        ("PATCH", f"/api/v1/pricing/{show.price_tier_id}", {"name": "mine"}),
        ("POST", f"/api/v1/pricing/{show.price_tier_id}/calculate", {"quantity": 1}),
    ]


def test_another_organizations_ids_are_not_found_exactly_as_unknown_ones(
    show: Show, buyer: httpx.Client, stranger: httpx.Client
) -> None:
    hold_id = post(buyer, f"/api/v1/capacity/{show.section_id}/reserve", {"quantity": 1})["hold"]["id"]
    known = (
        show.organization_id,
        show.venue_id,
        show.event_id,
        show.schedule_id,
        show.section_id,
        show.price_tier_id,
        hold_id,
    )
    for method, path, body in paths_of(show, hold_id):
        unknown_path = path
        for identifier in known:
            unknown_path = unknown_path.replace(identifier, UNKNOWN_ID)
        theirs = stranger.request(method, path, json=body)
        unknown = stranger.request(method, unknown_path, json=body)
        assert theirs.status_code == 404, f"{method} {path}: {theirs.status_code} {theirs.text}"
        told = {k: v for k, v in problem(theirs).items() if k != "trace_id"}
        expected = {k: v for k, v in problem(unknown).items() if k != "trace_id"}
        for identifier in known:
            told = _replace(told, identifier)
        assert told == expected, f"{method} {path}"
    listed = stranger.get("/api/v1/events").json()["events"] + stranger.get("/api/v1/venues").json()["venues"]
    listed += stranger.get("/api/v1/holds").json()["holds"]
    assert listed == []
    # Nothing of it did anything.
    event = stranger.get(f"/api/v1/events/{show.event_id}")
    assert event.status_code == 404
    still = buyer.get(f"/api/v1/holds/{hold_id}").json()["hold"]
    assert still["state"] == "ACTIVE"


def _replace(value: Any, identifier: str) -> Any:
    """Put the unknown id where a known one stands, anywhere in a document."""
    if isinstance(value, dict):
        return {name: _replace(item, identifier) for name, item in value.items()}
    if isinstance(value, list):
        return [_replace(item, identifier) for item in value]
    return value.replace(identifier, UNKNOWN_ID) if isinstance(value, str) else value


BAD_BODIES: list[tuple[str, bytes, str]] = [
    ("empty", b"", "MALFORMED_BODY"),
    ("truncated", b'{"quantity": 1', "MALFORMED_BODY"),
    ("duplicate keys", b'{"quantity": 1, "quantity": 2}', "MALFORMED_BODY"),
    ("array at root", b"[1]", "MALFORMED_BODY"),
    ("unknown field", b'{"quantity": 1, "colour": "red"}', "VALIDATION_FAILED"),
    ("old name", b'{"quantity": 1, "pricing_id": "x"}', "VALIDATION_FAILED"),
    ("zero", b'{"quantity": 0}', "VALIDATION_FAILED"),
    ("negative", b'{"quantity": -1}', "VALIDATION_FAILED"),
    ("2^31", b'{"quantity": 2147483648}', "VALIDATION_FAILED"),
    ("2^63", b'{"quantity": 9223372036854775808}', "VALIDATION_FAILED"),
    ("fraction", b'{"quantity": 1.5}', "VALIDATION_FAILED"),
    ("text", b'{"quantity": "1x"}', "VALIDATION_FAILED"),
    ("not a number", b'{"quantity": NaN}', "MALFORMED_BODY"),
    ("1e400", b'{"quantity": 1e400}', "VALIDATION_FAILED"),
    ("true", b'{"quantity": true}', "VALIDATION_FAILED"),
    ("null for required", b'{"quantity": null}', "VALIDATION_FAILED"),
    ("bad UUID", b'{"quantity": 1, "price_tier_id": "x"}', "VALIDATION_FAILED"),
    ("TTL of zero", b'{"quantity": 1, "hold_ttl_seconds": 0}', "VALIDATION_FAILED"),
    ("negative TTL", b'{"quantity": 1, "hold_ttl_seconds": -5}', "VALIDATION_FAILED"),
    ("TTL of ten years", b'{"quantity": 1, "hold_ttl_seconds": 315360000}', "VALIDATION_FAILED"),
    ("TTL beyond the organization's", b'{"quantity": 1, "hold_ttl_seconds": 7200}', "VALIDATION_FAILED"),
    ("overlong reference", b'{"quantity": 1, "order_reference": "' + b"x" * 129 + b'"}', "VALIDATION_FAILED"),
    ("NUL", b'{"quantity": 1, "order_reference": "a\\u0000b"}', "VALIDATION_FAILED"),
    ("lone surrogate", b'{"quantity": 1, "order_reference": "\\ud800"}', "VALIDATION_FAILED"),
    ("invalid UTF-8", b'{"quantity": 1, "order_reference": "\xff"}', "MALFORMED_BODY"),
    ("deep nesting", b'{"quantity": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "MALFORMED_BODY"),
    (
        "both ways",
        b'{"quantity": 1, "lines": [{"section_id": "019a9b1e-0000-7000-8000-000000000000", "quantity": 1}]}',
        "VALIDATION_FAILED",
    ),
    ("another customer", b'{"quantity": 1, "customer_id": "somebody-else"}', "PERMISSION_MISSING"),
]


@pytest.mark.parametrize(("body", "code"), [pytest.param(b, c, id=name) for name, b, c in BAD_BODIES])
def test_a_bad_body_is_refused_with_a_reason_and_changes_nothing(
    show: Show, buyer: httpx.Client, body: bytes, code: str
) -> None:
    path = f"/api/v1/capacity/{show.section_id}"
    before = buyer.get(path).json()
    response = buyer.post(f"{path}/reserve", content=body, headers={"Content-Type": "application/json"})
    told = problem(response)
    assert told["code"] == code, told
    assert response.status_code == (403 if code == "PERMISSION_MISSING" else 400)
    if code == "VALIDATION_FAILED":
        assert told["errors"], told
        assert all(error["field"] is not None and error["message"] for error in told["errors"])
    after = buyer.get(path).json()
    assert (after["section"], after["inventory_version"]) == (before["section"], before["inventory_version"])


def test_protocol_faults_have_their_own_status(show: Show, buyer: httpx.Client, mesh: Mesh) -> None:
    path = f"/api/v1/capacity/{show.section_id}/reserve"
    assert buyer.post(path, content=b"<a/>", headers={"Content-Type": "text/xml"}).status_code == 415
    assert buyer.post(path, content=b" " * 1_048_577, headers={"Content-Type": "application/json"}).status_code == 413
    wrong_method = buyer.delete(path)
    assert (wrong_method.status_code, wrong_method.headers["allow"]) == (405, "POST")
    assert buyer.get("/api/v1/evnts").status_code == 404
    assert buyer.get("/api/v1/events/%2e%2e%2f%2e%2e%2fetc").status_code in (400, 404)
    long_key = buyer.post(path, json={"quantity": 1}, headers={"Idempotency-Key": "k" * 256})
    assert long_key.status_code == 400
    assert buyer.get("/api/v1/holds?page_token=forged").json()["code"] == "PAGE_TOKEN_INVALID"
    assert buyer.get("/api/v1/holds?page_size=-1").status_code == 400
    with httpx.Client(base_url=mesh.gateway, timeout=10) as anonymous:
        nobody = anonymous.get("/api/v1/events")
        assert (nobody.status_code, problem(nobody)["code"]) == (401, "TOKEN_INVALID")
        forged = anonymous.get(
            "/api/v1/events", headers={"holdfast-principal-bin": "AAAA", "x-organization-id": show.organization_id}
        )
        assert forged.status_code == 401


def test_a_role_without_the_permission_is_forbidden(show: Show, buyer: httpx.Client) -> None:
    refused = buyer.post("/api/v1/venues", json={"name": "Mine", "max_capacity": 1})
    assert (refused.status_code, problem(refused)["code"]) == (403, "PERMISSION_MISSING")
    assert problem(refused)["metadata"] == {"permission": "venues.write"}
    hidden = buyer.get(f"/api/v1/events/{show.event_id}/transitions")
    assert hidden.status_code == 403


def test_states_are_changed_by_transitions_only(show: Show, organizer: httpx.Client) -> None:
    refused = organizer.patch(f"/api/v1/events/{show.event_id}", json={"state": "CANCELLED"})
    assert refused.status_code == 400
    (error,) = problem(refused)["errors"]
    assert "CancelEvent" in error["message"]
    twice = organizer.post(f"/api/v1/events/{show.event_id}/publish", json={})
    assert (twice.status_code, problem(twice)["code"]) == (409, "INVALID_TRANSITION")


def test_starting_sales_of_an_empty_event_lists_all_that_is_missing(organizer: httpx.Client) -> None:
    venue = post(organizer, "/api/v1/venues", {"name": "Empty Room", "max_capacity": 10})["venue"]
    event = post(organizer, "/api/v1/events", {"venue_id": venue["id"], "name": "Nothing Yet"})["event"]
    refused = organizer.post(f"/api/v1/events/{event['id']}/publish", json={})
    assert (refused.status_code, problem(refused)["code"]) == (409, "REQUIREMENT_MISSING")
    assert "future_schedule" in problem(refused)["metadata"]["missing"]


def test_sql_and_template_text_is_stored_as_it_is(organizer: httpx.Client) -> None:
    name = "Robert'); DROP TABLE events;-- {{7*7}} ${x} <script>alert(1)</script>"
    venue = post(organizer, "/api/v1/venues", {"name": name, "max_capacity": 1})["venue"]
    assert organizer.get(f"/api/v1/venues/{venue['id']}").json()["venue"]["name"] == name


def test_a_key_of_one_caller_is_not_the_key_of_another(show: Show, mesh: Mesh) -> None:
    shared = key()
    holds = []
    for subject in ("ann", "ben"):
        with mesh.client("buyer", subject=subject) as client:
            hold = post(client, f"/api/v1/capacity/{show.section_id}/reserve", {"quantity": 1}, request_id=shared)
            holds.append(hold["hold"]["id"])
            foreign = client.get(f"/api/v1/holds/{holds[0]}")
            assert foreign.status_code == (200 if subject == "ann" else 404)
    assert holds[0] != holds[1]
