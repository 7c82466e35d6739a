"""How prices are asked for: what waits together travels together, and each request is answered for itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest_asyncio
from pydantic import SecretStr

from holdfast.api.pricing.v1 import quote_service_pb2, quote_service_pb2_grpc
from holdfast.capacity.outside import DEADLINE_SECONDS
from holdfast.capacity.prices import CALLS_MAX, Prices
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from holdfast.common.mesh_identity import MeshIdentity, service_principal
from holdfast.common.rpc_call import Call, current_call
from holdfast.common.rpc_client import Peer
from holdfast.common.settings import MeshSettings
from tests.integration.capacity.conftest import refused, until
from tests.integration.capacity.neighbours import Tier, World, servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from holdfast.capacity.domain.placing import PriceLock
    from holdfast.common.rpc_server import RpcServer

ORGANIZATION, ANOTHER = new_id(), new_id()
EVENT, SECTION = new_id(), new_id()


@dataclass
class Asking:
    """Capacity's side, with one call at once unless a test says otherwise; and pricing as a test lets it answer."""

    world: World
    peer: Peer
    pricing: RpcServer
    prices: Prices = field(init=False)
    tasks: list[asyncio.Task[list[PriceLock]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.limit(calls_max=1)

    def limit(self, **limits: int) -> None:
        """Begin anew with other limits."""
        stub = quote_service_pb2_grpc.QuoteServiceStub(self.peer.channel)

        async def call(request: quote_service_pb2.LockPricesRequest) -> quote_service_pb2.LockPricesResponse:
            return await self.peer.call(
                stub.LockPrices,
                request,
                principal=service_principal("capacity", ""),
                deadline_seconds=DEADLINE_SECONDS,
            )

        self.prices = Prices(call, **limits)

    def tier(self, unit_minor: int = 1000) -> str:
        tier_id = new_id()
        self.world.tiers[tier_id] = Tier(unit_minor=unit_minor)
        return tier_id

    def ask(
        self, *lines: quote_service_pb2.LockPriceLine, organization_id: str = ORGANIZATION, seconds: float = 0
    ) -> asyncio.Task[list[PriceLock]]:
        """Ask in a task, as a call of so many seconds, or outside of any call."""

        async def asked() -> list[PriceLock]:
            if seconds:
                deadline = asyncio.get_running_loop().time() + seconds
                current_call.set(
                    Call(principal=service_principal("orders", ORGANIZATION), peer="orders", deadline=deadline)
                )
            return await self.prices.lock(organization_id, lines)

        task = asyncio.create_task(asked())
        self.tasks.append(task)
        return task

    async def until_calls(self, count: int) -> None:
        """Wait until pricing has been called so often."""

        async def called() -> bool:
            return len(self.world.price_calls) >= count

        await until(called)

    async def blocked(self) -> asyncio.Task[list[PriceLock]]:
        """Let pricing answer nobody, and give a request whose call has arrived there."""
        self.world.prices_open.clear()
        first = self.ask(line(self.tier()))
        await self.until_calls(1)
        return first


def line(tier_id: str, quantity: int = 1, *, organization_id: str = ORGANIZATION) -> quote_service_pb2.LockPriceLine:
    return quote_service_pb2.LockPriceLine(
        price_tier_id=tier_id,
        organization_id=organization_id,
        event_id=EVENT,
        section_id=SECTION,
        quantity=quantity,
    )


@pytest_asyncio.fixture(loop_scope="session")
async def asking(identity_dir: Path) -> AsyncIterator[Asking]:
    mesh = MeshSettings(identity_dir=identity_dir, page_token_key=SecretStr("k" * 32))
    world = World()
    _, pricing = servers(world, identity_dir=identity_dir, mesh=mesh)
    await pricing.start()
    peer = Peer(name="pricing", target=pricing.address, identity=MeshIdentity.load(identity_dir, "capacity"))
    await peer.start()
    asking = Asking(world, peer, pricing)
    try:
        yield asking
    finally:
        world.prices_open.set()
        await asyncio.gather(*asking.tasks, return_exceptions=True)
        await peer.close()
        await pricing.stop()


def totals(locks: list[PriceLock]) -> list[int]:
    return [lock.price.total.minor for lock in locks]


async def test_requests_of_one_moment_travel_in_one_call_and_get_their_own_prices(asking: Asking) -> None:
    cheap, dear = asking.tier(100), asking.tier(5000)
    asked = [asking.ask(line(cheap, number), line(dear, number)) for number in range(1, 101)]
    answers = await asyncio.gather(*asked)
    assert len(asking.world.price_calls) == 1
    assert [totals(answer) for answer in answers] == [[100 * number, 5000 * number] for number in range(1, 101)]


async def test_equal_lines_are_asked_once_and_answered_to_all(asking: Asking) -> None:
    tier_id = asking.tier(100)
    answers = await asyncio.gather(*(asking.ask(line(tier_id, 1 + number % 4)) for number in range(200)))
    (call,) = asking.world.price_calls
    assert sorted(each.quantity for each in call) == [1, 2, 3, 4]
    assert [totals(answer) for answer in answers] == [[100 * (1 + number % 4)] for number in range(200)]


async def test_what_arrives_during_a_call_forms_the_next_one(asking: Asking) -> None:
    first = await asking.blocked()
    later = [asking.ask(line(asking.tier())) for _ in range(3)]
    await asyncio.sleep(0)
    later += [asking.ask(line(asking.tier())) for _ in range(3)]
    asking.world.prices_open.set()
    await asyncio.gather(first, *later)
    assert [len(call) for call in asking.world.price_calls] == [1, 6]


async def test_a_slow_call_is_not_waited_for_and_calls_at_once_are_bounded(asking: Asking) -> None:
    asking.limit()
    await asking.blocked()
    for count in range(2, CALLS_MAX + 1):
        asking.ask(line(asking.tier()))
        await asking.until_calls(count)
    last = [asking.ask(line(asking.tier())) for _ in range(5)]
    done, _ = await asyncio.wait(last, timeout=0.3)  # six times as long as the others needed
    assert (len(done), len(asking.world.price_calls)) == (0, CALLS_MAX)
    asking.world.prices_open.set()
    await asyncio.gather(*asking.tasks)
    assert sum(map(len, asking.world.price_calls[CALLS_MAX:])) == 5


async def test_a_call_may_span_organizations_and_takes_them_in_turn(asking: Asking) -> None:
    first = await asking.blocked()
    mine = [asking.ask(*(line(asking.tier()) for _ in range(40))) for _ in range(30)]
    other = asking.ask(line(asking.tier(7), organization_id=ANOTHER), organization_id=ANOTHER)
    await asyncio.sleep(0)  # they ask
    asking.world.prices_open.set()
    await asyncio.gather(first, other, *mine)
    _, second, third = asking.world.price_calls
    assert second[40].organization_id == ANOTHER  # after one request of the organization that came first
    assert (len(second), len(third)) == (961, 240)
    assert totals(other.result()) == [7]


async def test_a_refusal_reaches_only_whose_line_it_is(asking: Asking) -> None:
    good, unknown = asking.tier(), new_id()
    tasks = [
        asking.ask(line(good)),
        asking.ask(line(good), line(unknown)),
        asking.ask(line(unknown)),
        asking.ask(line(good, 2)),
    ]
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert len(asking.world.price_calls) == 1
    assert [isinstance(each, list) for each in answers] == [True, False, False, True]
    refusals = [each for each in answers[1:3] if isinstance(each, DomainError)]
    assert [each.reason for each in refusals] == [Reason.PRICE_TIER_NOT_FOUND] * 2
    assert refusals[0] is not refusals[1]


async def test_a_line_that_pricing_cannot_read_fails_alone(asking: Asking) -> None:
    good = [asking.ask(line(asking.tier())) for _ in range(5)]
    bad = asking.ask(line("no id"))
    more = [asking.ask(line(asking.tier())) for _ in range(5)]
    assert (await refused(bad)).reason is Reason.VALIDATION_FAILED
    assert [len(locks) for locks in await asyncio.gather(*good, *more)] == [1] * 10


async def test_each_request_waits_no_longer_than_its_own_time(asking: Asking) -> None:
    patient = await asking.blocked()
    in_call = asking.ask(line(asking.tier()), seconds=0.2)
    waiting = asking.ask(line(asking.tier()), seconds=0.1)
    for hasty in (waiting, in_call):
        assert (await refused(hasty)).reason is Reason.DEADLINE_EXCEEDED
    over = asking.ask(line(asking.tier()), seconds=0.001)
    assert (await refused(over)).reason is Reason.DEADLINE_EXCEEDED
    asking.world.prices_open.set()
    assert totals(await patient) == [1000]


async def test_a_request_that_leaves_takes_nobody_along(asking: Asking) -> None:
    first = await asking.blocked()
    second, third = asking.ask(line(asking.tier())), asking.ask(line(asking.tier()))
    await asyncio.sleep(0)  # they ask
    for gone in (first, second):
        gone.cancel()
    await asyncio.wait({first, second})
    asking.world.prices_open.set()
    assert totals(await third) == [1000]
    assert [len(call) for call in asking.world.price_calls] == [1, 1]


async def test_the_failure_of_a_call_reaches_everybody_in_it(asking: Asking) -> None:
    await asking.pricing.stop()
    refusals = [await refused(task) for task in [asking.ask(line(asking.tier())) for _ in range(20)]]
    assert {each.reason for each in refusals} == {Reason.DEPENDENCY_UNAVAILABLE}
    assert {each.metadata["dependency"] for each in refusals} == {"pricing"}
    assert len({id(each) for each in refusals}) == 20


async def test_pricing_that_does_not_answer_is_unavailable_to_whoever_has_time_left(asking: Asking) -> None:
    first = await asking.blocked()
    second = asking.ask(line(asking.tier()), seconds=10)
    for task in (first, second):
        refusal = await refused(task)
        assert (refusal.reason, refusal.metadata["dependency"]) == (Reason.DEPENDENCY_UNAVAILABLE, "pricing")
        assert refusal.retry_after_seconds


async def test_too_much_is_refused_at_once_of_one_organization_before_all(asking: Asking) -> None:
    asking.limit(calls_max=1, waiting_max=9, waiting_of_organization_max=6)
    await asking.blocked()
    waiting = [asking.ask(line(asking.tier()), line(asking.tier())) for _ in range(3)]
    full = await refused(asking.ask(line(asking.tier())))
    assert (full.reason, full.metadata) == (Reason.OVERLOADED, {"queue": "prices"})
    assert full.retry_after_seconds
    other = [asking.ask(line(asking.tier()), organization_id=ANOTHER) for _ in range(3)]
    assert (await refused(asking.ask(line(asking.tier()), organization_id=ANOTHER))).reason is Reason.OVERLOADED
    waiting[0].cancel()
    await asyncio.wait({waiting[0]})
    room = asking.ask(line(asking.tier()))
    await asyncio.sleep(0)  # it asks
    asking.world.prices_open.set()
    await asyncio.gather(room, *waiting[1:], *other)
    assert sum(map(len, asking.world.price_calls)) == 1 + 4 + 3 + 1
