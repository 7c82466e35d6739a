"""Extending, changing, paying for and reacquiring holds over REST, through every layer."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from tests.support.mesh import key
from tests.support.show import create_show, post

if TYPE_CHECKING:
    import httpx


def test_a_hold_is_extended_changed_paid_for_and_confirmed(organizer: httpx.Client, buyer: httpx.Client) -> None:
    show = create_show(organizer, total=10)
    reserve = f"/api/v1/capacity/{show.section_id}/reserve"
    hold = post(buyer, reserve, {"quantity": 3, "price_tier_id": show.price_tier_id, "hold_ttl_seconds": 60})["hold"]
    path = f"/api/v1/holds/{hold['id']}"

    request_id = key()
    longer = post(buyer, f"{path}/extend", {"hold_ttl_seconds": 600}, expect=200, request_id=request_id)
    expire_time = datetime.fromisoformat(longer["hold"]["expire_time"])
    assert expire_time == datetime.fromisoformat(longer["server_time"]) + timedelta(seconds=600)
    again = buyer.post(f"{path}/extend", json={"hold_ttl_seconds": 600}, headers={"Idempotency-Key": request_id})
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert again.json()["hold"] == longer["hold"]
    beyond = buyer.post(f"{path}/extend", json={"hold_ttl_seconds": 3600})
    assert (beyond.status_code, beyond.json()["code"]) == (409, "HOLD_LIFETIME_EXCEEDED")

    part = {"release_lines": [{"number": 1, "quantity": 1}]}
    stale = buyer.post(f"{path}/change", json=part, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "ETAG_MISMATCH")
    # The tier costs more by now; what is left of the line does not.
    tier = {"base_price": {"currency_code": "USD", "amount": "150.00"}}
    assert organizer.patch(f"/api/v1/pricing/{show.price_tier_id}", json=tier).status_code == 200
    added = {"section_id": show.section_id, "quantity": 1}
    changed = buyer.post(f"{path}/change", json={**part, "add_lines": [added]}, headers={"Idempotency-Key": key()})
    assert changed.status_code == 200, changed.text
    lines = changed.json()["hold"]["lines"]
    assert [(line["number"], line["quantity"]) for line in lines] == [(1, 2), (2, 1)]
    assert lines[0]["locked_price"]["breakdown"]["total"]["amount"] == "248.40"
    assert changed.json()["hold"]["expire_time"] == longer["hold"]["expire_time"]
    whole = {"release_lines": [{"number": 2, "all": True}]}
    assert buyer.post(f"{path}/change", json=whole).status_code == 200

    total = {"expected_total": {"currency_code": "USD", "amount": "248.40"}}
    paying = buyer.post(f"{path}/begin-payment", json={**total, "order_reference": "o-7"})
    assert paying.status_code == 200, paying.text
    assert (paying.json()["hold"]["state"], paying.json()["hold"]["order_reference"]) == ("PENDING", "o-7")
    section = buyer.get(f"/api/v1/capacity/{show.section_id}").json()["section"]
    assert (section["held"], section["pending"], section["available"]) == (0, 2, 8)
    bound = buyer.post(f"{path}/release", json={})
    assert (bound.status_code, bound.json()["code"]) == (409, "HOLD_NOT_ACTIVE")
    sold = buyer.post(f"{path}/confirm", json=total)
    assert (sold.status_code, sold.json()["hold"]["state"]) == (200, "CONFIRMED")


def test_a_payment_that_came_late_gets_the_places_if_they_are_free(
    organizer: httpx.Client, buyer: httpx.Client
) -> None:
    show = create_show(organizer, total=2)
    hold = post(buyer, f"/api/v1/capacity/{show.section_id}/reserve", {"quantity": 2, "hold_ttl_seconds": 1})["hold"]
    path = f"/api/v1/holds/{hold['id']}"
    deadline = time.monotonic() + 15
    while buyer.get(path).json()["hold"]["state"] == "ACTIVE":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert buyer.post(f"{path}/confirm", json={}).json()["code"] == "HOLD_EXPIRED"
    late = buyer.post(f"{path}/confirm", json={"reacquire": True})
    assert late.status_code == 200, late.text
    assert (late.json()["hold"]["state"], late.json()["hold"]["replaces_hold_id"]) == ("CONFIRMED", hold["id"])
    again = buyer.post(f"{path}/confirm", json={"reacquire": True})
    assert again.json()["sale"]["id"] == late.json()["sale"]["id"]
    assert buyer.get(path).json()["hold"]["state"] == "EXPIRED"
