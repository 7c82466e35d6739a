"""An event on sale, made through the gateway as an organizer would."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.support.mesh import key

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True)
class Show:
    """Ids of an event on sale with one section and one price tier."""

    organization_id: str
    venue_id: str
    event_id: str
    schedule_id: str
    section_id: str
    price_tier_id: str


def post(client: httpx.Client, path: str, body: dict[str, Any], *, expect: int = 201, request_id: str = "") -> Any:
    """POST with an idempotency key and return the answer's body; the status must be the expected one."""
    response = client.post(path, json=body, headers={"Idempotency-Key": request_id or key()})
    assert response.status_code == expect, f"{path}: {response.status_code} {response.text}"
    return response.json()


def iso(moment: datetime) -> str:
    """Return RFC 3339 with an offset."""
    return moment.astimezone(UTC).isoformat()


def wait_for_event(
    client: httpx.Client, event_id: str, wanted: dict[str, Any], *, seconds: float = 15
) -> dict[str, Any]:
    """Read an event until messages brought the wanted values; return the last answer either way."""
    deadline = time.monotonic() + seconds
    while True:
        event: dict[str, Any] = client.get(f"/api/v1/events/{event_id}").json()["event"]
        if all(event.get(name) == value for name, value in wanted.items()) or time.monotonic() > deadline:
            return event
        time.sleep(0.05)


def create_show(organizer: httpx.Client, *, total: int = 100, max_capacity: int = 10_000, on_sale: bool = True) -> Show:
    """Create a venue, an event with one date, a section and a tier (100.00 + 10.00 + 5.00, 8 %); put it on sale."""
    start = datetime.now(UTC) + timedelta(days=30)
    venue = post(organizer, "/api/v1/venues", {"name": "Harbour Hall", "max_capacity": max_capacity})["venue"]
    created = post(
        organizer, "/api/v1/events", {"venue_id": venue["id"], "name": "Night of Strings", "starts_at": iso(start)}
    )
    event_id = created["event"]["id"]
    section = post(organizer, f"/api/v1/events/{event_id}/capacity", {"name": "Floor", "total": total})["section"]
    tier = post(
        organizer,
        f"/api/v1/events/{event_id}/pricing",
        {
            "name": "Standard",
            "base_price": {"currency_code": "USD", "amount": "100.00"},
            "service_fee": {"currency_code": "USD", "amount": "10.00"},
            "facility_fee": {"currency_code": "USD", "amount": "5.00"},
            "tax_rate": "0.08",
        },
    )["price_tier"]
    post(organizer, f"/api/v1/events/{event_id}/publish", {}, expect=200)
    if on_sale:
        event = post(organizer, f"/api/v1/events/{event_id}/start-sales", {}, expect=200)["event"]
        assert event["state"] == "ON_SALE"
    return Show(
        organization_id=section["organization_id"],
        venue_id=venue["id"],
        event_id=event_id,
        schedule_id=created["schedule"]["id"],
        section_id=section["id"],
        price_tier_id=tier["id"],
    )
