"""HTTP itself: what is refused before any service hears of it, and what is ignored."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from holdfast.common.ids import new_id
from tests.integration.gateway.conftest import running_stack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from holdfast.local.valkey import EmbeddedValkey
    from tests.integration.gateway.conftest import Stack

RESERVE = f"/api/v1/capacity/{new_id()}/reserve"
JSON = {"Content-Type": "application/json"}


def code(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document = answer.json()
    assert document["trace_id"] == answer.headers["x-request-id"]
    assert document["status"] == answer.status_code
    return str(document["code"])


async def raw(stack: Stack, request: bytes, *, seconds: float = 5) -> bytes:
    """Send bytes, read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.app.port)
    writer.write(request)
    await writer.drain()
    try:
        async with asyncio.timeout(seconds):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
async def test_a_body_of_another_type_is_415(stack: Stack, kind: str) -> None:
    async with stack.client() as client:
        answer = await client.post(RESERVE, content=b'{"quantity": 1}', headers={"Content-Type": kind})
    assert (answer.status_code, code(answer)) == (415, "MEDIA_TYPE_NOT_SUPPORTED")
    assert answer.json()["metadata"] == {"content_type": kind}


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", 'APPLICATION/JSON;charset="UTF-8"']
)
async def test_json_by_its_several_spellings_is_taken(stack: Stack, kind: str) -> None:
    async with stack.client() as client:
        answer = await client.post(RESERVE, content=b'{"quantity": 1}', headers={"Content-Type": kind})
    assert answer.status_code == 201, answer.text


async def test_a_compressed_body_is_refused_unread(stack: Stack) -> None:
    bomb = gzip.compress(b" " * 5_000_000)
    async with stack.client() as client:
        answer = await client.post(RESERVE, content=bomb, headers={**JSON, "Content-Encoding": "gzip"})
    assert (answer.status_code, code(answer)) == (415, "MEDIA_TYPE_NOT_SUPPORTED")


async def test_a_body_over_a_megabyte_is_413(stack: Stack) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 32_768

    placed = len(stack.behind.holds.requests)
    async with stack.client() as client:
        known = await client.post(RESERVE, content=b" " * (1024 * 1024 + 1), headers=JSON)
        chunked = await client.post(RESERVE, content=chunks(), headers=JSON)
        largest = await client.post(RESERVE, content=b'{"quantity": 1}'.ljust(1024 * 1024), headers=JSON)
    for answer in (known, chunked):
        assert (answer.status_code, code(answer)) == (413, "BODY_TOO_LARGE")
        assert answer.json()["metadata"] == {"limit_bytes": "1048576"}
    assert largest.status_code == 201, largest.text
    assert len(stack.behind.holds.requests) == placed + 1


async def test_a_sender_that_goes_on_and_on_is_answered_and_cut_off(stack: Stack) -> None:
    head = f"POST {RESERVE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stack.token()}\r\n".encode()
    announced = await raw(stack, head + b"Content-Length: 999999999999999999\r\n\r\n")
    waiting = await raw(stack, head + b"Content-Length: 2000000\r\nExpect: 100-continue\r\n\r\n")
    for answer in (announced, waiting):
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in answer


async def test_a_chunked_body_is_read(stack: Stack) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"quant'
        yield b'ity": 1}'

    async with stack.client() as client:
        answer = await client.post(RESERVE, content=chunks(), headers=JSON)
    assert answer.status_code == 201, answer.text


async def test_another_method_is_405_with_allow(stack: Stack) -> None:
    async with stack.client() as client:
        answer = await client.get(RESERVE)
        options = await client.options("/api/v1/holds")
    assert (answer.status_code, code(answer)) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "POST"
    assert (options.status_code, options.headers["allow"]) == (204, "GET")
    assert not [name for name in options.headers if name.startswith("access-control")], "no origin is allowed"


@pytest.mark.parametrize(
    "path", ["/api/v1/evnts", "/", "/api/v1/events/%2e%2e%2f%2e%2e/health", "/api/v1/events/../../health", "/console"]
)
async def test_a_path_that_is_not_there_is_404(stack: Stack, path: str) -> None:
    answer = await raw(stack, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b'"code":"PATH_NOT_FOUND"' in answer


@pytest.mark.parametrize(
    "head",
    [
        b"GET /api/v1/holds HTTP/1.1\r\nHost: x\r\nX-Big: " + b"a" * 17_000 + b"\r\n\r\n",
        b"GET /api/v1/holds HTTP/1.1\r\nHost: x\r\nX-Big: " + b"a" * 17_000,
        b"GET /api/v1/holds?" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/holds HTTP/1.1\r\n" + b"X-A: b\r\n" * 101 + b"\r\n",
    ],
    ids=["one header", "one that never ends", "address", "many headers"],
)
async def test_a_head_over_16_kb_or_100_lines_is_431(stack: Stack, head: bytes) -> None:
    answer = await raw(stack, head)
    assert answer.startswith(b"HTTP/1.1 431 "), answer[:200]
    assert b"application/problem+json" in answer


async def test_a_head_just_below_the_limit_is_read(stack: Stack) -> None:
    head = b"GET /api/v1/holds HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Big: " + b"a" * 16_000 + b"\r\n\r\n"
    assert (await raw(stack, head)).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
)
async def test_what_is_not_http_is_refused_without_internals(stack: Stack, garbage: bytes) -> None:
    answer = await raw(stack, garbage + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["detail"] == "this is not a valid HTTP request"


async def test_forged_principal_and_organization_headers_are_ignored(stack: Stack) -> None:
    forged = {
        "holdfast-principal-bin": "CgVhZG1pbg==",
        "X-Organization-Id": new_id(),
        "X-User-Id": "admin",
        "X-Tenant-Id": new_id(),
        "X-Forwarded-User": "admin",
    }
    async with stack.client(subject="honest", **forged) as client:
        answer = await client.post(RESERVE, json={"quantity": 1})
    assert answer.status_code == 201, answer.text
    principal = stack.behind.holds.calls[-1].principal
    assert (principal.subject, principal.organization_id) == ("honest", stack.organization_id)
    assert principal.roles == {"buyer"}
    async with httpx.AsyncClient(base_url=stack.url) as anonymous:
        answer = await anonymous.post(RESERVE, json={"quantity": 1}, headers=forged)
    assert (answer.status_code, code(answer)) == (401, "TOKEN_INVALID")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_valid_token_without_the_permission_is_403(stack: Stack) -> None:
    async with stack.client("scanner") as client:
        answer = await client.post(RESERVE, json={"quantity": 1})
    assert (answer.status_code, code(answer)) == (403, "PERMISSION_MISSING")
    assert answer.json()["metadata"] == {"permission": "holds.place"}


async def test_another_organizations_id_is_404_like_an_unknown_one(stack: Stack) -> None:
    async with stack.client() as client:
        first = await client.get(f"/api/v1/holds/{new_id()}")
    assert (first.status_code, code(first)) == (404, "HOLD_NOT_FOUND")


@pytest.mark.parametrize(
    ("headers", "body", "field"),
    [
        ({"Idempotency-Key": "k" * 256}, {"quantity": 1}, "Idempotency-Key"),
        ({"Idempotency-Key": ""}, {"quantity": 1}, "Idempotency-Key"),
        ({"Idempotency-Key": "a"}, {"quantity": 1, "request_id": "b"}, "request_id"),
        ({"If-Match": '"1"'}, {"quantity": 1}, "If-Match"),
        ({}, {"quantity": 1, "section_id": new_id()}, "section_id"),
    ],
)
async def test_headers_and_body_that_do_not_fit_are_refused(
    stack: Stack, headers: dict[str, str], body: dict[str, object], field: str
) -> None:
    async with stack.client() as client:
        answer = await client.post(RESERVE, json=body, headers=headers)
    assert (answer.status_code, code(answer)) == (400, "VALIDATION_FAILED")
    assert answer.json()["errors"][0]["field"] == field


async def test_a_header_that_must_be_single_is_refused_twice(stack: Stack) -> None:
    async with stack.client() as client:
        answer = await client.post(
            RESERVE, json={"quantity": 1}, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
        )
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "idempotency-key")


async def test_a_body_or_a_query_where_none_belongs_is_refused(stack: Stack) -> None:
    async with stack.client() as client:
        body = await client.request("GET", "/api/v1/holds", json={"page_size": 1})
        query = await client.post(f"{RESERVE}?quantity=2", json={"quantity": 1})
    assert (body.status_code, code(body)) == (400, "MALFORMED_BODY")
    assert (query.status_code, query.json()["errors"][0]["field"]) == (400, "quantity")


async def test_sql_and_templates_pass_literally(stack: Stack) -> None:
    text = "'); DROP TABLE holds; -- {{7*7}} ${x} %s <script>"
    async with stack.client() as client:
        answer = await client.post(RESERVE, json={"quantity": 1, "order_reference": text})
    assert answer.json()["hold"]["order_reference"] == text


async def test_slow_clients_are_cut_off(tmp_path: Path, valkey: EmbeddedValkey) -> None:
    async with running_stack(tmp_path, cache_url=valkey.url, read_seconds_max=0.5) as quick:
        started = time.monotonic()
        silent = raw(quick, b"", seconds=5)
        head = raw(quick, b"POST /api/v1/holds HTTP/1.1\r\nHost: x\r\nX-A: ", seconds=5)
        body = raw(
            quick,
            f"POST {RESERVE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {quick.token()}\r\n"
            'Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"qua'.encode(),
            seconds=5,
        )
        unanswered, cut, told = await asyncio.gather(silent, head, body)
        assert time.monotonic() - started < 4
        assert unanswered == b""
        assert cut == b""
        assert told.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in told


async def test_connections_are_counted(tmp_path: Path, valkey: EmbeddedValkey) -> None:
    async with running_stack(tmp_path, cache_url=valkey.url, connections_max=2) as small:
        open_ones = [await asyncio.open_connection("127.0.0.1", small.app.port) for _ in range(2)]
        answer = await raw(small, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in answer
        for _, writer in open_ones:
            writer.close()


async def test_only_named_origins_may_call_from_a_browser(tmp_path: Path, valkey: EmbeddedValkey) -> None:
    async with (
        running_stack(tmp_path, cache_url=valkey.url, cors_origins="https://shop.example") as shop,
        httpx.AsyncClient(base_url=shop.url) as browser,
    ):
        ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        allowed = await browser.options(RESERVE, headers={"Origin": "https://shop.example", **ask})
        other = await browser.options(RESERVE, headers={"Origin": "https://evil.example", **ask})
        answer = await browser.get("/api/v1/holds", headers={"Origin": "https://shop.example"})
    assert allowed.status_code == 204
    assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
    assert "POST" in allowed.headers["access-control-allow-methods"]
    assert "Idempotency-Key" in allowed.headers["access-control-allow-headers"]
    assert "access-control-allow-origin" not in other.headers
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, "https://shop.example")
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/notifications"),
        ("GET", "/api/v1/users/u-1/notifications"),
        ("PUT", "/api/v1/notifications/n-1/read"),
    ],
)
async def test_a_path_whose_work_is_outside_the_mesh_says_where_it_is_done(
    stack: Stack, method: str, path: str
) -> None:
    async with stack.client() as client:
        answer = await client.request(method, path)
    assert (answer.status_code, code(answer)) == (501, "OUTSIDE_THE_MESH")
    assert "docs/reference/messages.md" in answer.json()["detail"]


async def test_a_field_that_is_not_built_is_501_and_named(stack: Stack) -> None:
    placed = len(stack.behind.holds.requests)
    async with stack.client() as client:
        answer = await client.post(RESERVE, json={"quantity": 1, "coupon_code": "SPRING"})
    assert (answer.status_code, code(answer)) == (501, "NOT_BUILT_YET")
    assert answer.json()["metadata"] == {"rpc": "PlaceHold", "field": "coupon_code"}
    assert [error["field"] for error in answer.json()["errors"]] == ["coupon_code"]
    assert len(stack.behind.holds.requests) == placed
