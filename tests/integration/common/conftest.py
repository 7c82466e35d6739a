"""What the tests of the common library share: databases as the roles of the schema `proving`, and a way to wait."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from holdfast.common.database import Database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from holdfast.local.nats import EmbeddedNats
    from tests.support.postgres import TestDatabase

SCHEMA = "proving"
WAIT_SECONDS = 20.0
LEASE_SECONDS = 1.0
"""Of a relay, here."""


@asynccontextmanager
async def opened(dsn: str, **settings: Any) -> AsyncIterator[Database]:
    """A started database with the schema's settings, closed afterwards."""
    made = Database(**{"dsn": dsn, "pool_size": 5, "application_name": "holdfast-tests", "schema": SCHEMA, **settings})
    await made.start()
    try:
        yield made
    finally:
        await made.close()


async def until(condition: Callable[[], Awaitable[bool]], *, seconds: float = WAIT_SECONDS) -> None:
    """Return once `condition` holds; fail when it does not within `seconds`."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 (what is awaited happens in other processes)
            await asyncio.sleep(0.01)


@pytest.fixture
async def service(database: TestDatabase) -> AsyncIterator[Database]:
    """The schema as its service sees it."""
    async with opened(database.dsn("proving_service")) as made:
        yield made


@pytest.fixture
async def relay_database(database: TestDatabase) -> AsyncIterator[Database]:
    """The schema as its relay sees it."""
    async with opened(database.dsn("proving_relay"), allow_cross_organization=True, pool_size=2) as made:
        yield made


@pytest.fixture
async def admin(database: TestDatabase) -> AsyncIterator[psycopg.AsyncConnection[tuple[Any, ...]]]:
    """The superuser, to look and to break things; every statement commits by itself."""
    async with await psycopg.AsyncConnection.connect(database.dsn("admin"), autocommit=True) as connection:
        yield connection


@pytest.fixture
async def empty_outbox(admin: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
    """Nothing waits, and nobody holds a lease."""
    await admin.execute("TRUNCATE proving.outbox; TRUNCATE proving.leases")


@pytest.fixture
def relay_process(database: TestDatabase, nats_server: EmbeddedNats) -> Iterator[subprocess.Popen[str]]:
    """A relay in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.common.relay_process"], stdin=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(f"{database.dsn('proving_relay')}\n{nats_server.url}\n{LEASE_SECONDS}\n")
    process.stdin.close()
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)
