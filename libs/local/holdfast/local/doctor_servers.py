"""The doctor's questions to the database and to NATS of a running mesh."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import nats
import psycopg
from nats.errors import Error as NatsError

from holdfast.common import migrations, roles
from holdfast.local.finding import Finding, bad, good, warn

CONNECT_SECONDS = 5
ASK_SECONDS = 5.0
SKEW_SECONDS_WARN = 2.0
LAG_SECONDS_WARN = 10.0
JOURNALS = {"capacity": "inventory_changes"}
"""Services whose journal is their outbox."""
LAG_SECONDS_BAD = 120.0
DATABASE_SERVICES = ("events", "capacity", "pricing")
STREAMS = ("EVENTS", "CAPACITY", "PRICING")
DEAD_STREAM = "DEAD"
DURABILITY = ("fsync", "full_page_writes", "synchronous_commit")


def examine_servers(*, dsns: Mapping[str, str], nats_url: str, services: Sequence[str]) -> list[Finding]:
    """Check the database and the streams of a mesh that runs these services."""
    return [
        *_database(dsns, services),
        *asyncio.run(_streams(nats_url, [name for name in STREAMS if name.lower() in services])),
    ]


def _database(dsns: Mapping[str, str], services: Sequence[str]) -> Iterator[Finding]:
    if not dsns.get("admin"):
        yield warn("database", "is not ours, so it was not asked", "check it with its own tools")
        return
    try:
        with psycopg.connect(dsns["admin"], connect_timeout=CONNECT_SECONDS, autocommit=True) as connection:
            before = datetime.now(UTC)
            row = connection.execute("SELECT clock_timestamp()").fetchone()
            after = datetime.now(UTC)
            there = row[0] if row else after
            skew = max((before - there).total_seconds(), (there - after).total_seconds(), 0.0)
            if skew > SKEW_SECONDS_WARN:
                advice = "synchronize the clocks; the database's decides, but people read this machine's"
                yield warn("clock", f"{skew:.1f} s apart from the database's", advice)
            else:
                yield good("clock", "agrees with the database's")
            off = [name for name in DURABILITY if _setting(connection, name) == "off"]
            if off:
                yield bad("durability", f"{', '.join(off)} is off", "turn it on: what is acknowledged could be lost")
            else:
                yield good("durability", "fsync, full_page_writes and synchronous_commit are on")
            for service in services:
                if service in DATABASE_SERVICES:
                    yield _schema(connection, service)
    except psycopg.Error as error:
        yield bad("database", str(error).strip(), "look at the end of its log, logs/postgres.log")
        return
    for service in services:
        if service in DATABASE_SERVICES and f"{service}_relay" in dsns:
            yield _outbox(dsns[f"{service}_relay"], service)


def _setting(connection: "psycopg.Connection[tuple[object, ...]]", name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    return str(row[0]) if row else ""


def _schema(connection: "psycopg.Connection[tuple[object, ...]]", service: str) -> Finding:
    wanted = migrations.head(f"holdfast.{service}")
    try:
        query = psycopg.sql.SQL("SELECT version_num FROM {}.migrations")
        row = connection.execute(query.format(psycopg.sql.Identifier(service))).fetchone()
    except psycopg.Error as error:
        return bad(f"schema {service}", str(error).strip().splitlines()[0], "restart the mesh: it migrates")
    if row is None or row[0] != wanted:
        there = row[0] if row else "nothing"
        return bad(f"schema {service}", f"is at {there}, the code needs {wanted}", "restart the mesh: it migrates")
    return good(f"schema {service}", f"up to date ({wanted})")


def _outbox(dsn: str, service: str) -> Finding:
    """Measure what waits to be published."""
    roles.checked_name(service)
    query = psycopg.sql.SQL(
        "SELECT count(*), extract(epoch FROM clock_timestamp() - min(occur_time)) FROM {}.{} WHERE publish_time IS NULL"
    )
    try:
        with psycopg.connect(dsn, connect_timeout=CONNECT_SECONDS, autocommit=True) as connection:
            table = psycopg.sql.Identifier(JOURNALS.get(service, "outbox"))
            row = connection.execute(query.format(psycopg.sql.Identifier(service), table)).fetchone()
    except psycopg.Error as error:
        return bad(f"messages {service}", str(error).strip().splitlines()[0], f"look at logs/{service}.log")
    count, seconds = (int(row[0]), float(row[1] or 0)) if row else (0, 0.0)
    detail = f"{count} wait to be published, the oldest for {seconds:.0f} s"
    if seconds > LAG_SECONDS_BAD:
        return bad(f"messages {service}", detail, "check that NATS runs and its disk is not full; see logs/nats.log")
    if seconds > LAG_SECONDS_WARN:
        return warn(f"messages {service}", detail, "look again in a minute; a backlog drains by itself")
    return good(f"messages {service}", detail)


async def _streams(url: str, wanted: Sequence[str]) -> list[Finding]:
    """Check that the streams are there, that nothing waits too long, and that no message was given up."""
    try:
        async with asyncio.timeout(ASK_SECONDS * 2):
            client = await nats.connect(url, allow_reconnect=False, connect_timeout=ASK_SECONDS)
    except (NatsError, OSError, TimeoutError) as error:
        return [bad("nats", f"cannot be reached: {error}", "look at the end of its log, logs/nats.log")]
    findings = []
    try:
        async with asyncio.timeout(ASK_SECONDS):
            found = {info.config.name: info for info in await client.jetstream(timeout=ASK_SECONDS).streams_info()}
        missing = [name for name in wanted if name not in found]
        if missing:
            advice = "restart the services: they declare their streams when they start"
            findings.append(bad("streams", f"missing: {', '.join(missing)}", advice))
        else:
            told = ", ".join(f"{name} {found[name].state.messages}" for name in wanted)
            findings.append(good("streams", f"messages: {told}"))
        dead = found[DEAD_STREAM].state.messages if DEAD_STREAM in found else 0
        if dead:
            advice = "read them in stream DEAD: each carries its reason; docs/operations.md says how to send them again"
            findings.append(warn("dead letters", f"{dead} messages were given up", advice))
        else:
            findings.append(good("dead letters", "none"))
    except (NatsError, TimeoutError) as error:
        findings.append(bad("streams", f"JetStream does not answer: {error}", "look at logs/nats.log"))
    finally:
        await client.close()
    return findings
