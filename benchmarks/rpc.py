"""Cases that call capacity itself, as the gateway does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.results import AbsentError
from benchmarks.shows import HOLD_TTL_SECONDS
from holdfast.api.capacity.v1 import hold_service_pb2
from holdfast.local import operator

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.results import Result
    from benchmarks.shows import Show

BATCH_CALLS = 4
BATCH_SIZE = 200
NOT_BUILT = "UNIMPLEMENTED"


def job_of(bench: Bench, show: Show, run: str, *, address: str = "") -> dict[str, Any]:
    """Give what every load on capacity's HoldService needs; without `address`, of the mesh's own."""
    return {
        **bench.timing(),
        "run": run,
        "address": address or bench.stack.plan.grpc["capacity"],
        "identities": str(bench.stack.layout.identities),
        "organization_id": show.organization_id,
        "buyers": bench.shows.buyers,
        "section_ids": show.section_ids,
        "hold_ttl_seconds": HOLD_TTL_SECONDS,
        "calls": bench.options.connections,
    }


def hold_unary(bench: Bench) -> Result:
    """Call PlaceHold with the gateway's certificate, over one channel."""
    show = bench.shows.make("unary")
    result = bench.repeat("grpc_hold_unary", "holds/s", lambda run: [("rpc_unary", job_of(bench, show, run))])
    return bench.check(show, result)


def echo(bench: Bench) -> Result:
    """Make the same calls to a server that answers at once: the transport's own ceiling."""
    show = bench.shows.make("echo")
    hold_id = bench.shows.place(show)
    with operator.channel(
        bench.stack.layout.identities, service="capacity", address=bench.stack.plan.grpc["capacity"]
    ) as channel:
        hold = operator.Operator(channel, organization_id=show.organization_id).hold(hold_id)
    answer = hold_service_pb2.PlaceHoldResponse(hold=hold, inventory_version=1_000, server_time=hold.create_time)
    server = {"identities": str(bench.stack.layout.identities), "answer": answer.SerializeToString().hex()}
    with bench.children.serving("echo_rpc", server) as (port, pid):
        return bench.repeat(
            "grpc_echo",
            "calls/s",
            lambda run: [("rpc_unary", job_of(bench, show, run, address=f"127.0.0.1:{port}"))],
            extra_pids={"echo": pid},
        )


def hold_batch(bench: Bench) -> Result:
    """Place holds by BatchMutateHolds, as the gateway does; four calls of 200 in flight."""
    show = bench.shows.make("batch")

    def job(run: str) -> dict[str, Any]:
        return job_of(bench, show, run) | {"calls": BATCH_CALLS, "batch": BATCH_SIZE}

    probe = bench.children.loads([("rpc_batch", job("probe") | {"warm_seconds": 0, "seconds": 0.1})])[0]
    if NOT_BUILT in probe.errors:
        raise AbsentError("BatchMutateHolds is not built yet")
    result = bench.repeat("grpc_hold_batch", "holds/s", lambda run: [("rpc_batch", job(run))])
    return bench.check(show, result, held_before=probe.held)
