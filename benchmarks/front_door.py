"""What the front door costs a call: bare grpc.aio against it, and each of its stages by itself.

Run: `.venv/bin/python -m benchmarks.front_door [calls]`. Server and client share one process and one event loop, so
the round trips are upper bounds; what counts is the difference between the lines, in CPU time, which other work on
the machine disturbs least. Rounds are interleaved and the median of rounds is given.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import structlog
import uvloop
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import SpanProcessor
from pydantic import SecretStr

from holdfast.api.capacity.v1 import hold_pb2, hold_service_pb2, hold_service_pb2_grpc
from holdfast.common.authority import create_authority, issue
from holdfast.common.mesh_identity import MeshIdentity, Principal, peer_name
from holdfast.common.metrics import Metrics
from holdfast.common.rpc_client import Peer
from holdfast.common.rpc_fields import FieldRules
from holdfast.common.rpc_policy import Gate
from holdfast.common.rpc_server import RpcServer
from holdfast.common.settings import MeshSettings
from holdfast.common.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.common.rpc_call import Call

ID = "0190163d-8694-739b-aea5-966c26f8ad90"
SERVICE = hold_service_pb2.DESCRIPTOR.services_by_name["HoldService"]
REQUEST = hold_service_pb2.PlaceHoldRequest(section_id=ID, quantity=2, price_tier_id=ID, request_id="order-4711")
RESPONSE = hold_service_pb2.PlaceHoldResponse(hold=hold_pb2.Hold(id=ID))
BUYER = Principal(subject="buyer-1", organization_id=ID, roles=frozenset({"buyer"}))
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
ROUNDS = 7
WARM_UP_CALLS = 200


class Holds:
    """Answers at once: only what stands around it is measured."""

    async def place_hold(self, _request: hold_service_pb2.PlaceHoldRequest, _call: Call) -> Any:
        """Answer."""
        return RESPONSE


class _BareHolds(hold_service_pb2_grpc.HoldServiceServicer):
    async def PlaceHold(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 - gRPC's names
        return RESPONSE

    async def GetHold(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 - gRPC's names
        """Measure what only a live call has."""
        loop = asyncio.get_running_loop()
        print("stages by themselves, in a live call")
        stage("gRPC: the peer's certificate (auth_context)", context.auth_context)
        stage("gRPC: metadata", lambda: list(context.invocation_metadata()))
        stage("gRPC: time remaining", context.time_remaining)

        async def limited() -> None:
            async with asyncio.timeout_at(loop.time() + 5):  # noqa: ASYNC100 - nothing but the deadline is measured
                pass

        rounds = [(await timed(limited, 2000))[0] for _ in range(5)]
        print(f"  {'deadline (asyncio.timeout_at)':<42} {statistics.median(rounds):8.2f} µs")
        return hold_service_pb2.GetHoldResponse()


class _Dropped(SpanProcessor):
    """Records spans and throws them away."""


async def timed(call: Callable[[], Awaitable[Any]], calls: int) -> tuple[float, float]:
    """Give microseconds a call, one after the other: on the clock, and of this process' CPU time."""
    began, began_cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        await call()
    return (time.perf_counter() - began) / calls * 1e6, (time.process_time() - began_cpu) / calls * 1e6


def mean_microseconds(metrics: Metrics) -> float:
    """Give how long PlaceHold took by the service's own histogram."""
    samples = {
        each.name.rpartition("_")[2]: each.value
        for family in metrics.rpc_duration_seconds.collect()
        for each in family.samples
        if each.labels.get("rpc", "").endswith("/PlaceHold")
    }
    return samples["sum"] / samples["count"] * 1e6


def stage(name: str, work: Callable[[], Any], times: int = 20_000) -> None:
    """Print microseconds for one stage by itself."""
    work()
    rounds = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(times // 5):
            work()
        rounds.append((time.perf_counter() - began) / (times // 5) * 1e6)
    print(f"  {name:<42} {statistics.median(rounds):8.2f} µs")


async def round_trips(directory: Path, calls: int) -> None:  # noqa: C901 - a list of cases
    """Compare whole calls."""
    server_identity = MeshIdentity.load(directory, "capacity")
    client_identity = MeshIdentity.load(directory, "gateway")
    mesh = MeshSettings(identity_dir=directory, page_token_key=SecretStr("k" * 32))

    bare = grpc.aio.server()
    servicer = _BareHolds()  # type: ignore[abstract] # the other RPCs are not called
    hold_service_pb2_grpc.add_HoldServiceServicer_to_server(servicer, bare)
    bare_port = bare.add_secure_port("127.0.0.1:0", server_identity.server_credentials())
    await bare.start()

    servers: list[RpcServer] = []
    inside: dict[str, Metrics] = {}
    peers: list[Peer] = []

    async def peer_of(address: str) -> Peer:
        peer = Peer(name="capacity", target=address, identity=client_identity)
        await peer.start()
        peers.append(peer)
        return peer

    async def front(name: str, telemetry: Telemetry | None) -> Peer:
        inside[name] = Metrics("capacity")
        server = RpcServer(
            service="capacity",
            listen="127.0.0.1:0",
            identity=server_identity,
            mesh=mesh,
            metrics=inside[name],
            telemetry=telemetry,
            notice_seconds=0,
        )
        server.add(SERVICE, Holds())
        await server.start()
        servers.append(server)
        return await peer_of(server.address)

    recording = Telemetry(service="capacity", ratio=1.0, processors=[_Dropped()])
    recording.start(make_global=False)
    bare_peer = await peer_of(f"127.0.0.1:{bare_port}")
    bare_stub = hold_service_pb2_grpc.HoldServiceStub(bare_peer.channel)
    fronted, recorded = await front("not sampled", None), await front("every call sampled", recording)
    metadata = (BUYER.to_metadata(), ("traceparent", TRACEPARENT))

    def direct(stub: Any, **kwargs: Any) -> Callable[[], Awaitable[Any]]:
        return lambda: stub.PlaceHold(REQUEST, **kwargs)

    fronted_stub = hold_service_pb2_grpc.HoldServiceStub(fronted.channel)
    recorded_stub = hold_service_pb2_grpc.HoldServiceStub(recorded.channel)
    cases: dict[str, Callable[[], Awaitable[Any]]] = {
        "bare grpc.aio": direct(bare_stub),
        "bare, with deadline and metadata": direct(bare_stub, timeout=5, metadata=metadata),
        "front door, not sampled": direct(fronted_stub, timeout=5, metadata=metadata),
        "front door, every call sampled": direct(recorded_stub, timeout=5, metadata=(BUYER.to_metadata(),)),
        "front door and Peer.call": lambda: fronted.call(
            fronted_stub.PlaceHold, REQUEST, principal=BUYER, deadline_seconds=5
        ),
    }
    for case in cases.values():
        await timed(case, WARM_UP_CALLS)
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, case in cases.items():
            figures[name].append(await timed(case, calls // ROUNDS))
    print(f"round trip, mutual TLS, one call at a time ({calls} calls each)      CPU   on the clock")
    for name, values in figures.items():
        clock, cpu = sorted(value[0] for value in values), statistics.median(value[1] for value in values)
        span = f"{statistics.median(clock):8.0f} µs   (rounds {clock[0]:.0f} to {clock[-1]:.0f})"
        print(f"  {name:<42} {cpu:8.0f} µs {span}")
    print("inside the server, from a call's arrival at the front door to its answer (mean)")
    for name, metrics in inside.items():
        print(f"  {name:<42} {mean_microseconds(metrics):8.1f} µs")
    await bare_stub.GetHold(hold_service_pb2.GetHoldRequest(), timeout=30, metadata=metadata)
    for peer in peers:
        await peer.close()
    for server in servers:
        await server.stop()
    await bare.stop(0)
    await recording.stop()


def stages(directory: Path) -> None:
    """Measure each stage by itself."""
    method = SERVICE.methods_by_name["PlaceHold"]
    gate, rules, quiet = Gate(method), FieldRules(method), Telemetry(service="capacity")
    principal_value = BUYER.to_metadata()[1]
    raw = REQUEST.SerializeToString()
    metrics = Metrics("capacity")
    duration = metrics.rpc_duration_seconds.labels("rpc")
    counter = metrics.rpc_requests_total.labels("rpc", "OK")
    certificate = (directory / "gateway.crt").read_bytes()
    context = {
        "x509_pem_cert": [certificate],
        "x509_subject_alternative_name": [b"spiffe://holdfast.internal/gateway", b"gateway.holdfast.internal"],
    }

    def measured() -> None:
        duration.observe(0.001)
        counter.inc()

    print("stages by themselves")
    stage("trace context of an unsampled caller", lambda: otel_context.attach(quiet.server_context(TRACEPARENT)))
    stage("peer name from the certificate's names", lambda: peer_name(context))
    stage("principal and policy", lambda: gate.admit("gateway", principal_value))
    stage("parse", lambda: hold_service_pb2.PlaceHoldRequest.FromString(raw))
    stage("fields and validation (a CEL rule in it)", lambda: rules.check(REQUEST))
    stage("metrics", measured)
    stage("serialize", RESPONSE.SerializeToString)


def main() -> None:
    """Run everything."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 7000
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        create_authority(directory)
        issue(directory, "capacity")
        issue(directory, "gateway")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(round_trips(directory, calls))
        stages(directory)


if __name__ == "__main__":
    main()
