"""What clients did and what they were told, recorded while something breaks."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import httpx

from tests.support.mesh import key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.show import Show

Outcome = Literal["ok", "fail", "unknown"]
RETRYABLE = frozenset({429, 500, 502, 503, 504})
ATTEMPT_SECONDS = 6.0
PAUSE_SECONDS = 0.1
PRICED, CONFIRMED, RELEASED = 0.5, 0.25, 0.90  # thresholds of a client's random decisions


@dataclass(frozen=True)
class Operation:
    """One call, with all its retries under the same key. Times are seconds of a monotonic clock.

    `ok`: acknowledged. `fail`: refused for a reason of the business. `unknown`: never answered.
    `answers` are the distinct bodies of the acknowledgements, reduced to what a replay must repeat; `refusals` what
    attempts that were repeated had met: status and code, or the name of a transport's error.
    """

    seed: int
    op: str
    key: str
    organization: str
    invoke: float
    complete: float
    outcome: Outcome
    hold_id: str
    quantity: int
    code: str
    attempts: int
    answers: tuple[str, ...]
    priced: bool = False
    refusals: tuple[str, ...] = ()


class Recorder:
    """Collects operations; writes them as JSON lines so that a failure can be studied."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.operations: list[Operation] = []
        self.statuses: dict[int, int] = {}
        self.enough = asyncio.Event()
        """Set it to let the clients end after what they are doing."""
        self._changed = asyncio.Event()

    def add(self, operation: Operation) -> None:
        """Take an operation down."""
        self.operations.append(operation)
        self._changed.set()

    def acknowledged(self, *, since: float = 0.0, where: Callable[[Operation], bool] | None = None) -> int:
        """Count acknowledged operations that began at or after a moment."""
        return sum(o.outcome == "ok" and o.invoke >= since and (where is None or where(o)) for o in self.operations)

    async def wait_acknowledged(self, count: int, *, since: float = 0.0, seconds: float = 60) -> None:
        """Wait until so many operations that began since a moment are acknowledged. For one waiter; TimeoutError."""
        async with asyncio.timeout(seconds):
            while self.acknowledged(since=since) < count:
                self._changed.clear()
                await self._changed.wait()

    def write(self, path: Path) -> None:
        """Write the history as JSON lines."""
        path.write_text("".join(json.dumps(asdict(operation)) + "\n" for operation in self.operations))


@dataclass(frozen=True)
class _Call:
    """A call as it is sent, and sent again."""

    op: str
    path: str
    body: dict[str, Any]
    quantity: int
    hold_id: str = ""
    priced: bool = False
    key: str = field(default_factory=key)


@dataclass
class _Progress:
    """What became of a call so far."""

    outcome: Outcome = "unknown"
    hold_id: str = ""
    code: str = ""
    attempts: int = 0
    answers: set[str] = field(default_factory=set)
    refusals: set[str] = field(default_factory=set)


class Client:
    """A buyer that repeats a call under the same key until it knows what became of it."""

    def __init__(self, http: httpx.AsyncClient, recorder: Recorder, show: Show, *, patience_seconds: float) -> None:
        self._http = http
        self._recorder = recorder
        self._show = show
        self._patience_seconds = patience_seconds

    async def place(self, quantity: int, *, priced: bool = False) -> Operation:
        """Place a hold on the show's section, with the show's price tier or without a price."""
        body: dict[str, Any] = {"quantity": quantity, "hold_ttl_seconds": 3600}
        if priced:
            body["price_tier_id"] = self._show.price_tier_id
        path = f"/api/v1/capacity/{self._show.section_id}/reserve"
        return await self._call(_Call("place", path, body, quantity, priced=priced))

    async def confirm(self, hold: Operation) -> Operation:
        """Confirm a hold."""
        path = f"/api/v1/holds/{hold.hold_id}/confirm"
        return await self._call(_Call("confirm", path, {}, hold.quantity, hold.hold_id, hold.priced))

    async def release(self, hold: Operation) -> Operation:
        """Release a hold."""
        path = f"/api/v1/holds/{hold.hold_id}/release"
        return await self._call(_Call("release", path, {}, hold.quantity, hold.hold_id, hold.priced))

    async def _call(self, call: _Call) -> Operation:
        invoke = time.monotonic()
        deadline = invoke + self._patience_seconds
        progress = _Progress(hold_id=call.hold_id)
        await self._until_known(call, progress, deadline)
        if progress.outcome == "ok" and progress.attempts > 1:
            # The call was repeated: what is answered now must still be what was answered then.
            await self._until_known(call, progress, deadline)
        operation = Operation(
            seed=self._recorder.seed,
            op=call.op,
            key=call.key,
            organization=self._show.organization_id,
            invoke=invoke,
            complete=time.monotonic(),
            outcome=progress.outcome,
            hold_id=progress.hold_id,
            quantity=call.quantity,
            code=progress.code,
            attempts=progress.attempts,
            answers=tuple(sorted(progress.answers)),
            priced=call.priced,
            refusals=tuple(sorted(progress.refusals)),
        )
        self._recorder.add(operation)
        return operation

    async def _until_known(self, call: _Call, progress: _Progress, deadline: float) -> None:
        """Send until there is an answer that says what became of the call, or time is over."""
        while time.monotonic() < deadline:
            progress.attempts += 1
            try:
                answer = await self._http.post(call.path, json=call.body, headers={"Idempotency-Key": call.key})
            except httpx.HTTPError as error:
                progress.refusals.add(type(error).__name__)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            status = answer.status_code
            self._recorder.statuses[status] = self._recorder.statuses.get(status, 0) + 1
            document = answer.json()
            if status in RETRYABLE:
                dependency = document.get("metadata", {}).get("dependency", "")
                progress.refusals.add(f"{status} {document['code']} {dependency}".strip())
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if answer.is_success:
                hold = document["hold"]
                progress.outcome, progress.hold_id = "ok", hold["id"]
                progress.answers.add(json.dumps([hold["id"], hold["lines"]], sort_keys=True))
            elif progress.outcome == "ok":
                progress.answers.add(f"{status} {document['code']}")
            else:
                progress.outcome, progress.code = "fail", document["code"]
            return


async def trade(  # noqa: PLR0913 (whom, what, how much)
    recorder: Recorder, *, gateway: str, token: str, show: Show, clients: int, operations: int, seconds: float
) -> None:
    """Let clients place holds and confirm or release some of them, until the recorder has enough.

    Every second client never asks for a price, so that trade goes on while prices cannot be had. Bounded by
    `operations` for each client and by `seconds`; a call that has begun is repeated for as long again. A seed gives
    the same decisions again; what the scheduler makes of them differs.
    """
    deadline = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=clients)
    headers = {"Authorization": f"Bearer {token}"}

    async with httpx.AsyncClient(
        base_url=gateway, headers=headers, timeout=ATTEMPT_SECONDS, limits=limits, trust_env=False
    ) as http:

        async def one(number: int) -> None:
            chance = random.Random(recorder.seed * 1_000 + number)  # noqa: S311 — reproducible decisions, no secret
            client = Client(http, recorder, show, patience_seconds=seconds)
            for _ in range(operations):
                if recorder.enough.is_set() or time.monotonic() > deadline:
                    return
                await _trade_once(client, chance, priced=number % 2 == 1 and chance.random() < PRICED)

        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(one(number))


async def _trade_once(client: Client, chance: random.Random, *, priced: bool) -> None:
    hold = await client.place(chance.randint(1, 3), priced=priced)
    choice = chance.random()
    if hold.outcome != "ok":
        return
    if choice < CONFIRMED:
        await client.confirm(hold)
    elif choice < RELEASED:
        await client.release(hold)
