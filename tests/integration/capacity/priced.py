"""Capacity with a real pricing beside it, which may go away and come back."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import psycopg
from pydantic import SecretStr

from holdfast.common.settings import MeshSettings
from holdfast.local.ports import choose
from holdfast.pricing.app import PricingApp
from holdfast.pricing.settings import PricingSettings
from tests.integration.capacity.conftest import running, until
from tests.support.gate import Gate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from holdfast.local.nats import EmbeddedNats
    from tests.integration.capacity.conftest import Capacity
    from tests.support.postgres import TestDatabase


@dataclass
class Pricing:
    """A real pricing behind a gate. Capacity answers for events and sections, so it needs no neighbours."""

    database: TestDatabase
    nats_url: str
    identity_dir: Path
    port: int = field(default_factory=choose)
    _app: PricingApp | None = None

    def __post_init__(self) -> None:
        self.gate = Gate("127.0.0.1", self.port)

    async def start(self) -> None:
        """Start both."""
        await self.gate.start()
        await self.come()

    async def stop(self) -> None:
        """Stop both."""
        await self.gate.stop()
        await self.go()

    async def come(self) -> None:
        """Start the service."""
        mesh = MeshSettings(
            identity_dir=self.identity_dir,
            page_token_key=SecretStr("k" * 40),
            nats_url=self.nats_url,
            events_address="127.0.0.1:1",
            capacity_address="127.0.0.1:1",
        )
        settings = PricingSettings(
            listen=f"127.0.0.1:{self.port}",
            metrics_listen="127.0.0.1:0",
            database_dsn=SecretStr(self.database.dsn("pricing_service")),
            relay_dsn=SecretStr(self.database.dsn("pricing_relay")),
            drain_seconds=1,
        )
        self._app = PricingApp(mesh, settings)
        await self._app.start()

    async def go(self) -> None:
        """Stop the service."""
        if self._app is not None:
            app, self._app = self._app, None
            await app.stop()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let it wait for its rows when it makes or deletes price tiers, and refuse after a while."""
        with psycopg.connect(self.database.dsn("admin")) as connection:
            connection.execute("LOCK TABLE pricing.price_tiers IN SHARE MODE")
            yield
            connection.rollback()


@dataclass
class Priced:
    """Both services, and what they have stored."""

    capacity: Capacity
    pricing: Pricing

    @asynccontextmanager
    async def pricing_away(self) -> AsyncIterator[None]:
        """Let nobody be behind the gate for the length of a block."""
        await self.pricing.go()
        yield
        await self.pricing.come()
        await self.connected()

    async def connected(self) -> None:
        """Wait until capacity is connected with pricing."""
        channel = self.capacity.app._pricing.channel  # what a call would meet

        async def ready() -> bool:
            return channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY

        await until(ready)

    async def generate(self, event_id: str, config: Any, **fields: Any) -> Any:
        return await self.capacity.call("GenerateSeating", event_id=event_id, config=config, **fields)

    def tiers(self, event_id: str) -> list[tuple[str, str, int, str]]:
        """Give the price tiers that stand: name, section, price in minor units, currency."""
        return self.capacity.rows(
            "SELECT name, section_id, base_price, currency_code FROM pricing.price_tiers"
            " WHERE event_id = %s AND delete_time IS NULL ORDER BY id",
            event_id,
        )

    def sections(self, event_id: str) -> list[tuple[str, int, str]]:
        """Give the sections that stand: name, number, id."""
        return self.capacity.rows(
            "SELECT name, subsection, id FROM capacity.sections"
            " WHERE event_id = %s AND delete_time IS NULL ORDER BY id",
            event_id,
        )

    def sagas(self) -> int:
        """Count the seatings under way."""
        return int(self.capacity.rows("SELECT count(*) FROM capacity.seating_sagas")[0][0])

    async def until_begun(self, sagas: int = 1) -> None:
        """Wait until so many seatings are under way."""

        async def begun() -> bool:
            return self.sagas() == sagas

        await until(begun)

    async def until_priced(self, event_id: str) -> None:
        """Wait until an event has price tiers."""

        async def priced() -> bool:
            return bool(self.tiers(event_id))

        await until(priced)

    async def until_refused(self) -> None:
        """Wait until the seating under way is refused."""

        async def refused() -> bool:
            return not self.capacity.rows(
                "UPDATE capacity.seating_sagas SET due_time = create_time WHERE refusal IS NULL RETURNING 1"
            )

        await until(refused)

    async def until_ended(self) -> None:
        """Wait until no seating is under way, with leases over at once: nobody works on what is left."""

        async def ended() -> bool:
            return not self.capacity.rows("UPDATE capacity.seating_sagas SET due_time = create_time RETURNING 1")

        await until(ended)


@asynccontextmanager
async def both(database: TestDatabase, nats_server: EmbeddedNats, identity_dir: Path) -> AsyncIterator[Priced]:
    """Run capacity and pricing."""
    pricing = Pricing(database, nats_server.url, identity_dir)
    await pricing.start()
    try:
        async with running(database, nats_server.url, identity_dir, pricing_address=pricing.gate.address) as capacity:
            priced = Priced(capacity, pricing)
            await priced.connected()
            yield priced
    finally:
        await pricing.stop()
