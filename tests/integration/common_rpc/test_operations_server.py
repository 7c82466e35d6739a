"""What probes and scrapers get over plain HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from holdfast.common.errors import StartRefused
from holdfast.common.metrics import Metrics
from holdfast.common.operations_server import CONNECTIONS_MAX, OperationsServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Served:
    def __init__(self) -> None:
        self.ready = True
        self.metrics = Metrics("capacity")
        self.server: OperationsServer | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.port}"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    served.server = await served.metrics.serve("127.0.0.1:0", ready=lambda: served.ready)
    yield served
    await served.server.stop()


async def test_metrics_are_exposed_and_parse(served: Served) -> None:
    served.metrics.holds_placed_total.inc(3)
    async with httpx.AsyncClient() as client:
        response = await client.get(f"{served.url}/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    assert "holdfast_holds_placed_total 3.0" in response.text
    assert 'holdfast_service_info{service="capacity"} 1.0' in response.text
    assert "process_resident_memory_bytes" in response.text


async def test_health_tells_alive_from_ready(served: Served) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{served.url}/health/ready")).json() == {"status": "ready", "service": "capacity"}
        served.ready = False
        assert (await client.get(f"{served.url}/health/ready")).status_code == 503
        assert (await client.get(f"{served.url}/health/live")).status_code == 200


async def test_there_is_nothing_else(served: Served) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{served.url}/")).status_code == 404
        assert (await client.get(f"{served.url}/metrics/../etc")).status_code == 404
        assert (await client.post(f"{served.url}/metrics")).status_code == 405


@pytest.mark.parametrize("request_", [b"nonsense\r\n\r\n", b"GET /metrics HTTP/1.1\r\nX: " + b"y" * 10_000])
async def test_bad_requests_are_answered_or_closed(served: Served, request_: bytes) -> None:
    assert served.server is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
    writer.write(request_)
    async with asyncio.timeout(10):
        answer = await reader.read(100)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 405"))
    writer.close()
    await writer.wait_closed()


async def test_idle_connections_are_bounded(served: Served) -> None:
    assert served.server is not None
    idle = [await asyncio.open_connection("127.0.0.1", served.server.port) for _ in range(CONNECTIONS_MAX)]
    reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
    async with asyncio.timeout(3):
        assert await reader.read(10) == b""
    for each in (*(writer for _, writer in idle), writer):
        each.close()
        await each.wait_closed()


async def test_the_loops_lag_is_measured(served: Served) -> None:
    async with asyncio.timeout(10):
        while not served.metrics.registry.get_sample_value("holdfast_event_loop_lag_seconds_count"):  # noqa: ASYNC110 - a metric has no event
            await asyncio.sleep(0.05)


async def test_a_port_in_use_refuses_the_start(served: Served) -> None:
    assert served.server is not None
    with pytest.raises(StartRefused, match=str(served.server.port)):
        await Metrics("other").serve(f"127.0.0.1:{served.server.port}", ready=lambda: True)
