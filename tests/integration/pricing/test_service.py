from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import nats
import psycopg
import pytest
from pydantic import SecretStr

from holdfast.api.pricing.v1 import messages_pb2, price_tier_service_pb2
from holdfast.common.errors import DomainError, Reason, StartRefused
from holdfast.common.settings import MeshSettings
from holdfast.pricing.app import PricingApp
from holdfast.pricing.settings import PricingSettings
from tests.integration.pricing.conftest import running, tier_of, usd

if TYPE_CHECKING:
    from pathlib import Path

    from nats.aio.msg import Msg

    from holdfast.local.nats import EmbeddedNats
    from tests.integration.pricing.conftest import Pricing
    from tests.support.postgres import PostgresServer, TestDatabase

SECONDS = 10


async def received(nats_url: str, subject: str, count: int) -> list[Msg]:
    client = await nats.connect(nats_url)
    try:
        subscription = await client.jetstream().subscribe(subject, ordered_consumer=True)
        async with asyncio.timeout(SECONDS):
            return [await subscription.next_msg(timeout=SECONDS) for _ in range(count)]
    finally:
        await client.close()


async def test_every_version_is_told_once_and_in_order(pricing: Pricing, nats_server: EmbeddedNats) -> None:
    tier = await pricing.create(pricing.event())
    last = tier
    for price in ("110.00", "120.00"):
        last = await pricing.update(tier.id, base_price=usd(price))
    subject = f"pricing.{pricing.organization_id}.{tier.event_id}.price_tier_changed"
    told = await received(nats_server.url, subject, 3)
    assert [message.headers and message.headers["Nats-Msg-Id"] for message in told] == [
        f"pricing-{tier.id}-{version}" for version in (1, 2, 3)
    ]
    bodies = [messages_pb2.PriceTierChanged.FromString(message.data) for message in told]
    assert bodies[0].price_tier == tier
    assert bodies[2].price_tier == last
    assert bodies[2].occur_time == last.update_time


async def test_other_services_down_is_said_and_nothing_is_written(
    database: TestDatabase, nats_server: EmbeddedNats, identity_dir: Path
) -> None:
    async with running(database, nats_server.url, identity_dir) as service:
        event_id = service.event()
        request_id = "retry-me"
        first = await service.create(event_id, request_id=request_id)
        for server in service.neighbours:
            await server.stop()
        with pytest.raises(DomainError) as refusal:
            await service.create(event_id, name="Other")
        assert refusal.value.reason in {Reason.DEPENDENCY_UNAVAILABLE, Reason.DEADLINE_EXCEEDED}
        assert service.rows("SELECT name FROM pricing.price_tiers WHERE event_id = %s", event_id) == [("Standard",)]
        assert await service.create(event_id, request_id=request_id) == first
        assert (await service.update(first.id, base_price=usd("90.00"))).version == 2


async def test_a_superuser_and_an_owner_are_refused(
    database: TestDatabase, nats_server: EmbeddedNats, identity_dir: Path
) -> None:
    mesh = MeshSettings(identity_dir=identity_dir, page_token_key=SecretStr("k" * 40), nats_url=nats_server.url)
    for role in ("admin", "pricing_owner"):
        settings = PricingSettings(
            listen="127.0.0.1:0",
            metrics_listen="127.0.0.1:0",
            database_dsn=SecretStr(database.dsn(role)),
            relay_dsn=SecretStr(database.dsn("pricing_relay")),
        )
        app = PricingApp(mesh, settings)
        try:
            with pytest.raises(StartRefused):
                await app.start()
        finally:
            await app.stop()


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return subprocess.run(  # noqa: S603 - our own module with arguments of the test
        [sys.executable, "-m", "holdfast.pricing", *arguments],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_wrong_configuration_names_the_variable_and_never_its_value(database: TestDatabase) -> None:
    relay = database.dsn("pricing_relay")
    ended = command("migrate", HOLDFAST_PRICING_DATABASE_DSN="hunter2", HOLDFAST_PRICING_RELAY_DSN=relay)
    assert ended.returncode == 2
    assert ended.stderr.startswith("HOLDFAST_PRICING_DATABASE_DSN: ")
    assert "hunter2" not in ended.stdout + ended.stderr
    missing = command("serve")
    assert missing.returncode == 2
    for name in ("HOLDFAST_IDENTITY_DIR", "HOLDFAST_PAGE_TOKEN_KEY", "HOLDFAST_PRICING_DATABASE_DSN"):
        assert f"{name}: missing" in missing.stderr


def test_migrating_needs_the_owner_and_may_be_repeated(database: TestDatabase) -> None:
    roles = {
        "HOLDFAST_PRICING_DATABASE_DSN": database.dsn("pricing_service"),
        "HOLDFAST_PRICING_RELAY_DSN": database.dsn("pricing_relay"),
    }
    missing = command("migrate", **roles)
    assert (missing.returncode, missing.stderr) == (2, "HOLDFAST_PRICING_MIGRATION_DSN: missing\n")
    again = command("migrate", **roles, HOLDFAST_PRICING_MIGRATION_DSN=database.dsn("pricing_owner"))
    assert again.returncode == 0, again.stderr


def test_an_empty_database_becomes_a_schema(postgres_server: PostgresServer) -> None:
    empty = "pricing_from_nothing"
    with psycopg.connect(postgres_server.admin_dsn(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {empty}".encode())
    try:
        migrated = command(
            "migrate",
            HOLDFAST_PRICING_ADMIN_DSN=postgres_server.admin_dsn(empty),
            HOLDFAST_PRICING_MIGRATION_DSN=postgres_server.dsn("pricing_owner", empty),
            HOLDFAST_PRICING_DATABASE_DSN=postgres_server.dsn("pricing_service", empty),
            HOLDFAST_PRICING_RELAY_DSN=postgres_server.dsn("pricing_relay", empty),
        )
        assert migrated.returncode == 0, migrated.stderr
    finally:
        postgres_server.drop(empty)


async def test_a_request_of_a_stranger_without_a_role_is_refused(pricing: Pricing) -> None:
    request = price_tier_service_pb2.CreatePriceTierRequest(event_id=pricing.event(), price_tier=tier_of())
    with pytest.raises(DomainError) as refusal:
        await pricing.call("CreatePriceTier", request, role="organizer", peer="orders")
    assert refusal.value.reason is Reason.PERMISSION_MISSING
