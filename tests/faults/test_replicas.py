"""Two replicas of capacity on one event: limits, crossings and maxima are exact, and a frozen one stops nobody."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from google.protobuf import json_format

from holdfast.api.capacity.v1 import (
    hold_service_pb2,
    hold_service_pb2_grpc,
    inventory_service_pb2,
    inventory_service_pb2_grpc,
    messages_pb2,
    section_service_pb2,
    section_service_pb2_grpc,
)
from holdfast.common.errors import DomainError, Reason
from holdfast.common.mesh_identity import MeshIdentity, Principal
from holdfast.common.rpc_client import Peer
from holdfast.local.state import Layout
from holdfast.local.tokens import Bearer, mint
from tests.faults.alone import seats_in
from tests.faults.checkers import all_faults
from tests.faults.clients import RETRYABLE_REASONS, Client, Rest, Stubs
from tests.faults.conftest import TRIALS
from tests.faults.history import Recorder, Target
from tests.faults.snapshot import settled
from tests.faults.trial import new_show, verify_inventory
from tests.faults.workload import Contest, contend
from tests.support.proxy import Action, Moment, PostgresProxy
from tests.support.replica import running_replica
from tests.support.show import post

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
    from pathlib import Path

    from tests.faults.history import Operation
    from tests.faults.snapshot import Store
    from tests.support.mesh import Mesh
    from tests.support.replica import Replica
    from tests.support.show import Show

pytestmark = pytest.mark.faults

DEADLINE_SECONDS = 6.0
PATIENCE_SECONDS = 60.0
SEATS, FLOOR = 20, 100
CALLERS, AT_ONCE = 1_000, 100
LOCK = "FOR NO KEY UPDATE"
_SERVICES = (
    (hold_service_pb2, hold_service_pb2_grpc.HoldServiceStub),
    (section_service_pb2, section_service_pb2_grpc.SectionServiceStub),
    (inventory_service_pb2, inventory_service_pb2_grpc.InventoryServiceStub),
)
FREEZES = [
    pytest.param(moment, action, id=f"{moment.name} {'process' if action is Action.HOLD else 'network'}")
    for moment in (Moment.IN_TRANSACTION, Moment.BEFORE_COMMIT)
    for action in (Action.HOLD, Action.FREEZE)
]

"""The rarer ones, of a process in a round trip and of a network between two, are left to longer runs."""
CROSSINGS = messages_pb2.ThresholdCrossing.Kind


@pytest.fixture(scope="module")
def proxied(mesh: Mesh) -> Iterator[PostgresProxy]:
    """What stands between the second replica and the database; nothing stands before the first."""
    dsn = json.loads(Layout(mesh.state).state.read_text())["dsns"]["capacity_service"]
    with PostgresProxy(dsn) as running:
        yield running


@pytest.fixture(scope="module")
def replica(mesh: Mesh, proxied: PostgresProxy) -> Iterator[Replica]:
    """The second replica."""
    mesh.wait_healthy()
    with running_replica(mesh, environment={"HOLDFAST_CAPACITY_DATABASE_DSN": proxied.dsn()}) as running:
        yield running


@pytest.fixture
def proxy(proxied: PostgresProxy) -> Iterator[PostgresProxy]:
    """The proxy, without traps afterwards."""
    yield proxied
    proxied.disarm()
    proxied.thaw()


@dataclass(frozen=True)
class Pair:
    """Both replicas as the gateway sees them."""

    peers: tuple[Peer, Peer]
    turns: Iterator[Peer]
    organization_id: str

    async def call(self, rpc: str, *, role: str = "owner", subject: str = "user:olga", **fields: Any) -> Any:
        """Call an RPC of the replica whose turn it is."""
        module, stub = next((m, s) for m, s in _SERVICES if hasattr(m, f"{rpc}Request"))
        peer = next(self.turns)
        return await peer.call(
            getattr(stub(peer.channel), rpc),
            json_format.ParseDict(fields, getattr(module, f"{rpc}Request")()),
            principal=Principal(subject, self.organization_id, frozenset({role})),
            deadline_seconds=DEADLINE_SECONDS,
        )

    def stubs(self, subject: str, *, only: int | None = None) -> Stubs:
        """Give a buyer's way to both in turn, or to one of them."""
        principal = Principal(subject, self.organization_id, frozenset({"buyer"}))
        peers = self.peers if only is None else (self.peers[only],)
        return Stubs(peers, principal, deadline_seconds=DEADLINE_SECONDS)

    def client(self, recorder: Recorder, subject: str, *, only: int | None = None) -> Client:
        """Give a buyer."""
        return Client(
            self.stubs(subject, only=only),
            recorder,
            organization_id=self.organization_id,
            patience_seconds=PATIENCE_SECONDS,
        )


@asynccontextmanager
async def pair_of(mesh: Mesh, replica: Replica, organization_id: str) -> AsyncIterator[Pair]:
    """Connect to both replicas."""
    identity = MeshIdentity.load(Layout(mesh.state).identities, "gateway")
    addresses = (mesh.look().grpc["capacity"], replica.address)
    first, second = (Peer(name="capacity", target=address, identity=identity) for address in addresses)
    for peer in (first, second):
        await peer.start()
    try:
        yield Pair((first, second), cycle((first, second)), organization_id)
    finally:
        for peer in (first, second):
            await peer.close()


async def outcomes(calls: Sequence[Awaitable[Any]]) -> Counter[str]:
    """Await calls at once; count how each was answered."""
    done = await asyncio.gather(*calls, return_exceptions=True)
    for each in done:
        if isinstance(each, BaseException) and not isinstance(each, DomainError):
            raise each
    return Counter(each.reason if isinstance(each, DomainError) else "ok" for each in done)


def deadlocks(store: Store) -> int:
    """Count the deadlocks that PostgreSQL has seen."""
    with psycopg.connect(store.admin_dsn) as connection:
        row = connection.execute("SELECT sum(deadlocks)::int FROM pg_stat_database").fetchone()
        return int(row[0]) if row else 0


async def sound(mesh: Mesh, store: Store, show: Show, recorder: Recorder, path: Path) -> None:
    """Run every checker, and let the service verify itself."""
    recorder.write(path)
    faults = all_faults(recorder.operations, await settled(store, show))
    assert not faults, f"{faults[:10]}; seed {recorder.seed}, history {path}"
    assert (await asyncio.to_thread(verify_inventory, mesh, show))["consistent"] is True


async def seats_of(pair: Pair, show: Show, count: int) -> list[Target]:
    """Make a section with so many seats, all in one row."""
    config = {"rows": 1, "cols": count, "sections": [{"name": "Seats"}]}
    return seats_in((await pair.call("GenerateSeating", event_id=show.event_id, config=config)).sections[0].id, count)


async def test_seats_contended_for_on_two_replicas_are_never_claimed_twice(
    mesh: Mesh, store: Store, replica: Replica, history_path: Path, seed: int
) -> None:
    before = deadlocks(store)
    show = await asyncio.to_thread(new_show, mesh, places=FLOOR)
    recorder = Recorder(seed)
    async with pair_of(mesh, replica, show.organization_id) as pair:
        contest = Contest(show.organization_id, await seats_of(pair, show, SEATS), Target(show.section_id))
        await contend(recorder, contest, lambda number: pair.stubs(f"user:{number}"))
    assert all(each.outcome != "unknown" for each in recorder.operations)
    await sound(mesh, store, show, recorder, history_path)
    assert deadlocks(store) == before


async def test_the_limit_of_a_customer_is_exact_across_replicas(mesh: Mesh, replica: Replica) -> None:
    show = await asyncio.to_thread(new_show, mesh, places=FLOOR)
    with mesh.client("organizer", subject="olga") as organizer:
        tier = post(
            organizer,
            f"/api/v1/events/{show.event_id}/pricing",
            {"name": "Four", "base_price": {"currency_code": "USD", "amount": "10.00"}, "max_per_customer": 4},
        )["price_tier"]
    async with pair_of(mesh, replica, show.organization_id) as pair:
        line = {"section_id": show.section_id, "quantity": 1, "price_tier_id": tier["id"]}
        calls = [pair.call("PlaceHold", role="buyer", subject="user:greedy", **line) for _ in range(24)]
        assert await outcomes(calls) == {"ok": 4, Reason.PURCHASE_LIMIT: 20}
        assert (await pair.call("GetSection", section_id=show.section_id)).section.held == 4


async def test_each_line_is_crossed_once_across_replicas(mesh: Mesh, replica: Replica) -> None:
    show = await asyncio.to_thread(new_show, mesh, places=FLOOR)

    async def buy(pair: Pair, number: int) -> None:
        who = {"role": "buyer", "subject": f"user:{number}"}
        hold = (await pair.call("PlaceHold", **who, section_id=show.section_id, quantity=2)).hold
        await pair.call("ConfirmHold", **who, hold_id=hold.id)

    async with pair_of(mesh, replica, show.organization_id) as pair:
        await asyncio.gather(*(buy(pair, number) for number in range(FLOOR // 2)))
        sold = await crossings(pair, show)
        await pair.call("UpdateSection", section_id=show.section_id, section={"total": FLOOR + 8})
        await asyncio.gather(*(buy(pair, number) for number in range(4)))
        again = await crossings(pair, show)
    once = {
        (kind, section): 1
        for kind in ("CAPACITY_WARNING", "CAPACITY_CRITICAL", "SOLD_OUT")
        for section in (show.section_id, "")
    }
    assert sold == once
    reopened = {("REOPENED", section): 1 for section in (show.section_id, "")}
    assert {key: again[key] for key in reopened} == reopened
    assert again["SOLD_OUT", ""] == again["SOLD_OUT", show.section_id] == 2


async def crossings(pair: Pair, show: Show) -> Counter[tuple[str, str]]:
    """Count how often each line was crossed, by the journal."""
    found: Counter[tuple[str, str]] = Counter()
    after = 0
    while True:
        page = await pair.call("ListInventoryChanges", event_id=show.event_id, after_version=after, page_size=200)
        if not page.changes:
            return found
        after = page.changes[-1].version
        found.update(
            (CROSSINGS.Name(each.kind), each.section_id) for change in page.changes for each in change.crossings
        )


async def test_a_venues_maximum_is_exact_across_replicas(mesh: Mesh, replica: Replica) -> None:
    show = await asyncio.to_thread(new_show, mesh, places=8_900)  # of a venue for 10,000
    async with pair_of(mesh, replica, show.organization_id) as pair:
        calls = [
            pair.call("CreateSection", event_id=show.event_id, section={"name": f"Side {number}", "total": 200})
            for number in range(12)
        ]
        assert await outcomes(calls) == {"ok": 5, Reason.VENUE_CAPACITY_EXCEEDED: 7}
        assert (await pair.call("GetTotals", event_id=show.event_id)).total == 9_900


async def test_keys_used_in_opposite_orders_on_two_replicas_each_have_one_effect(
    mesh: Mesh, store: Store, replica: Replica
) -> None:
    before = deadlocks(store)
    shows = [await asyncio.to_thread(new_show, mesh, places=FLOOR) for _ in range(2)]
    keys = [f"{shows[0].event_id} {number:02}" for number in range(40)]
    async with pair_of(mesh, replica, shows[0].organization_id) as pair:
        calls = [
            pair.call(
                "PlaceHold", role="buyer", subject="user:both", section_id=show.section_id, quantity=1, request_id=key
            )
            for pair_of_keys in zip(keys, reversed(keys), strict=True)
            for show, key in zip(shows, pair_of_keys, strict=True)
        ]
        assert await outcomes(calls) == {"ok": 40, Reason.IDEMPOTENCY_KEY_REUSED: 40}
        held = [(await pair.call("GetSection", section_id=show.section_id)).section.held for show in shows]
    assert sum(held) == 40
    assert deadlocks(store) == before


async def test_several_seats_in_opposite_orders_on_two_replicas_are_held_all_or_none(
    mesh: Mesh, store: Store, replica: Replica, history_path: Path
) -> None:
    before = deadlocks(store)
    show = await asyncio.to_thread(new_show, mesh, places=FLOOR)
    recorder = Recorder(seed=0)
    async with pair_of(mesh, replica, show.organization_id) as pair:
        seats = await seats_of(pair, show, SEATS)
        halves = [seats[: SEATS // 2], seats[SEATS // 2 :]]
        orders = [order for half in halves for order in (half, half[::-1])] * 10
        await asyncio.gather(
            *(pair.client(recorder, f"user:{number}").place(*order) for number, order in enumerate(orders))
        )
    answers = Counter(each.code or each.outcome for each in recorder.operations)
    assert answers == {"ok": 2, "SEATS_TAKEN": 38}
    await sound(mesh, store, show, recorder, history_path)
    assert deadlocks(store) == before


async def test_of_a_thousand_callers_for_one_seat_exactly_one_wins_over_stubs(
    mesh: Mesh, store: Store, replica: Replica, history_path: Path
) -> None:
    show = await asyncio.to_thread(new_show, mesh, places=FLOOR)
    recorder = Recorder(seed=0)
    async with pair_of(mesh, replica, show.organization_id) as pair:
        (seat,) = await seats_of(pair, show, 1)
        at_once = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            async with at_once:
                await pair.client(recorder, f"user:{number}").place(seat)

        await asyncio.gather(*(one(number) for number in range(CALLERS)))
    answers = Counter(each.code or each.outcome for each in recorder.operations)
    assert answers == {"ok": 1, "SEATS_TAKEN": CALLERS - 1}
    await sound(mesh, store, show, recorder, history_path)


async def test_of_a_thousand_callers_for_one_seat_exactly_one_wins_over_rest(
    mesh: Mesh, store: Store, replica: Replica, history_path: Path
) -> None:
    show = await asyncio.to_thread(new_show, mesh, places=FLOOR)
    recorder = Recorder(seed=0)
    tokens = await asyncio.to_thread(buyers, mesh, show.organization_id)
    async with pair_of(mesh, replica, show.organization_id) as pair:
        (seat,) = await seats_of(pair, show, 1)
    at_once = asyncio.Semaphore(AT_ONCE)
    async with httpx.AsyncClient(base_url=mesh.gateway, timeout=PATIENCE_SECONDS, trust_env=False) as http:

        async def one(token: str) -> None:
            rest = Rest(http, headers={"Authorization": f"Bearer {token}"})
            buyer = Client(rest, recorder, organization_id=show.organization_id, patience_seconds=PATIENCE_SECONDS)
            async with at_once:
                await buyer.place(seat)

        await asyncio.gather(*map(one, tokens))
    answers = Counter(each.code or each.outcome for each in recorder.operations)
    assert answers == {"ok": 1, "SEATS_TAKEN": CALLERS - 1}
    await sound(mesh, store, show, recorder, history_path)


def buyers(mesh: Mesh, organization_id: str) -> list[str]:
    """Mint a token for each of a thousand buyers."""
    issuer, now = Layout(mesh.state).issuer, datetime.now(UTC)
    return [
        mint(issuer, Bearer(f"user:{number}", organization_id, ["buyer"]), now=now, minutes=30)
        for number in range(CALLERS)
    ]


@pytest.mark.parametrize(("moment", "action"), FREEZES if TRIALS > 1 else FREEZES[::3])
async def test_a_replica_that_freezes_with_the_events_lock_stops_the_other_for_seconds_only(  # noqa: PLR0913, PLR0917 (fixtures)
    mesh: Mesh, store: Store, replica: Replica, proxy: PostgresProxy, history_path: Path, moment: Moment, action: Action
) -> None:
    show = await asyncio.to_thread(new_show, mesh, places=FLOOR)
    recorder = Recorder(seed=0)
    async with pair_of(mesh, replica, show.organization_id) as pair:
        await pair.client(recorder, "user:before", only=1).place(Target(show.section_id))
        # It holds the event's lock, and what it sends or waits for next stays on the way.
        trap = proxy.arm(moment, action, touching=LOCK)
        victim = asyncio.create_task(pair.client(recorder, "user:victim", only=1).place(Target(show.section_id)))
        await trap.reached()
        if action is Action.HOLD:
            await asyncio.to_thread(replica.freeze)
        try:
            others = [pair.client(recorder, f"user:{number}", only=0) for number in range(8)]
            holds = await asyncio.gather(*(other.place(Target(show.section_id)) for other in others))
            assert [each.outcome for each in holds] == ["ok"] * len(others)
            ends = await asyncio.gather(
                *(other.confirm(hold) for other, hold in zip(others[:4], holds[:4], strict=True)),
                *(other.release(hold) for other, hold in zip(others[4:], holds[4:], strict=True)),
            )
            assert [each.outcome for each in ends] == ["ok"] * len(others)
        finally:
            replica.thaw()
            proxy.disarm()
            proxy.thaw()
        placed = await victim
        assert placed.outcome == "ok"
        last = await pair.client(recorder, "user:after", only=1).place(Target(show.section_id))
        assert last.outcome == "ok"
    assert trap.sprung == 1
    assert told_in_vain([*holds, placed]) <= RETRYABLE_REASONS
    await sound(mesh, store, show, recorder, history_path)


def told_in_vain(operations: Sequence[Operation]) -> set[str]:
    """Collect the reasons of answers after which a call was repeated."""
    return {refusal.partition(" ")[0] for each in operations for refusal in each.refusals}
