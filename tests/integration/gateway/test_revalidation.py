"""Answers that a client has already are not sent again; answers that say more than their etag always are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from holdfast.common.ids import new_id

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Stack


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ('W/"41"', 304),
        ('"41"', 304),
        ("*", 304),
        ('"40", W/"41" , "42"', 304),
        ('"4,1", "41"', 304),
        ('"40"', 200),
        ('"*"', 200),
        ('"40", W/"42"', 200),
    ],
)
async def test_availability_is_sent_only_if_it_changed(stack: Stack, condition: str, status: int) -> None:
    stack.behind.inventories.etag = "41"
    async with stack.client() as client:
        answer = await client.get(f"/api/v1/events/{new_id()}/availability", headers={"If-None-Match": condition})
    assert answer.status_code == status
    assert answer.headers["etag"] == 'W/"41"'
    assert answer.headers["cache-control"] == "private, no-cache"
    if status == 304:
        assert answer.content == b""
        assert "content-type" not in answer.headers
        assert "content-length" not in answer.headers
    else:
        assert answer.json()["availability"]["available"] == 7


async def test_a_client_follows_availability_by_its_etags(stack: Stack) -> None:
    path = f"/api/v1/events/{new_id()}/availability"
    async with stack.client() as client:
        first = await client.get(path)
        known = {"If-None-Match": first.headers["etag"]}
        assert (await client.get(path, headers=known)).status_code == 304
        assert (await client.head(path, headers=known)).status_code == 304
        stack.behind.inventories.etag = "42.5"
        changed = await client.get(path, headers=known)
    assert (changed.status_code, changed.headers["etag"]) == (200, 'W/"42.5"')


async def test_etags_may_come_in_several_lines(stack: Stack) -> None:
    stack.behind.inventories.etag = "41"
    async with stack.client() as client:
        lines = [("If-None-Match", '"40"'), ("If-None-Match", 'W/"41"')]
        answer = await client.get(f"/api/v1/events/{new_id()}/availability", headers=lines)
    assert answer.status_code == 304


async def test_a_resource_keeps_its_strong_etag(stack: Stack) -> None:
    async with stack.client() as client:
        placed = await client.post(f"/api/v1/capacity/{new_id()}/reserve", json={"quantity": 1})
        path = placed.headers["location"]
        read = await client.get(path)
        again = await client.get(path, headers={"If-None-Match": read.headers["etag"]})
        missing = await client.get(f"/api/v1/holds/{new_id()}", headers={"If-None-Match": "*"})
    assert read.headers["etag"] == '"1"'
    assert (again.status_code, again.headers["etag"]) == (304, '"1"')
    assert missing.status_code == 404, "a condition does not make up for what is not there"


async def test_an_answer_that_says_more_than_its_etag_is_always_sent(stack: Stack) -> None:
    async with stack.client() as client:
        read = await client.get(f"/api/v1/capacity/{new_id()}", headers={"If-None-Match": '"1"'})
    assert (read.status_code, read.headers["etag"]) == (200, '"1"')
    assert "cache-control" not in read.headers
    assert read.json()["section"]["available"] == 3


@pytest.mark.parametrize("condition", ["41", '"41', '"41" "42"', 'w/"41"', '"4 1"', "", ",", '*, "41"'])
async def test_a_condition_that_cannot_be_read_is_refused(stack: Stack, condition: str) -> None:
    async with stack.client() as client:
        answer = await client.get(f"/api/v1/events/{new_id()}/availability", headers={"If-None-Match": condition})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "If-None-Match"


async def test_what_changes_something_takes_no_such_condition(stack: Stack) -> None:
    before = len(stack.behind.holds.requests)
    async with stack.client() as client:
        answer = await client.post(
            f"/api/v1/capacity/{new_id()}/reserve", json={"quantity": 1}, headers={"If-None-Match": "*"}
        )
    assert answer.status_code == 400
    assert len(stack.behind.holds.requests) == before


async def test_the_document_tells_which_answers_can_be_asked_for_so(stack: Stack) -> None:
    async with stack.client() as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    availability = paths["/api/v1/events/{event_id}/availability"]["get"]
    section = paths["/api/v1/capacity/{section_id}"]["get"]
    assert "If-None-Match" in {parameter["name"] for parameter in availability["parameters"]}
    assert "ETag" in availability["responses"]["304"]["headers"]
    assert "If-None-Match" not in {parameter["name"] for parameter in section["parameters"]}
    assert "304" not in section["responses"]
