"""What clients do while something breaks: they trade on a large section, or they contend for a few seats."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from tests.faults.clients import Client, Rest
from tests.faults.history import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.faults.clients import Transport
    from tests.faults.history import Recorder
    from tests.support.show import Show

ATTEMPT_SECONDS = 6.0
REST_SECONDS = 0.3
"""Between two trades of a client: what was killed has to start again on the same processors."""
PRICED, CONFIRMED, RELEASED = 0.5, 0.25, 0.90  # thresholds of a trader's random decisions


async def trade(  # noqa: PLR0913 (whom, what, how much)
    recorder: Recorder, *, gateway: str, token: str, show: Show, clients: int, operations: int, seconds: float
) -> None:
    """Let clients place holds and confirm or release some of them, until the recorder has enough.

    Of four clients one always asks for a price and two never do, so that trade goes on while prices cannot be had, and
    somebody notices. Bounded by `operations` for each client and by `seconds`; a call that has begun is repeated for as
    long again. A seed gives the same decisions again; what the scheduler makes of them differs.
    """
    deadline = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=clients)
    headers = {"Authorization": f"Bearer {token}"}

    async with httpx.AsyncClient(
        base_url=gateway, headers=headers, timeout=ATTEMPT_SECONDS, limits=limits, trust_env=False
    ) as http:

        async def one(number: int) -> None:
            chance = random.Random(recorder.seed * 1_000 + number)  # noqa: S311 — reproducible decisions, no secret
            client = Client(Rest(http), recorder, organization_id=show.organization_id, patience_seconds=seconds)
            for _ in range(operations):
                if recorder.enough.is_set() or time.monotonic() > deadline:
                    return
                priced = number % 4 == 1 or (number % 4 == 3 and chance.random() < PRICED)
                await _trade_once(client, chance, show, priced=priced)
                await asyncio.sleep(REST_SECONDS)

        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(one(number))


async def _trade_once(client: Client, chance: random.Random, show: Show, *, priced: bool) -> None:
    hold = await client.place(
        Target(show.section_id), quantity=chance.randint(1, 3), price_tier_id=show.price_tier_id if priced else ""
    )
    choice = chance.random()
    if hold.outcome != "ok":
        return
    if choice < CONFIRMED:
        await client.confirm(hold)
    elif choice < RELEASED:
        await client.release(hold)


@dataclass(frozen=True)
class Contest:
    """What clients contend for. `turns` is how often each of them asks for something."""

    organization_id: str
    seats: Sequence[Target]
    """Of one section."""
    floor: Target
    """A section of many places."""
    clients: int = 64
    turns: int = 3
    ttl_seconds: int = 1
    patience_seconds: float = 60.0


SEAT, LATE = 0.75, 0.35
SEATS_MAX = 3
AROUND_SECONDS = 0.15
CHANGED, EXTENDED, PAID = 0.25, 0.40, 0.55  # what happens to a hold before its end
KEEP, LET_GO, BOTH = 0.06, 0.55, 0.70  # what becomes of a hold: sold, released, raced for; the others expire
FLOOR_QUANTITY_MAX = 5


async def contend(recorder: Recorder, contest: Contest, transport_of: Callable[[int], Transport]) -> None:
    """Let clients hold seats for a short time, sell a few, give back many, and leave the others to expire.

    `transport_of` says how the client of a number calls. Some want several seats, each in an order of its own; some
    change a seat for another, extend the hold or begin to pay. Some confirm and release at once, some only when the
    hold is about to end. A seed gives the same decisions again.
    """

    async def one(number: int) -> None:
        chance = random.Random(recorder.seed * 1_000 + number)  # noqa: S311 — reproducible decisions, no secret
        client = Client(
            transport_of(number),
            recorder,
            organization_id=contest.organization_id,
            patience_seconds=contest.patience_seconds,
        )
        for _ in range(contest.turns):
            if recorder.enough.is_set():
                return
            await _contend_once(client, chance, contest)

    async with asyncio.TaskGroup() as group:
        for number in range(contest.clients):
            group.create_task(one(number))


async def _contend_once(client: Client, chance: random.Random, contest: Contest) -> None:
    seats = chance.sample(contest.seats, chance.randint(2, SEATS_MAX + 1))
    quantity, meanwhile = chance.randint(1, FLOOR_QUANTITY_MAX), chance.random()
    on_seats, choice, late = chance.random() < SEAT, chance.random(), chance.random() < LATE
    about = contest.ttl_seconds + chance.uniform(-AROUND_SECONDS, AROUND_SECONDS)
    *wanted, other = seats
    targets = wanted if on_seats else [contest.floor]
    hold = await client.place(*targets, quantity=quantity, ttl_seconds=contest.ttl_seconds)
    if hold.outcome != "ok":
        return
    last = hold
    if meanwhile < CHANGED and on_seats:
        last = await client.change(hold, give=wanted[0], take=other)
    elif CHANGED <= meanwhile < EXTENDED:
        last = await client.extend(hold, ttl_seconds=contest.ttl_seconds)
    elif EXTENDED <= meanwhile < PAID:
        last = await client.pay(hold, ttl_seconds=contest.ttl_seconds)
    if choice >= BOTH:
        return
    if late:  # around the moment of its expiry: who wins is the database's clock to say
        begun = last.complete if last.outcome == "ok" and last.ttl_seconds else hold.complete
        await asyncio.sleep(max(0.0, begun + about - time.monotonic()))
    if choice < KEEP:
        await client.confirm(last)
    elif choice < LET_GO:
        await client.release(last)
    else:
        await asyncio.gather(client.confirm(last), client.release(last))
