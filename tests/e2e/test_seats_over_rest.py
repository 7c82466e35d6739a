"""Seats as sellers, box offices and buyers see and change them, through the gateway and on the terminal."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.mesh import key
from tests.support.show import create_show, post

if TYPE_CHECKING:
    import httpx

    from tests.support.mesh import Mesh
    from tests.support.show import Show

STALLS = {
    "currency_code": "EUR",
    "sections": [
        {
            "name": "Stalls left",
            "subsections": 2,
            "numbering": {"rows": "NUMBERS", "seats": "ODD_LEFT_EVEN_RIGHT"},
            "row_layouts": [
                {"runs": [{"seats": 3}, {"gap": 2}, {"seats": 3}]},
                {"offset": 1, "runs": [{"seats": 1, "attributes": {"wheelchair": True}}, {"seats": 4}]},
            ],
        }
    ],
}


@pytest.fixture(scope="module")
def show(organizer: httpx.Client) -> Show:
    return create_show(organizer)


@pytest.fixture(scope="module")
def sections(organizer: httpx.Client, buyer: httpx.Client, show: Show) -> list[dict[str, Any]]:
    """Two seated sections; of the first, 1-1 is held and 1-2 is sold."""
    made = post(organizer, f"/api/v1/events/{show.event_id}/seating", STALLS, expect=200)
    sections: list[dict[str, Any]] = made["sections"]
    path = f"/api/v1/capacity/{sections[0]['id']}/reserve"
    tier = {"price_tier_id": show.price_tier_id}
    post(buyer, path, {"seats": {"labels": ["1-1"]}, **tier})
    sold = post(buyer, path, {"seats": {"labels": ["1-2"]}, **tier})["hold"]
    post(buyer, f"/api/v1/holds/{sold['id']}/confirm", {}, expect=200)
    return sections


def get(client: httpx.Client, path: str, **headers: str) -> httpx.Response:
    response = client.get(path, headers=headers)
    assert response.status_code == 200, response.text
    return response


def test_seats_are_listed_under_both_paths_and_only_staff_sees_who_has_them(
    organizer: httpx.Client, buyer: httpx.Client, show: Show, sections: list[dict[str, Any]]
) -> None:
    path = f"events/{show.event_id}/sections/Stalls%20left/subsection/1/seats?page_size=200&with_total=true"
    staff = get(organizer, f"/api/v1/{path}").json()
    assert [seat["label"] for seat in staff["seats"]] == [
        *("1-5", "1-3", "1-1", "1-2", "1-4", "1-6"),
        *("2-5", "2-3", "2-1", "2-2", "2-4"),
    ]
    assert staff["pagination"]["total"] == 11
    by_label = {seat["label"]: seat for seat in staff["seats"]}
    assert [by_label[label]["state"] for label in ("1-5", "1-1", "1-2")] == ["AVAILABLE", "HELD", "SOLD"]
    assert by_label["1-1"]["customer_id"] == by_label["1-2"]["customer_id"] == "bob"
    assert by_label["1-2"]["price"] == {"currency_code": "USD", "amount": "100.00"}
    assert by_label["2-5"]["attributes"] == {"wheelchair": True}
    shown = get(buyer, f"/api/event/{show.event_id}/{path.partition('/')[2].partition('/')[2]}").json()
    assert [seat["state"] for seat in shown["seats"]] == [seat["state"] for seat in staff["seats"]]
    private = {"customer_id", "hold_id", "sale_id", "block_id", "hold_time", "expire_time", "sale_time"}
    assert not any(seat.get(name) for seat in shown["seats"] for name in private)
    free = get(buyer, f"/api/v1/capacity/{sections[0]['id']}/seats?states=AVAILABLE&row=2").json()
    assert [seat["label"] for seat in free["seats"]] == ["2-5", "2-3", "2-1", "2-2", "2-4"]


def test_the_seat_map_is_not_sent_again_to_who_has_it(
    buyer: httpx.Client, organizer: httpx.Client, show: Show, sections: list[dict[str, Any]]
) -> None:
    path = f"/api/v1/events/{show.event_id}/seatmap"
    first = get(buyer, path)
    shown = first.json()["seat_map"]["sections"]
    assert [each["section_id"] for each in shown] == [each["id"] for each in sections]
    assert base64.b64decode(shown[0]["taken"]) == bytes([0b1100, 0])
    assert not shown[0].get("held")
    same = buyer.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (same.status_code, same.content) == (304, b"")
    staff = get(organizer, path, **{"If-None-Match": first.headers["ETag"]})
    assert base64.b64decode(staff.json()["seat_map"]["sections"][0]["sold"]) == bytes([0b1000, 0])
    post(buyer, f"/api/v1/capacity/{sections[1]['id']}/reserve", {"seats": {"labels": ["2-4"]}})
    changed = get(buyer, path, **{"If-None-Match": first.headers["ETag"]})
    assert base64.b64decode(changed.json()["seat_map"]["sections"][1]["taken"]) == bytes([0, 0b100])


def test_attributes_are_set_and_a_taken_seat_is_named(organizer: httpx.Client, sections: list[dict[str, Any]]) -> None:
    path = f"/api/v1/capacity/{sections[0]['id']}/seats:setAttributes"
    body = {"seats": {"labels": ["2-3"]}, "attributes": {"companion": True}}
    made = post(organizer, path, body, expect=200)
    assert made["section"]["layout"]["companion_count"] == 1
    refused = organizer.post(
        path,
        json={"seats": {"labels": ["1-1", "1-3"]}, "attributes": {"wheelchair": True}},
        headers={"Idempotency-Key": key()},
    )
    assert (refused.status_code, refused.json()["code"]) == (409, "SEATS_TAKEN")
    assert refused.json()["metadata"]["seats"] == "1-1"


@pytest.mark.usefixtures("sections")
def test_the_terminal_draws_the_rows(mesh: Mesh, show: Show) -> None:
    printed = mesh.command("seatmap", show.event_id).stdout
    lines = printed.splitlines()
    assert lines[0] == "Stalls left-1: 9 of 11 seats free"
    assert lines[1] == "1  ooh  xoo"
    assert lines[2].startswith("2   W")
    assert "legend:" in printed
    assert "\x1b" not in printed, "no colours where nobody looks"
    assert "Stalls left-2: " in printed
    unknown = mesh.command("seatmap", show.event_id, "--section", "Nowhere", check=False)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "Nowhere" in unknown.stderr
