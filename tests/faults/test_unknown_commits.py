"""COMMITs whose outcome capacity cannot know: what was done is never told as not done, and a key has one effect."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from pydantic import SecretStr

from holdfast.common.errors import DomainError, Reason
from tests.faults.alone import client, contest_of, seats_of, stored, stubs
from tests.faults.checkers import inventory_faults
from tests.faults.clients import RETRYABLE_REASONS, RPCS
from tests.faults.conftest import TRIALS
from tests.faults.history import Recorder, Target
from tests.faults.workload import contend
from tests.integration.capacity.conftest import refused, running, state_of, until
from tests.support.proxy import Action, Moment, PostgresProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
    from pathlib import Path

    from holdfast.local.nats import EmbeddedNats
    from tests.faults.clients import Client
    from tests.faults.history import Operation
    from tests.integration.capacity.conftest import Capacity
    from tests.support.postgres import TestDatabase

pytestmark = pytest.mark.faults

JOURNAL = "inventory_changes"
"""What a transaction names that changes an inventory."""
LOCK = "FOR NO KEY UPDATE"
"""What a transaction says that may change an inventory."""
AT_COMMIT = (Moment.BEFORE_COMMIT, Moment.BEFORE_REPLY, Moment.BEFORE_READY)
STATES = {
    "place": "ACTIVE",
    "confirm": "CONFIRMED",
    "release": "RELEASED",
    "change": "ACTIVE",
    "extend": "ACTIVE",
    "pay": "PENDING",
}
OPERATIONS = tuple(STATES)
ENDS = OPERATIONS[:3]
"""Those that a hold begins or ends with."""
SHORTER_SECONDS, LONG_SECONDS = 900, 1800
"""How long a hold lasts, and how long when it is extended."""
ALWAYS = 1_000
SHORT_SECONDS = 2.0


@pytest.fixture(scope="module")
def proxied(database: TestDatabase) -> Iterator[PostgresProxy]:
    with PostgresProxy(database.dsn("admin")) as running_proxy:
        yield running_proxy


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def capacity(
    database: TestDatabase, nats_server: EmbeddedNats, identity_dir: Path, proxied: PostgresProxy
) -> AsyncIterator[Capacity]:
    """The service, whose own connections lead through the proxy; its relay's and its sweeper's do not."""
    dsn = SecretStr(proxied.dsn(database.dsn("capacity_service")))
    async with running(database, nats_server.url, identity_dir, database_dsn=dsn) as service:
        yield service


@pytest.fixture
def proxy(proxied: PostgresProxy) -> Iterator[PostgresProxy]:
    """The proxy without traps, before and after."""
    yield proxied
    proxied.disarm()
    proxied.thaw()


async def seat(capacity: Capacity) -> tuple[str, Target]:
    """Make the first of two seats."""
    event_id = await capacity.event()
    return event_id, (await seats_of(capacity, event_id, 2))[0]


def other_than(target: Target) -> Target:
    """Give the second seat."""
    return Target(target.section_id, "A-2")


async def request_of(capacity: Capacity, operation: str, target: Target) -> dict[str, Any]:
    """Give the fields of a call, of a hold that exists if it needs one."""
    place = {"section_id": target.section_id, **target.selector(1)}
    if operation == "place":
        return place
    hold = (await capacity.call("PlaceHold", role="buyer", **place)).hold
    taken = {"section_id": target.section_id, **other_than(target).selector(1)}
    body: dict[str, dict[str, Any]] = {
        "extend": {"hold_ttl_seconds": LONG_SECONDS},
        "change": {"release_lines": [{"number": 1, **target.selector(1)}], "add_lines": [taken]},
    }
    return {"hold_id": hold.id, **body.get(operation, {})}


async def ask(buyer: Client, operation: str, target: Target, hold: Operation | None) -> Operation:
    """Let a buyer ask for an operation on a hold, or for a hold."""
    if hold is None:
        return await buyer.place(target)
    fields: dict[str, dict[str, Any]] = {
        "extend": {"ttl_seconds": LONG_SECONDS},
        "pay": {"ttl_seconds": LONG_SECONDS},
        "change": {"give": target, "take": other_than(target)},
    }
    answer: Operation = await getattr(buyer, operation)(hold, **fields.get(operation, {}))
    return answer


async def sound(capacity: Capacity, event_id: str, recorder: Recorder) -> None:
    """Hold what clients were told against what is stored."""
    assert inventory_faults(recorder.operations, await stored(capacity, event_id)) == []
    await capacity.check(event_id)


def holds_of(capacity: Capacity, event_id: str) -> list[tuple[Any, ...]]:
    return capacity.rows("SELECT state FROM capacity.holds WHERE event_id = %s", event_id)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("moment", AT_COMMIT)
async def test_one_lost_commit_is_not_noticed_and_has_one_effect(
    capacity: Capacity, proxy: PostgresProxy, moment: Moment, operation: str
) -> None:
    event_id, target = await seat(capacity)
    recorder = Recorder(seed=0)
    buyer = client(capacity, recorder)
    hold = None if operation == "place" else await buyer.place(target, ttl_seconds=SHORTER_SECONDS)
    trap = proxy.arm(moment, touching=JOURNAL)
    answer = await ask(buyer, operation, target, hold)
    assert trap.sprung == 1
    assert (answer.outcome, answer.state, answer.attempts) == ("ok", STATES[operation], 1), answer
    assert holds_of(capacity, event_id) == [(STATES[operation],)]
    await sound(capacity, event_id, recorder)


@pytest.mark.parametrize("operation", ENDS)
@pytest.mark.parametrize("moment", AT_COMMIT)
async def test_without_a_key_a_lost_commit_is_not_noticed_either(
    capacity: Capacity, proxy: PostgresProxy, moment: Moment, operation: str
) -> None:
    event_id, target = await seat(capacity)
    fields = await request_of(capacity, operation, target)
    trap = proxy.arm(moment, touching=JOURNAL)
    answer = await capacity.call(RPCS[operation], role="buyer", **fields)
    assert state_of(answer.hold) == STATES[operation]
    assert trap.sprung == 1
    assert holds_of(capacity, event_id) == [(STATES[operation],)]
    await capacity.check(event_id)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("moment", [Moment.BEFORE_COMMIT, Moment.BEFORE_REPLY])
async def test_when_every_commit_is_lost_the_outcome_is_told_as_unknown_and_the_key_tells_the_truth(
    capacity: Capacity, proxy: PostgresProxy, moment: Moment, operation: str
) -> None:
    event_id, target = await seat(capacity)
    fields = await request_of(capacity, operation, target) | {"request_id": f"lost {operation} {moment.name}"}
    rpc = RPCS[operation]
    trap = proxy.arm(moment, touching=LOCK, times=ALWAYS)
    lost = await refused(capacity.call(rpc, role="buyer", **fields))
    assert lost.reason in RETRYABLE_REASONS
    assert trap.sprung > 1
    proxy.disarm()
    answer, metadata = await capacity.call_with_metadata(rpc, role="buyer", **fields)
    assert state_of(answer.hold) == STATES[operation]
    assert (metadata.get("holdfast-replayed") == "true") == (moment is Moment.BEFORE_REPLY)
    assert (await capacity.call(rpc, role="buyer", **fields)).hold == answer.hold
    assert holds_of(capacity, event_id) == [(STATES[operation],)]
    await capacity.check(event_id)


@pytest.mark.parametrize("operation", ENDS if TRIALS > 1 else ENDS[:1])
async def test_a_commit_whose_reply_never_comes_is_told_as_unknown_and_the_key_tells_the_truth(
    capacity: Capacity, proxy: PostgresProxy, operation: str
) -> None:
    event_id, target = await seat(capacity)
    recorder = Recorder(seed=0)
    hold = None if operation == "place" else await client(capacity, recorder).place(target)
    trap = proxy.arm(Moment.BEFORE_REPLY, Action.FREEZE, touching=JOURNAL)
    hasty = client(capacity, recorder, deadline_seconds=SHORT_SECONDS)
    answer = await ask(hasty, operation, target, hold)
    assert trap.sprung == 1
    assert (answer.outcome, answer.state) == ("ok", STATES[operation])
    assert answer.attempts > 1
    assert {refusal.partition(" ")[0] for refusal in answer.refusals} <= RETRYABLE_REASONS
    assert holds_of(capacity, event_id) == [(STATES[operation],)]
    await sound(capacity, event_id, recorder)


@pytest.mark.parametrize("moment", AT_COMMIT)
async def test_sections_and_controls_are_written_once_when_their_commit_is_lost(
    capacity: Capacity, proxy: PostgresProxy, moment: Moment
) -> None:
    event_id = await capacity.event()
    traps = [proxy.arm(moment, touching=JOURNAL)]
    section = await capacity.section(event_id, 10, name="Floor")
    traps.append(proxy.arm(moment, touching=JOURNAL))
    changed = await capacity.call("UpdateSection", section_id=section.id, section={"total": 12}, etag=section.etag)
    assert changed.section.total == 12
    traps.append(proxy.arm(moment, touching=JOURNAL))
    await capacity.change_event(event_id, state="SALES_PAUSED")
    assert [trap.sprung for trap in traps] == [1, 1, 1]
    listed = await capacity.call("ListSections", event_id=event_id)
    assert [(each.name, each.total) for each in listed.sections] == [("Floor", 12)]
    await capacity.check(event_id)


async def test_clients_contend_while_commits_are_lost(
    capacity: Capacity, proxy: PostgresProxy, history_path: Path, seed: int
) -> None:
    event_id, contest = await contest_of(capacity)
    contest = replace(contest, clients=24)
    chance = random.Random(seed)  # noqa: S311 (reproducible)
    traps = []
    for number in range(12):
        moment = chance.choice(list(Moment))
        traps.append(proxy.arm(moment, touching=JOURNAL, skip=number * 4 + chance.randint(0, 3)))
    recorder = Recorder(seed)
    await contend(recorder, contest, lambda number: stubs(capacity, f"user:{number}"))
    recorder.write(history_path)
    assert sum(trap.sprung for trap in traps) > 0
    faults = inventory_faults(recorder.operations, await stored(capacity, event_id))
    assert not faults, f"{faults[:10]}; seed {seed}, history {history_path}"
    assert all(each.outcome != "unknown" for each in recorder.operations)
    await capacity.check(event_id)


async def outcomes(calls: Sequence[Awaitable[Any]]) -> Counter[str]:
    """Await calls at once; count how each was answered."""
    done = await asyncio.gather(*calls, return_exceptions=True)
    for each in done:
        if isinstance(each, BaseException) and not isinstance(each, DomainError):
            raise each
    return Counter(each.reason if isinstance(each, DomainError) else "ok" for each in done)


@pytest.mark.parametrize("operation", ENDS)
async def test_a_key_used_50_times_at_once_while_commits_are_lost_has_one_effect(
    capacity: Capacity, proxy: PostgresProxy, operation: str
) -> None:
    event_id, target = await seat(capacity)
    fields = await request_of(capacity, operation, target) | {"request_id": f"fifty {operation}"}
    traps = [proxy.arm(moment, touching=JOURNAL) for moment in (Moment.BEFORE_COMMIT, Moment.BEFORE_REPLY)]
    calls = [capacity.call(RPCS[operation], role="buyer", **fields) for _ in range(50)]
    assert await outcomes(calls) == {"ok": 50}
    assert [trap.sprung for trap in traps] == [1, 1]
    assert holds_of(capacity, event_id) == [(STATES[operation],)]
    await capacity.check(event_id)


async def test_keys_used_for_two_events_in_opposite_orders_each_have_one_effect(capacity: Capacity) -> None:
    sections = [await capacity.on_sale(100) for _ in range(2)]
    keys = [f"opposite {number:02}" for number in range(30)]
    before = capacity.deadlocks()
    calls = [
        capacity.place(section.id, request_id=request_id)
        for pair in zip(keys, reversed(keys), strict=True)
        for section, request_id in zip(sections, pair, strict=True)
    ]
    assert await outcomes(calls) == {"ok": 30, Reason.IDEMPOTENCY_KEY_REUSED: 30}
    held = [(await capacity.read(section.id)).held for section in sections]
    assert sum(held) == 30
    assert capacity.deadlocks() == before
    for section in sections:
        await capacity.check(section.event_id)


async def test_a_hold_that_ends_while_its_confirmation_waits_for_the_lock_is_expired_and_its_seat_sold_to_the_next(
    capacity: Capacity, proxy: PostgresProxy
) -> None:
    event_id, target = await seat(capacity)
    other = other_than(target)
    recorder = Recorder(seed=0)
    buyer = client(capacity, recorder)
    trap = proxy.arm(Moment.BEFORE_COMMIT, Action.HOLD, touching=JOURNAL, skip=1)
    hold = await buyer.place(target, ttl_seconds=1)
    in_the_way = asyncio.create_task(client(capacity, recorder, "user:in the way").place(other))
    await trap.reached()
    confirming = asyncio.create_task(buyer.confirm(hold))
    placing = asyncio.create_task(client(capacity, recorder, "user:next").place(target))

    async def over() -> bool:
        statement = "SELECT 1 FROM capacity.holds WHERE id = %s AND expire_time <= clock_timestamp()"
        return bool(capacity.rows(statement, hold.hold_id))

    await until(over)
    trap.release()
    await in_the_way
    assert ((await confirming).code, (await placing).outcome) == ("HOLD_EXPIRED", "ok")
    await sound(capacity, event_id, recorder)
