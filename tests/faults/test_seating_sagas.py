"""kill -9 of capacity in each step of a seating with prices: another replica finds it and takes it to its end."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from pydantic import SecretStr

from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from holdfast.common.settings import MeshSettings
from tests.faults.capacity_process import killable
from tests.integration.capacity.conftest import refused, running
from tests.integration.capacity.neighbours import World
from tests.integration.capacity.priced import Priced, Pricing
from tests.support.proxy import Action, Moment, PostgresProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from holdfast.local.nats import EmbeddedNats
    from tests.faults.capacity_process import CapacityProcess
    from tests.integration.capacity.conftest import Capacity
    from tests.support.postgres import TestDatabase

pytestmark = pytest.mark.faults

HALL: dict[str, Any] = {
    "rows": 5,
    "cols": 4,
    "currency_code": "USD",
    "sections": [{"name": "A", "price": "20.1", "subsections": 2}, {"name": "B"}],
}
SEATS, VENUE_MAX = 60, 100
BEGUN = "INSERT INTO capacity.seating_sagas"
MADE = "DELETE FROM capacity.seating_sagas"
REFUSED = "SET refusal"
WITHDRAWN = "refusal IS NOT NULL"
"""What the transaction says that begins a seating, makes it, refuses it, and forgets it when its prices are gone."""


@pytest.fixture(scope="module")
def proxy(database: TestDatabase) -> Iterator[PostgresProxy]:
    with PostgresProxy(database.dsn("admin")) as running_proxy:
        yield running_proxy


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pricing(database: TestDatabase, nats_server: EmbeddedNats, identity_dir: Path) -> AsyncIterator[Pricing]:
    service = Pricing(database, nats_server.url, identity_dir)
    await service.start()
    yield service
    await service.stop()


class Stage:
    """What each trial has: pricing, a proxy, and replicas of capacity that come and go."""

    def __init__(self, pricing: Pricing, proxy: PostgresProxy, tmp_path: Path) -> None:
        self.pricing = pricing
        self.proxy = proxy
        self.world = World()
        self.request: dict[str, Any] = {}
        self._log = tmp_path / "capacity.log"

    @asynccontextmanager
    async def asked(self) -> AsyncIterator[tuple[CapacityProcess, Capacity, asyncio.Task[Any]]]:
        """Run a replica that is to be killed, and ask it for a seating at a venue that has room for it."""
        pricing = self.pricing
        mesh = MeshSettings(
            identity_dir=pricing.identity_dir,
            page_token_key=SecretStr("k" * 40),
            nats_url=pricing.nats_url,
            pricing_address=pricing.gate.address,
        )
        async with killable(pricing.database, self.proxy, world=self.world, mesh=mesh, log=self._log) as (
            process,
            capacity,
        ):
            event_id = await capacity.event(venue_max_capacity=VENUE_MAX)
            self.request = {"event_id": event_id, "config": HALL, "request_id": new_id()}
            yield process, capacity, asyncio.create_task(capacity.call("GenerateSeating", **self.request))

    async def die(self, process: CapacityProcess, asking: asyncio.Task[Any]) -> None:
        """Kill the replica, and whatever it had under way with the database."""
        await asyncio.to_thread(process.kill)
        self.proxy.cut()
        self.proxy.disarm()
        with contextlib.suppress(DomainError):  # unless it was told before, which proves nothing either
            await asking

    @asynccontextmanager
    async def another(self, dead: Capacity) -> AsyncIterator[Priced]:
        """Run another replica of the same mesh."""
        pricing = self.pricing
        async with running(
            pricing.database,
            pricing.nats_url,
            pricing.identity_dir,
            world=self.world,
            pricing_address=pricing.gate.address,
        ) as capacity:
            capacity.organization_id = dead.organization_id
            yield Priced(capacity, pricing)

    async def check_made_once(self, priced: Priced) -> None:
        """One set of sections, seats and price tiers; the same answer to whoever asks again, and nothing more."""
        event_id = self.request["event_id"]
        first, second = [await priced.capacity.call("GenerateSeating", **self.request) for _ in range(2)]
        assert first == second
        assert [(each.name, each.subsection, each.total) for each in first.sections] == [
            ("A", 1, 20),
            ("A", 2, 20),
            ("B", 0, 20),
        ]
        assert {each.id for each in first.sections} == {section_id for _, _, section_id in priced.sections(event_id)}
        assert priced.tiers(event_id) == [
            ("A-1", first.sections[0].id, 2010, "USD"),
            ("A-2", first.sections[1].id, 2010, "USD"),
        ]
        assert priced.sagas() == 0
        await priced.capacity.check(event_id)


@pytest.fixture
def stage(pricing: Pricing, proxy: PostgresProxy, tmp_path: Path) -> Stage:
    return Stage(pricing, proxy, tmp_path)


@pytest.mark.parametrize(
    ("moment", "statement", "by_itself"),
    [
        pytest.param(Moment.BEFORE_REPLY, BEGUN, True, id="begun"),
        pytest.param(Moment.BEFORE_COMMIT, MADE, False, id="priced"),
        pytest.param(Moment.BEFORE_REPLY, MADE, False, id="made"),
    ],
)
async def test_a_seating_is_made_once_wherever_its_replica_dies(
    stage: Stage, moment: Moment, statement: str, *, by_itself: bool
) -> None:
    trap = stage.proxy.arm(moment, Action.HOLD, touching=statement)
    async with stage.asked() as (process, dead, asking):
        await trap.reached()
        await stage.die(process, asking)
    async with stage.another(dead) as priced:
        if by_itself:
            await priced.until_ended()
        await stage.check_made_once(priced)


async def test_a_seating_is_made_once_when_its_replica_dies_while_it_asks_pricing(stage: Stage) -> None:
    async with stage.asked() as (process, dead, asking), stage.pricing.gate.shut():
        await Priced(dead, stage.pricing).until_begun()
        await stage.pricing.gate.knocked()
        await stage.die(process, asking)
    async with stage.another(dead) as priced:
        await priced.until_ended()
        await stage.check_made_once(priced)


@pytest.mark.parametrize(
    ("moment", "statement"),
    [
        pytest.param(Moment.BEFORE_REPLY, REFUSED, id="refused"),
        pytest.param(Moment.BEFORE_COMMIT, WITHDRAWN, id="withdrawn"),
    ],
)
async def test_a_seating_that_is_refused_leaves_nothing_wherever_its_replica_dies(
    stage: Stage, moment: Moment, statement: str
) -> None:
    trap = stage.proxy.arm(moment, Action.HOLD, touching=statement)
    async with stage.asked() as (process, dead, asking):
        event_id = stage.request["event_id"]
        async with stage.pricing.gate.shut():
            await Priced(dead, stage.pricing).until_begun()
            await dead.section(event_id, VENUE_MAX - SEATS + 1, name="Floor")
        await trap.reached()
        await stage.die(process, asking)
    async with stage.another(dead) as priced:
        await priced.until_ended()
        assert priced.tiers(event_id) == []
        assert [name for name, *_ in priced.sections(event_id)] == ["Floor"]
        # It is judged afresh.
        error = await refused(priced.capacity.call("GenerateSeating", **stage.request))
        assert error.reason is Reason.VENUE_CAPACITY_EXCEEDED
        await priced.capacity.change_event(event_id, venue_max_capacity=1000)
        made = await priced.capacity.call("GenerateSeating", **stage.request)
        assert [section_id for _, section_id, *_ in priced.tiers(event_id)] == [each.id for each in made.sections[:2]]
        await priced.capacity.check(event_id)
