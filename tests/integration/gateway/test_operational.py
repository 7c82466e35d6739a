"""Health, metrics, documents, traces, start and stop."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import ssl
import subprocess
import sys
from datetime import datetime
from typing import TYPE_CHECKING

import httpx
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from holdfast.common.contracts import contract_services
from holdfast.common.errors import StartRefused
from holdfast.common.ids import new_id
from holdfast.gateway.routes import Routes
from tests.integration.gateway.conftest import running_stack

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.local.valkey import EmbeddedValkey
    from tests.integration.gateway.conftest import Stack


async def test_health_says_what_it_is_and_when(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.url) as client:
        health = (await client.get("/health")).json()
        ready = await client.get("/health/ready")
        assert [(await client.get(f"/health/{each}")).status_code for each in ("live", "startup")] == [200, 200]
    assert (health["status"], health["service"]) == ("healthy", "holdfast-gateway")
    assert datetime.fromisoformat(health["timestamp"]).utcoffset() is not None
    assert ready.json()["dependencies"] == {
        "events": "SERVING",
        "capacity": "SERVING",
        "pricing": "SERVING",
        "token-issuer": "SERVING",
    }


async def test_one_service_down_degrades_and_all_down_withdraws(tmp_path: Path, valkey: EmbeddedValkey) -> None:
    async with (
        running_stack(tmp_path, cache_url=valkey.url) as own,
        httpx.AsyncClient(base_url=own.url) as client,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{own.app.metrics_port}") as operator,
    ):
        assert (await client.get("/health/ready")).status_code == 200
        await own.servers["pricing"].stop()
        await asyncio.sleep(1.1)  # what services say is remembered for a second
        degraded = await client.get("/health/ready")
        assert (degraded.status_code, degraded.json()["dependencies"]["pricing"]) == (200, "UNREACHABLE")
        assert (await client.get("/health")).json()["status"] == "degraded"
        for name in ("events", "capacity"):
            await own.servers[name].stop()
        await asyncio.sleep(1.1)
        assert (await client.get("/health/ready")).status_code == 503
        assert (await operator.get("/health/ready")).status_code == 503
        assert (await client.get("/health/live")).status_code == 200


async def test_metrics_count_by_route_template_and_never_by_path(stack: Stack) -> None:
    async with stack.client() as client:
        await client.get(f"/api/v1/holds/{new_id()}")
        await client.get("/api/v1/nothing/here")
        text = (await client.get("/metrics")).text
    assert re.search(
        r'holdfast_http_requests_total\{method="GET",route="/api/v1/holds/\{hold_id\}",status="404"\} [1-9]', text
    )
    assert 'route="none"' in text
    assert "/nothing/here" not in text
    assert "holdfast_rate_limits_local 0.0" in text


async def test_the_openapi_document_has_every_binding_and_valid_references(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.url) as client:
        document = (await client.get("/openapi.json")).json()
        page = await client.get("/docs")
    assert document["openapi"].startswith("3.1")
    bindings = {(b.template, b.method.lower()) for b in Routes(contract_services()).bindings}
    assert {(path, method) for path, methods in document["paths"].items() for method in methods} == bindings
    identifiers = [each["operationId"] for methods in document["paths"].values() for each in methods.values()]
    assert len(identifiers) == len(set(identifiers))
    for reference in set(re.findall(r'"\$ref":"#/([^"]+)"', json.dumps(document, separators=(",", ":")))):
        target = document
        for part in reference.split("/"):
            target = target[part]
        assert target
    place = document["paths"]["/api/v1/capacity/{section_id}/reserve"]["post"]
    assert [each["name"] for each in place["parameters"]] == ["section_id", "Idempotency-Key", "Request-Timeout"]
    body = place["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert body["quantity"] == {"type": "integer", "format": "int32", "minimum": 1, "maximum": 1000}
    assert body["price_tier_id"]["x-formerly"] == ["pricing_id"]
    assert document["components"]["schemas"]["Event"]["properties"]["state"]["readOnly"] is True
    hosts = set(re.findall(r"https?://[^\"'\s<)]+", page.text))
    assert hosts == set(), "the page needs no other host"
    assert "default-src 'none'" in page.headers["content-security-policy"]


async def test_documents_and_metrics_can_be_switched_off(tmp_path: Path, valkey: EmbeddedValkey) -> None:
    async with (
        running_stack(tmp_path, cache_url=valkey.url, docs="off", metrics="off") as own,
        httpx.AsyncClient(base_url=own.url) as client,
    ):
        for path in ("/docs", "/openapi.json", "/metrics"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "PATH_NOT_FOUND")
        wrong = await client.post("/health")
        assert (wrong.status_code, wrong.json()["code"]) == (405, "METHOD_NOT_ALLOWED")


async def test_a_callers_trace_goes_on_through_the_gateway(tmp_path: Path, valkey: EmbeddedValkey) -> None:
    exporter = InMemorySpanExporter()
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with (
        running_stack(tmp_path, cache_url=valkey.url, span_processors=(SimpleSpanProcessor(exporter),)) as own,
        own.client() as client,
    ):
        answer = await client.get(
            f"/api/v1/holds/{new_id()}", headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
        )
        unsampled = await client.get("/api/v1/events")
    assert answer.json()["trace_id"] == trace_id == answer.headers["x-request-id"]
    assert answer.headers["traceparent"].startswith(f"00-{trace_id}-")
    spans = {span.name: span for span in exporter.get_finished_spans()}
    server = spans["GET /api/v1/holds/{hold_id}"]
    assert server.attributes is not None
    assert server.attributes["http.response.status_code"] == 404
    assert server.parent is not None
    assert f"{server.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert len({span.context.trace_id for span in spans.values() if span.context}) == 1, "no other trace is recorded"
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", unsampled.headers["traceparent"])


async def test_requests_in_flight_end_before_the_gateway_does(tmp_path: Path, valkey: EmbeddedValkey) -> None:
    async with running_stack(tmp_path, cache_url=valkey.url, drain_seconds=5) as own, own.client() as client:
        own.behind.holds.delay_seconds = 0.6
        running = asyncio.create_task(client.post(f"/api/v1/capacity/{new_id()}/reserve", json={"quantity": 1}))
        while not own.behind.holds.calls:  # noqa: ASYNC110 - until the service has it
            await asyncio.sleep(0.01)
        await own.app.stop()
        assert (await running).status_code == 201
        with pytest.raises(httpx.ConnectError):
            await client.get("/health")


async def test_a_taken_address_refuses_the_start_by_name(tmp_path: Path, valkey: EmbeddedValkey) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StartRefused, match=address):
            async with running_stack(tmp_path, cache_url=valkey.url, listen=address):
                pass


async def test_https_is_served_with_a_certificate(tmp_path: Path, valkey: EmbeddedValkey, stack: Stack) -> None:
    identity = stack.mesh.identity_dir
    async with running_stack(
        tmp_path, cache_url=valkey.url, tls_certificate=identity / "events.crt", tls_key=identity / "events.key"
    ) as own:
        context = ssl.create_default_context(cafile=identity / "ca.crt")
        async with httpx.AsyncClient(base_url=f"https://localhost:{own.app.port}", verify=context) as client:
            assert (await client.get("/health/live")).status_code == 200


def serve(stack: Stack, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run the gateway's process with the variables of a stack, changed."""
    variables = {
        "HOLDFAST_IDENTITY_DIR": str(stack.mesh.identity_dir),
        "HOLDFAST_PAGE_TOKEN_KEY": "0123456789abcdefghijklmnopqrstuvwxyz",
        "HOLDFAST_GATEWAY_JWKS": str(stack.issuer.jwks),
        "HOLDFAST_GATEWAY_ISSUER": "https://issuer.test",
        "HOLDFAST_GATEWAY_LISTEN": "127.0.0.1:0",
        "HOLDFAST_GATEWAY_METRICS_LISTEN": "127.0.0.1:0",
        **changes,
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return subprocess.run(
        [sys.executable, "-m", "holdfast.gateway", "serve"],
        env=clean | {name: value for name, value in variables.items() if value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({"HOLDFAST_GATEWAY_JWKS": ""}, 2, "HOLDFAST_GATEWAY_JWKS: missing"),
        ({"HOLDFAST_GATEWAY_JWKS": "/nowhere/jwks.json"}, 3, "JWKS"),
        ({"HOLDFAST_IDENTITY_DIR": "/nowhere"}, 3, "gateway"),
    ],
)
async def test_a_process_that_cannot_start_says_why_in_a_line(
    stack: Stack, changes: dict[str, str], code: int, named: str
) -> None:
    ended = await asyncio.to_thread(serve, stack, **changes)
    assert ended.returncode == code, ended.stderr
    assert named in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_the_process_serves_and_ends_on_sigterm(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "holdfast.gateway",
        "serve",
        env=clean
        | {
            "HOLDFAST_IDENTITY_DIR": str(stack.mesh.identity_dir),
            "HOLDFAST_PAGE_TOKEN_KEY": "0123456789abcdefghijklmnopqrstuvwxyz",
            "HOLDFAST_EVENTS_ADDRESS": stack.mesh.events_address,
            "HOLDFAST_CAPACITY_ADDRESS": stack.mesh.capacity_address,
            "HOLDFAST_CACHE_URL": stack.mesh.cache_url,
            "HOLDFAST_GATEWAY_JWKS": str(stack.issuer.jwks),
            "HOLDFAST_GATEWAY_ISSUER": "https://issuer.test",
            "HOLDFAST_GATEWAY_LISTEN": f"127.0.0.1:{port}",
            "HOLDFAST_GATEWAY_METRICS_LISTEN": "127.0.0.1:0",
        },
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            while True:
                try:
                    answer = await client.get("/health/ready")
                except httpx.ConnectError:
                    await asyncio.sleep(0.05)
                    continue
                if answer.status_code == 200:
                    break
                await asyncio.sleep(0.05)
            authorized = {"Authorization": f"Bearer {stack.token()}"}
            assert (await client.get("/api/v1/events", headers=authorized)).status_code == 200
            process.terminate()
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    assert b"Traceback" not in errors
