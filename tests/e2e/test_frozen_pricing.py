"""A pricing service that answers nobody costs only those who need a price."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import psutil
import pytest

from holdfast.api.capacity.v1 import hold_service_pb2, hold_service_pb2_grpc
from tests.e2e.test_slice_over_stubs import metadata
from tests.support.mesh import key
from tests.support.show import create_show, post

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.support.mesh import Mesh

WAIT_SECONDS = 30


@contextmanager
def frozen(mesh: Mesh, name: str) -> Iterator[None]:
    """Stop a process of the mesh and all its children for a block, as SIGSTOP does; nothing restarts it meanwhile."""
    root = psutil.Process(mesh.pid(name))
    processes = [root, *root.children(recursive=True)]
    with mesh.frozen_supervisor():
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()


def test_priced_holds_fail_in_their_time_and_others_are_untouched(
    mesh: Mesh, organizer: httpx.Client, buyer: httpx.Client
) -> None:
    show = create_show(organizer, total=100)
    path = f"/api/v1/capacity/{show.section_id}/reserve"
    priced: dict[str, Any] = {"quantity": 1, "price_tier_id": show.price_tier_id}
    placed_before = key()
    before = post(buyer, path, priced, request_id=placed_before)["hold"]

    def reserve(body: dict[str, Any]) -> httpx.Response:
        return buyer.post(path, json=body, headers={"Idempotency-Key": key()})

    with ThreadPoolExecutor(20) as threads, mesh.channel("capacity", certificate="orders") as channel:
        holds = hold_service_pb2_grpc.HoldServiceStub(channel)
        with frozen(mesh, "pricing"):
            waiting = [threads.submit(reserve, priced) for _ in range(10)]
            others = [threads.submit(reserve, {"quantity": 1}) for _ in range(10)]
            assert [each.result().status_code for each in others] == [201] * 10
            assert not any(each.done() and each.result().status_code == 201 for each in waiting)
            with pytest.raises(grpc.RpcError) as caught:
                holds.PlaceHold(
                    hold_service_pb2.PlaceHoldRequest(section_id=show.section_id, **priced),
                    timeout=0.5,
                    metadata=metadata(show.organization_id),
                )
            assert caught.value.code() in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
            for each in waiting:
                answer = each.result(WAIT_SECONDS)
                told = (answer.status_code, answer.json()["code"])
                assert told in {(503, "DEPENDENCY_UNAVAILABLE"), (504, "DEADLINE_EXCEEDED")}
            replay = buyer.post(path, json=priced, headers={"Idempotency-Key": placed_before})
            assert (replay.status_code, replay.headers["idempotency-replayed"]) == (200, "true")
            assert replay.json()["hold"] == before
            assert buyer.post(f"/api/v1/holds/{before['id']}/confirm", json={}).status_code == 200
    mesh.wait_healthy(WAIT_SECONDS)
    deadline = time.monotonic() + WAIT_SECONDS
    while reserve(priced).status_code != 201:  # until the circuit breaker tries again
        assert time.monotonic() < deadline
        time.sleep(0.1)
    section = buyer.get(f"/api/v1/capacity/{show.section_id}").json()["section"]
    assert (section["held"], section["sold"]) == (11, 1)
