"""The same request, however often and however interrupted, has one effect and one answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import sql

from holdfast.common import idempotency
from holdfast.common.errors import DomainError, Reason
from holdfast.common.idempotency import RequestKey
from holdfast.common.ids import new_id
from tests.integration.common import notes
from tests.integration.common.conftest import opened, until

if TYPE_CHECKING:
    import psycopg

    from holdfast.common.database import Database, Transaction
    from tests.support.postgres import TestDatabase

    Admin = psycopg.AsyncConnection[tuple[Any, ...]]


def key(request_id: str, fingerprint: bytes = b"one", caller: str = "alice", rpc: str = "WriteNote") -> RequestKey:
    return RequestKey(caller=caller, rpc=rpc, request_id=request_id, fingerprint=fingerprint)


async def write_once(transaction: Transaction, request: RequestKey | None) -> str:
    """Write a note, or return the one that this request wrote."""
    known = await idempotency.replayed(transaction, request)
    if known is not None:
        return known
    note_id = new_id()
    await notes.write(transaction, note_id)
    await idempotency.record(transaction, request, note_id)
    return note_id


async def test_fifty_concurrent_requests_with_one_key_have_one_effect_and_one_answer(database: TestDatabase) -> None:
    entered = 0
    ten_are_in = asyncio.Barrier(10)

    async def together(transaction: Transaction) -> str:
        nonlocal entered
        entered += 1
        if entered <= 10:
            await ten_are_in.wait()
        return await write_once(transaction, key("same"))

    async with opened(database.dsn("proving_service"), pool_size=10, waiting_max=100) as service:
        answers = await asyncio.gather(*(service.run(together, organization_id="fifty") for _ in range(50)))
        assert len(set(answers)) == 1
        assert await service.run(notes.count, organization_id="fifty") == 1


async def test_a_key_with_other_content_is_refused_and_changes_nothing(service: Database) -> None:
    await service.run(lambda transaction: write_once(transaction, key("reused")), organization_id="reuse")
    with pytest.raises(DomainError) as refused:
        await service.run(lambda transaction: write_once(transaction, key("reused", b"two")), organization_id="reuse")
    assert refused.value.reason == Reason.IDEMPOTENCY_KEY_REUSED
    assert refused.value.metadata == {"request_id": "reused"}
    assert await service.run(notes.count, organization_id="reuse") == 1


async def test_keys_of_other_organizations_callers_and_rpcs_are_other_keys(service: Database) -> None:
    async def write(request: RequestKey, organization_id: str) -> str:
        return await service.run(lambda transaction: write_once(transaction, request), organization_id=organization_id)

    made = [
        await write(key("k"), "one"),
        await write(key("k", b"other"), "two"),
        await write(key("k", b"other", caller="bob"), "one"),
        await write(key("k", b"other", rpc="OtherRpc"), "one"),
    ]
    assert len(set(made)) == 4


async def test_a_refusal_is_not_recorded(service: Database) -> None:
    async def refuse(transaction: Transaction) -> str:
        await write_once(transaction, key("later"))
        raise DomainError(Reason.SECTION_CLOSED, "not yet")

    with pytest.raises(DomainError):
        await service.run(refuse, organization_id="refusal")
    await service.run(lambda transaction: write_once(transaction, key("later")), organization_id="refusal")
    assert await service.run(notes.count, organization_id="refusal") == 1


async def test_without_a_key_every_request_has_its_effect(service: Database) -> None:
    for _ in range(2):
        await service.run(lambda transaction: write_once(transaction, None), organization_id="keyless")
    assert await service.run(notes.count, organization_id="keyless") == 2


async def test_old_keys_are_forgotten_a_few_at_a_time_and_young_ones_never(service: Database, admin: Admin) -> None:
    for number in range(5):
        request = key(f"old-{number}")

        async def write(transaction: Transaction, request: RequestKey = request) -> str:
            return await write_once(transaction, request)

        await service.run(write, organization_id="age")
    await admin.execute(
        "UPDATE proving.requests SET create_time = now() - interval '49 hours' "
        "WHERE organization_id = 'age' AND request_id < 'old-4'"
    )
    await service.run(lambda transaction: write_once(transaction, key("new")), organization_id="age")
    left = await admin.execute(
        "SELECT request_id FROM proving.requests WHERE organization_id = 'age' ORDER BY request_id"
    )
    names = [str(row[0]) for row in await left.fetchall()]
    assert len(names) == 4
    assert {"old-4", "new"} <= set(names)


async def commit_hangs(admin: Admin) -> int | None:
    """The process id of a session that has committed on disk and waits for a standby that does not exist."""
    found = await admin.execute("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    row = await found.fetchone()
    return None if row is None else int(row[0])


async def set_standby(admin: Admin, name: str) -> None:
    await admin.execute(sql.SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(sql.Literal(name)))
    await admin.execute("SELECT pg_reload_conf()")

    async def in_force() -> bool:
        found = await admin.execute("SELECT current_setting('synchronous_standby_names')")
        return await found.fetchall() == [(name,)]

    await until(in_force)


async def test_a_connection_lost_after_the_commit_but_before_its_answer_makes_no_second_effect(
    service: Database, admin: Admin
) -> None:
    await admin.execute("SET synchronous_commit = local")
    await set_standby(admin, "nobody")
    try:
        task = asyncio.create_task(
            service.run(lambda transaction: write_once(transaction, key("cut")), organization_id="cut")
        )

        async def hangs() -> bool:
            return await commit_hangs(admin) is not None

        await until(hangs)
        pid = await commit_hangs(admin)
        await set_standby_away_after_killing(admin, pid)
    finally:
        await set_standby(admin, "")
    note_id = await task
    found = await admin.execute("SELECT note_id FROM proving.notes WHERE organization_id = 'cut'")
    assert await found.fetchall() == [(note_id,)]


async def set_standby_away_after_killing(admin: Admin, pid: int | None) -> None:
    """Cut the session while its commit stands on disk unanswered."""
    assert pid is not None
    await admin.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    found = await admin.execute("SELECT count(*) FROM proving.requests WHERE organization_id = 'cut'")
    assert await found.fetchall() == [(1,)], "the first attempt had committed when it was cut"


async def test_a_connection_lost_while_the_commit_is_decided_makes_one_effect(service: Database, admin: Admin) -> None:
    await admin.execute(
        """
CREATE FUNCTION proving.once() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(4711); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER once AFTER INSERT ON proving.notes DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION proving.once();
SELECT pg_advisory_lock(4711)"""
    )
    try:
        task = asyncio.create_task(
            service.run(lambda transaction: write_once(transaction, key("before")), organization_id="before")
        )

        async def committing() -> bool:
            found = await admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE query = 'COMMIT' AND state = 'active'"
            )
            return await found.fetchone() is not None

        await until(committing)
        await admin.execute("SELECT pg_advisory_unlock(4711)")
        note_id = await task
        found = await admin.execute("SELECT note_id FROM proving.notes WHERE organization_id = 'before'")
        assert await found.fetchall() == [(note_id,)]
    finally:
        await admin.execute("DROP TRIGGER once ON proving.notes; DROP FUNCTION proving.once()")
