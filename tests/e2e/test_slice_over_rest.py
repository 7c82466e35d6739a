"""The life of an event and of its holds, over REST, through every layer."""

from __future__ import annotations

import subprocess
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tests.support.mesh import key
from tests.support.show import create_show, iso, post, wait_for_event

if TYPE_CHECKING:
    import httpx

    from tests.support.mesh import Mesh


def test_the_printed_curl_places_and_confirms_a_hold(mesh: Mesh) -> None:
    printed = mesh.wait_printed("curl")
    # The commands stand after the sentence that announces them, up to the next empty line.
    _, _, after = printed.partition("Place a hold and confirm it")
    command = after.partition("\n\n")[2].partition("\n\n")[0]
    run = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603, S607 (the command that a newcomer is told to run)
    assert run.returncode == 0, run.stderr
    assert '"CONFIRMED"' in run.stdout, f"{command}\n{run.stdout}\n{run.stderr}"


def test_a_hold_with_a_locked_price_is_placed_read_and_confirmed(organizer: httpx.Client, buyer: httpx.Client) -> None:
    show = create_show(organizer, total=100)
    placed = buyer.post(
        f"/api/v1/capacity/{show.section_id}/reserve",
        json={"quantity": 2, "price_tier_id": show.price_tier_id, "hold_ttl_seconds": 300, "order_reference": "o-1"},
        headers={"Idempotency-Key": key()},
    )
    assert placed.status_code == 201, placed.text
    hold = placed.json()["hold"]
    assert placed.headers["location"] == f"/api/v1/holds/{hold['id']}"
    assert hold["state"] == "ACTIVE"
    assert hold["customer_id"] == "bob"
    assert hold["order_reference"] == "o-1"
    price = hold["lines"][0]["locked_price"]["breakdown"]
    assert price["base"]["amount"] == "200.00"
    assert price["subtotal"]["amount"] == "230.00"
    assert price["tax"]["amount"] == "18.40"
    assert price["total"]["amount"] == "248.40"
    assert price["per_ticket"]["amount"] == "124.20"
    assert hold["total"] == {"currency_code": "USD", "amount": "248.40"}

    read = buyer.get(f"/api/v1/holds/{hold['id']}")
    assert read.status_code == 200
    assert read.json()["hold"] == hold
    section = buyer.get(f"/api/v1/capacity/{show.section_id}").json()["section"]
    assert (section["available"], section["held"], section["sold"]) == (98, 2, 0)

    wrong = buyer.post(
        f"/api/v1/holds/{hold['id']}/confirm", json={"expected_total": {"currency_code": "USD", "amount": "1.00"}}
    )
    assert (wrong.status_code, wrong.json()["code"]) == (409, "TOTAL_MISMATCH")
    expected = {"expected_total": {"currency_code": "USD", "amount": "248.40"}}
    confirmed = buyer.post(f"/api/v1/holds/{hold['id']}/confirm", json=expected)
    assert confirmed.status_code == 200, confirmed.text
    assert confirmed.json()["hold"]["state"] == "CONFIRMED"
    sale = confirmed.json()["sale"]
    assert sale["lines"][0]["locked_price"]["breakdown"] == price
    again = buyer.post(f"/api/v1/holds/{hold['id']}/confirm", json=expected)
    assert again.status_code == 200
    assert again.json()["sale"]["id"] == sale["id"]

    section = buyer.get(f"/api/v1/capacity/{show.section_id}").json()["section"]
    assert (section["available"], section["held"], section["sold"]) == (98, 0, 2)
    event = wait_for_event(organizer, show.event_id, {"sold_count": 2})
    assert (event["capacity"], event["available_capacity"], event["sold_count"]) == (100, 98, 2)


def test_released_places_come_back_and_releasing_twice_is_the_same(
    organizer: httpx.Client, buyer: httpx.Client
) -> None:
    show = create_show(organizer, total=3)
    path = f"/api/v1/capacity/{show.section_id}/reserve"
    hold = post(buyer, path, {"quantity": 3})["hold"]
    refused = buyer.post(path, json={"quantity": 1}, headers={"Idempotency-Key": key()})
    assert (refused.status_code, refused.json()["code"]) == (409, "INSUFFICIENT_CAPACITY")
    assert refused.json()["metadata"]["available"] == "0"
    first = buyer.post(f"/api/v1/holds/{hold['id']}/release", json={})
    second = buyer.post(f"/api/v1/holds/{hold['id']}/release", json={})
    assert first.status_code == second.status_code == 200
    assert first.json()["hold"] == second.json()["hold"]
    assert first.json()["hold"]["state"] == "RELEASED"
    post(buyer, path, {"quantity": 3})


def test_an_expired_hold_frees_its_places_and_cannot_be_confirmed(organizer: httpx.Client, buyer: httpx.Client) -> None:
    show = create_show(organizer, total=2)
    path = f"/api/v1/capacity/{show.section_id}/reserve"
    hold = post(buyer, path, {"quantity": 2, "hold_ttl_seconds": 1})["hold"]
    expire_time = datetime.fromisoformat(hold["expire_time"])
    deadline = time.monotonic() + 15
    while buyer.get(f"/api/v1/holds/{hold['id']}").json()["hold"]["state"] == "ACTIVE":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    read = buyer.get(f"/api/v1/holds/{hold['id']}").json()
    assert read["hold"]["state"] == "EXPIRED"
    assert datetime.fromisoformat(read["server_time"]) >= expire_time
    late = buyer.post(f"/api/v1/holds/{hold['id']}/confirm", json={})
    assert (late.status_code, late.json()["code"]) == (409, "HOLD_EXPIRED")
    post(buyer, path, {"quantity": 2})


def test_pause_and_cancel_take_effect_at_once(organizer: httpx.Client, buyer: httpx.Client) -> None:
    show = create_show(organizer, total=10)
    path = f"/api/v1/capacity/{show.section_id}/reserve"
    kept = post(buyer, path, {"quantity": 1})["hold"]
    lost = post(buyer, path, {"quantity": 1})["hold"]

    paused = post(organizer, f"/api/v1/events/{show.event_id}/pause-sales", {}, expect=200)
    assert paused["effective"] is True
    refused = buyer.post(path, json={"quantity": 1}, headers={"Idempotency-Key": key()})
    assert (refused.status_code, refused.json()["code"]) == (409, "EVENT_NOT_ON_SALE")
    assert buyer.post(f"/api/v1/holds/{kept['id']}/confirm", json={}).status_code == 200
    post(organizer, f"/api/v1/events/{show.event_id}/resume-sales", {}, expect=200)
    post(buyer, path, {"quantity": 1})

    no_reason = organizer.post(f"/api/v1/events/{show.event_id}/cancel", json={})
    assert (no_reason.status_code, no_reason.json()["code"]) == (400, "VALIDATION_FAILED")
    cancelled = post(organizer, f"/api/v1/events/{show.event_id}/cancel", {"reason": "storm"}, expect=200)
    assert cancelled["effective"] is True
    assert cancelled["event"]["state"] == "CANCELLED"
    refused = buyer.post(path, json={"quantity": 1}, headers={"Idempotency-Key": key()})
    assert (refused.status_code, refused.json()["code"]) == (409, "EVENT_CANCELLED")
    voided = buyer.get(f"/api/v1/holds/{lost['id']}").json()["hold"]
    assert (voided["state"], voided["void_cause"]) == ("VOIDED", "EVENT_CANCELLED")
    refused = buyer.post(f"/api/v1/holds/{lost['id']}/confirm", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "HOLD_VOIDED")


def test_a_sold_out_event_says_so_and_its_history_tells_why(organizer: httpx.Client, buyer: httpx.Client) -> None:
    show = create_show(organizer, total=2)
    hold = post(buyer, f"/api/v1/capacity/{show.section_id}/reserve", {"quantity": 2})["hold"]
    assert buyer.post(f"/api/v1/holds/{hold['id']}/confirm", json={}).status_code == 200
    event = wait_for_event(organizer, show.event_id, {"state": "SOLD_OUT", "available_capacity": 0})
    assert (event["state"], event["available_capacity"]) == ("SOLD_OUT", 0)
    history = organizer.get(f"/api/v1/events/{show.event_id}/transitions").json()
    assert [step["to_state"] for step in history["transitions"]] == ["PUBLISHED", "ON_SALE", "SOLD_OUT"]
    assert "cancel" in history["allowed"]


def test_creating_with_a_capacity_makes_one_general_section(organizer: httpx.Client) -> None:
    venue = post(organizer, "/api/v1/venues", {"name": "Arena", "max_capacity": 6000})["venue"]
    body = {
        "venue_id": venue["id"],
        "name": "Big Night",
        "event_date": iso(datetime.now(UTC) + timedelta(days=9)),
        "capacity": 5000,
    }
    event = post(organizer, "/api/v1/events", body)["event"]
    sections = organizer.get(f"/api/v1/events/{event['id']}/capacity").json()["sections"]
    assert [(section["kind"], section["total"], section["available"]) for section in sections] == [
        ("GENERAL", 5000, 5000)
    ]
    too_big = organizer.post(
        "/api/v1/events",
        json=body | {"name": "Bigger", "capacity": 6001, "event_date": iso(datetime.now(UTC) + timedelta(days=12))},
    )
    assert (too_big.status_code, too_big.json()["code"]) == (409, "VENUE_CAPACITY_EXCEEDED")


def test_sections_cannot_exceed_the_venue(organizer: httpx.Client) -> None:
    show = create_show(organizer, total=2000, max_capacity=5000, on_sale=False)
    path = f"/api/v1/events/{show.event_id}/capacity"
    post(organizer, path, {"name": "Balcony", "total": 2500})
    refused = organizer.post(path, json={"name": "Boxes", "total": 1000})
    assert (refused.status_code, refused.json()["code"]) == (409, "VENUE_CAPACITY_EXCEEDED")
    totals = organizer.get(f"/api/v1/events/{show.event_id}/capacity/total").json()
    assert (totals["total"], totals["section_count"]) == (4500, 2)


def test_the_same_key_is_the_same_hold_and_another_body_is_refused(
    organizer: httpx.Client, buyer: httpx.Client
) -> None:
    show = create_show(organizer)
    path = f"/api/v1/capacity/{show.section_id}/reserve"
    headers = {"Idempotency-Key": key()}
    first = buyer.post(path, json={"quantity": 2}, headers=headers | {"traceparent": f"00-{'1' * 32}-{'2' * 16}-00"})
    again = buyer.post(path, json={"quantity": 2}, headers=headers | {"traceparent": f"00-{'3' * 32}-{'4' * 16}-00"})
    other = buyer.post(path, json={"quantity": 3}, headers=headers)
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 422)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["hold"] == first.json()["hold"]
    assert other.json()["code"] == "IDEMPOTENCY_KEY_REUSED"
    section = buyer.get(f"/api/v1/capacity/{show.section_id}").json()["section"]
    assert section["held"] == 2


def test_a_second_update_with_an_old_etag_is_refused(organizer: httpx.Client) -> None:
    show = create_show(organizer, on_sale=False)
    path = f"/api/v1/events/{show.event_id}"
    etag = organizer.get(path).headers["etag"]
    changed = organizer.patch(path, json={"name": "Night of Winds"}, headers={"If-Match": etag})
    assert (changed.status_code, changed.json()["event"]["name"]) == (200, "Night of Winds")
    stale = organizer.patch(path, json={"name": "Night of Drums"}, headers={"If-Match": etag})
    assert (stale.status_code, stale.json()["code"]) == (412, "ETAG_MISMATCH")
    assert organizer.get(path).json()["event"]["name"] == "Night of Winds"


def test_the_past_the_proof_and_the_audit_log_of_an_inventory_are_read(
    mesh: Mesh, organizer: httpx.Client, buyer: httpx.Client
) -> None:
    show = create_show(organizer, total=10)
    placed = buyer.post(f"/api/v1/capacity/{show.section_id}/reserve", json={"quantity": 3})
    inventory = f"/api/v1/events/{show.event_id}/inventory"
    version = int(placed.json()["inventory_version"])
    before = organizer.get(inventory, params={"inventory_version": version - 1}).json()
    now = organizer.get(inventory, params={"read_time": placed.json()["server_time"]}).json()
    assert [before["totals"].get("held", 0), now["totals"]["held"]] == [0, 3]
    assert (before["inventory_version"], now["inventory_version"]) == (str(version - 1), str(version))
    early = organizer.get(inventory, params={"inventory_version": version + 1})
    assert (early.status_code, early.json()["code"]) == (400, "VALIDATION_FAILED")

    with mesh.client("admin", subject="ada") as admin:
        shown = post(admin, f"{inventory}:repair", {"reason": "looking"}, expect=200)
        assert (shown["differences"], shown["repaired"], shown["confirmation_token"]) == ([], False, "")
        listed = admin.get("/api/v1/audit-log/capacity", params={"resource_id": show.section_id})
        assert [(each["action"], each["actor"]) for each in listed.json()["entries"]] == [("CreateSection", "olga")]
    refused = post(organizer, f"{inventory}:repair", {"reason": "looking"}, expect=403)
    assert refused["code"] == "PERMISSION_MISSING"
