"""Several replicas of capacity: an event's calls meet in one of them, and none of them is needed."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.api.capacity.v1 import hold_pb2
from holdfast.api.capacity.v1 import hold_service_pb2 as pb
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from holdfast.common.mesh_identity import MeshIdentity, Principal
from holdfast.common.metrics import Metrics
from holdfast.gateway.callers import Caller
from holdfast.gateway.clients import Clients
from holdfast.gateway.measures import Measures
from holdfast.gateway.replicas import KnownEvents, Replicas
from tests.integration.gateway.services import Holds
from tests.integration.gateway.test_lanes import BY_SECTION, ENDPOINTS, TRACEPARENT, Bench, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from holdfast.common.rpc_call import Call
    from tests.integration.gateway.conftest import Stack

GET_HOLD = ENDPOINTS["GET", "/api/v1/holds/{hold_id}"]
BY_EVENT = ENDPOINTS["POST", "/api/v1/events/{event_id}/holds"]


class EventHolds(Holds):
    """Knows which event a section is of; holds are known to all replicas, as those of one database are."""

    def __init__(self, events: dict[str, str], shared: dict[str, hold_pb2.Hold]) -> None:
        super().__init__()
        self._events = events
        self.holds = shared

    async def place_hold(self, request: pb.PlaceHoldRequest, call: Call) -> pb.PlaceHoldResponse:
        answer = await super().place_hold(request, call)
        section_id = request.section_id or request.lines[0].section_id
        answer.hold.event_id = self._events.setdefault(section_id, request.event_id or new_id())
        answer.hold.lines[0].section_id = section_id
        return answer


class Several:
    """The gateway's clients in front of several capacities."""

    def __init__(self, stack: Stack, benches: list[Bench], events: dict[str, str]) -> None:
        self.events = events
        self.benches = benches
        self.stack = stack

    async def start(self) -> None:
        targets = ",".join(each.server.address for each in self.benches)
        metrics = Metrics("gateway")
        self.metrics = metrics
        self.clients = Clients(
            targets=dict.fromkeys(("capacity", "events", "pricing"), targets),
            identity=MeshIdentity.load(self.stack.mesh.identity_dir, "gateway"),
            metrics=metrics,
            measures=Measures(metrics),
        )
        await self.clients.start(ENDPOINTS.values())

    async def call(self, endpoint: Any, request: Any) -> Any:
        principal = Principal("buyer-1", self.stack.organization_id, frozenset({"buyer"}))
        response, _ = await self.clients.call(
            endpoint,
            request,
            principal=principal,
            deadline_seconds=5,
            caller=Caller(TRACEPARENT, recorded=False, gone=lambda: False),
        )
        return response

    async def place(self, section_id: str, **fields: Any) -> Any:
        return await self.call(BY_SECTION, pb.PlaceHoldRequest(section_id=section_id, quantity=1, **fields))

    def came(self) -> list[int]:
        return [len(each.holds.calls) for each in self.benches]


@asynccontextmanager
async def several(stack: Stack, count: int) -> AsyncIterator[Several]:
    events: dict[str, str] = {}
    shared: dict[str, hold_pb2.Hold] = {}
    async with AsyncExitStack() as opened:
        benches = [Bench(stack, EventHolds(events, shared)) for _ in range(count)]
        for each in benches:
            await each.server.start()
            opened.push_async_callback(each.server.stop)
        made = Several(stack, benches, events)
        await made.start()
        opened.push_async_callback(made.clients.close)
        yield made


async def test_an_events_calls_meet_in_one_replica(stack: Stack) -> None:
    async with several(stack, 3) as running:
        sections = [new_id() for _ in range(30)]
        await asyncio.gather(*(running.place(section) for section in sections))
        first = running.came()
        assert sum(first) == 30
        assert all(first)  # thirty events do not all prefer the same
        # From now on the sections' events are known, whichever way they are named.
        section = sections[0]
        event = running.events[section]
        before = running.came()
        hold = (await running.place(section)).hold
        lines = [pb.HoldLineSelector(section_id=section, quantity=1)]
        await running.call(BY_EVENT, pb.PlaceHoldRequest(event_id=event, lines=lines))
        await running.call(BY_EVENT, pb.PlaceHoldRequest(lines=lines))
        assert (await running.call(GET_HOLD, pb.GetHoldRequest(hold_id=hold.id))).hold.id == hold.id
        grown = [now - then for now, then in zip(running.came(), before, strict=True)]
        assert sorted(grown) == [0, 0, 4]


async def test_what_names_no_event_goes_in_turn(stack: Stack) -> None:
    async with several(stack, 2) as running:
        lists = ENDPOINTS["GET", "/api/v1/holds"]
        for _ in range(4):
            with pytest.raises(DomainError) as refused:
                await running.call(lists, pb.ListHoldsRequest())
            assert refused.value.reason is Reason.NOT_BUILT_YET
        counts = [
            each.server_metrics.registry.get_sample_value(
                "holdfast_rpc_requests_total",
                {"rpc": "holdfast.api.capacity.v1.HoldService/ListHolds", "code": "UNIMPLEMENTED"},
            )
            for each in running.benches
        ]
        assert counts == [2, 2]


async def test_a_replica_that_is_gone_is_missed_by_nobody_with_a_key(stack: Stack) -> None:
    async with several(stack, 2) as running:
        sections = [new_id() for _ in range(20)]
        await asyncio.gather(*(running.place(section) for section in sections))
        assert all(running.came())
        gone = running.benches[0]
        await gone.server.stop()
        answers = await asyncio.gather(*(running.place(section, request_id=f"key {section}") for section in sections))
        assert len({answer.hold.id for answer in answers}) == 20
        hold = answers[0].hold
        assert (await running.call(GET_HOLD, pb.GetHoldRequest(hold_id=hold.id))).hold.id == hold.id
        # And once it is known to be gone, by nobody at all.
        await asyncio.gather(*(running.place(section) for section in sections))


async def test_a_replica_that_leaves_a_call_without_a_sign_is_passed_over_until_it_gives_one(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with several(stack, 2) as running:
        await asyncio.gather(*(running.place(new_id()) for _ in range(10)))
        replicas = Replicas(
            name="capacity",
            target=",".join(each.server.address for each in running.benches),
            identity=MeshIdentity.load(stack.mesh.identity_dir, "gateway"),
        )
        await replicas.start()
        key = new_id()
        first, second = replicas.order(key)
        sign = first.begin(asyncio.get_running_loop().time(), 0.0)
        await eventually(lambda: not first.ready)
        assert list(replicas.order(key)) == [second, first]
        sign.heard()
        assert list(replicas.order(key)) == [first, second]
        # Without a sign it is tried again after a while, by one call.
        monkeypatch.setattr("holdfast.gateway.replicas.TRIAL_SECONDS", 0.0)
        first.begin(asyncio.get_running_loop().time(), 0.0)
        await eventually(lambda: first.quiet)
        assert list(replicas.order(key)) == [first, second]
        monkeypatch.setattr("holdfast.gateway.replicas.TRIAL_SECONDS", 60.0)
        first.begin(asyncio.get_running_loop().time(), 60.0).cancel()
        assert list(replicas.order(key)) == [second, first]
        await replicas.close()


async def test_only_the_keys_of_a_replica_that_goes_move(stack: Stack) -> None:
    identity = MeshIdentity.load(stack.mesh.identity_dir, "gateway")
    addresses = [f"127.0.0.1:{port}" for port in (1, 2, 3)]
    keys = [new_id() for _ in range(600)]

    def homes(addresses: list[str]) -> list[str]:
        replicas = Replicas(name="capacity", target=",".join(addresses), identity=identity)
        return [replicas.ranked(key)[0].address for key in keys]

    before, after = homes(addresses), homes(addresses[:2])
    assert all(150 < before.count(address) < 250 for address in addresses)
    assert all(new == old for old, new in zip(before, after, strict=True) if old in addresses[:2])


def test_what_is_known_of_events_is_bounded() -> None:
    known = KnownEvents(limit=4)
    for number in range(10):
        known.learn(
            hold_pb2.Hold(
                id=f"hold {number}",
                event_id=f"event {number}",
                lines=[hold_pb2.HoldLine(section_id=f"section {number}")],
            )
        )
    assert known.get("section 9") == "event 9"
    assert known.get("hold 8") == "event 8"
    assert known.get("section 7") is None
    known.learn(hold_pb2.Hold(id="without an event"))
    assert known.get("hold 9") == "event 9"
