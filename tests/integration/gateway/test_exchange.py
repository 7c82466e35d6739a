"""Requests and answers on a connection: their order, their ends, and what stays open."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from holdfast.common.ids import new_id
from tests.integration.gateway.conftest import running_stack

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.local.valkey import EmbeddedValkey
    from tests.integration.gateway.conftest import Stack

RESERVE = f"/api/v1/capacity/{new_id()}/reserve"
BODY = b'{"quantity": 1}'


class Wire:
    """A client that sees every byte."""

    def __init__(self, stack: Stack, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head = f"Host: x\r\nAuthorization: Bearer {stack.token()}\r\nContent-Type: application/json\r\n"
        self.reader = reader
        self.writer = writer

    def request(self, line: str, headers: str = "", body: bytes = b"") -> bytes:
        return f"{line}\r\n{self.head}{headers}\r\n".encode() + body

    def reserve(self, reference: str = "") -> bytes:
        body = json.dumps({"quantity": 1, "order_reference": reference}).encode()
        return self.request(f"POST {RESERVE} HTTP/1.1", f"Content-Length: {len(body)}\r\n", body)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(20):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
            length = 0 if head_only else int(headers.get("content-length", 0))
            return int(lines[0].split()[1]), headers, await self.reader.readexactly(length)

    async def end(self) -> bytes:
        async with asyncio.timeout(20):
            rest = await self.reader.read()
        self.writer.close()
        return rest


async def connected(stack: Stack) -> Wire:
    return Wire(stack, *await asyncio.open_connection("127.0.0.1", stack.app.port))


async def arrived(stack: Stack) -> None:
    """Wait until a request to place a hold has reached the service."""
    async with asyncio.timeout(20):
        while not stack.behind.holds.requests:  # noqa: ASYNC110 - until the service has it
            await asyncio.sleep(0.01)


async def test_requests_sent_together_are_answered_in_their_order(stack: Stack) -> None:
    wire = await connected(stack)
    health, missing = wire.request("GET /health/live HTTP/1.1"), wire.request("GET /nowhere HTTP/1.1")
    await wire.send(wire.reserve("a") + health + wire.reserve("b") + missing + health + wire.reserve("c"))
    answers = [await wire.answer() for _ in range(6)]
    assert [status for status, _, _ in answers] == [201, 200, 201, 404, 200, 201]
    references = [json.loads(body)["hold"]["order_reference"] for status, _, body in answers if status == 201]
    assert references == ["a", "b", "c"]
    await wire.send(wire.reserve("d"))
    assert (await wire.answer())[0] == 201, "the connection stays open"
    wire.writer.close()


async def test_a_request_may_come_in_pieces(stack: Stack) -> None:
    wire = await connected(stack)
    whole = wire.reserve("pieces")
    for start in range(0, len(whole), 40):
        await wire.send(whole[start : start + 40])
        await asyncio.sleep(0)
    status, _, body = await wire.answer()
    assert (status, json.loads(body)["hold"]["order_reference"]) == (201, "pieces")
    wire.writer.close()


async def test_who_waits_for_permission_to_send_is_given_it(stack: Stack) -> None:
    wire = await connected(stack)
    headers = f"Content-Length: {len(BODY)}\r\nExpect: 100-continue\r\n"
    await wire.send(wire.request(f"POST {RESERVE} HTTP/1.1", headers))
    assert (await wire.answer())[0] == 100
    await wire.send(BODY)
    assert (await wire.answer())[0] == 201
    wire.writer.close()


async def test_head_says_what_get_would_and_sends_nothing(stack: Stack) -> None:
    wire = await connected(stack)
    path = f"/api/v1/events/{new_id()}/availability"
    await wire.send(wire.request(f"HEAD {path} HTTP/1.1") + wire.request(f"GET {path} HTTP/1.1"))
    head = await wire.answer(head_only=True)
    get = await wire.answer()
    assert head[0] == get[0] == 200
    assert head[1]["content-length"] == get[1]["content-length"] == str(len(get[2]))
    wire.writer.close()


@pytest.mark.parametrize(
    ("version", "headers"), [("1.0", ""), ("1.0", "Connection: keep-alive\r\n"), ("1.1", "Connection: close\r\n")]
)
async def test_who_wants_one_answer_gets_it_whole_and_the_connection_closes(
    stack: Stack, version: str, headers: str
) -> None:
    wire = await connected(stack)
    length = f"Content-Length: {len(BODY)}\r\n"
    await wire.send(wire.request(f"POST {RESERVE} HTTP/{version}", headers + length, BODY))
    status, answered, body = await wire.answer()
    assert (status, answered["connection"]) == (201, "close")
    assert json.loads(body)["hold"]["state"] == "ACTIVE"
    assert await wire.end() == b""


async def test_what_follows_a_body_is_no_header(stack: Stack) -> None:
    wire = await connected(stack)
    chunked = b"%x\r\n%b\r\n0\r\nIdempotency-Key: sent-too-late\r\n\r\n" % (len(BODY), BODY)
    await wire.send(wire.request(f"POST {RESERVE} HTTP/1.1", "Transfer-Encoding: chunked\r\n", chunked))
    assert (await wire.answer())[0] == 201
    assert stack.behind.holds.requests[-1].request_id == ""
    wire.writer.close()


async def test_a_connection_survives_a_refusal_of_a_body_that_was_sent(stack: Stack) -> None:
    wire = await connected(stack)
    big = b'{"quantity": 1}'.ljust(1024 * 1024 + 1)
    await wire.send(wire.request(f"POST {RESERVE} HTTP/1.1", f"Content-Length: {len(big)}\r\n", big))
    assert (await wire.answer())[0] == 413
    await wire.send(wire.reserve())
    assert (await wire.answer())[0] == 201
    wire.writer.close()


async def test_who_leaves_before_the_body_is_there_places_nothing(stack: Stack) -> None:
    placed = len(stack.behind.holds.requests)
    wire = await connected(stack)
    await wire.send(wire.request(f"POST {RESERVE} HTTP/1.1", f"Content-Length: {len(BODY)}\r\n", BODY[:5]))
    wire.writer.close()
    await wire.writer.wait_closed()
    other = await connected(stack)
    await other.send(other.reserve("after"))
    assert (await other.answer())[0] == 201
    assert [request.order_reference for request in stack.behind.holds.requests[placed:]] == ["after"]
    other.writer.close()


async def test_a_connection_at_rest_closes_and_one_in_use_does_not(tmp_path: Path, valkey: EmbeddedValkey) -> None:
    async with running_stack(tmp_path, cache_url=valkey.url, read_seconds_max=2, idle_seconds_max=1) as quick:
        quick.behind.holds.delay_seconds = 2.3
        resting, used = await connected(quick), await connected(quick)
        await resting.send(resting.request("GET /nowhere HTTP/1.1"))
        assert (await resting.answer())[0] == 404
        await used.send(used.reserve())
        assert (await used.answer())[0] == 201, "a request that is worked on has a deadline of its own"
        assert await resting.end() == b""
        assert await used.end() == b""


async def test_a_request_in_flight_is_the_last_one_when_the_gateway_stops(
    tmp_path: Path, valkey: EmbeddedValkey
) -> None:
    async with running_stack(tmp_path, cache_url=valkey.url, drain_seconds=10) as own:
        own.behind.holds.delay_seconds = 0.3
        wire, resting = await connected(own), await connected(own)
        await resting.send(resting.request("GET /nowhere HTTP/1.1"))
        await resting.answer()
        await wire.send(wire.reserve())
        await arrived(own)
        _, answer = await asyncio.gather(own.app.stop(), wire.answer())
        assert (answer[0], answer[1]["connection"]) == (201, "close")
        assert await wire.end() == await resting.end() == b""


async def test_who_cannot_be_answered_before_the_gateway_ends_is_told_so(
    tmp_path: Path, valkey: EmbeddedValkey
) -> None:
    async with running_stack(tmp_path, cache_url=valkey.url, drain_seconds=1) as own:
        own.behind.holds.delay_seconds = 4
        wire = await connected(own)
        await wire.send(wire.reserve())
        await arrived(own)
        _, (status, headers, body) = await asyncio.gather(own.app.stop(), wire.answer())
        assert (status, headers["connection"]) == (500, "close")
        assert json.loads(body)["code"] == "INTERNAL"
        assert await wire.end() == b""
