"""What clients did and what they were told, recorded while something breaks."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import httpx

from tests.support.mesh import key

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.show import Show

Outcome = Literal["ok", "fail", "unknown"]
RETRYABLE = frozenset({429, 500, 502, 503, 504})
ATTEMPT_SECONDS = 6.0
PAUSE_SECONDS = 0.1


@dataclass(frozen=True)
class Operation:
    """One call, with all its retries under the same key. Times are seconds of a monotonic clock.

    `ok`: acknowledged. `fail`: refused for a reason of the business. `unknown`: never answered.
    `answers` are the distinct bodies of the acknowledgements, reduced to what a replay must repeat.
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


class Recorder:
    """Collects operations; writes them as JSON lines so that a failure can be studied."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.operations: list[Operation] = []
        self.statuses: dict[int, int] = {}

    def write(self, path: Path) -> None:
        """Write the history as JSON lines."""
        path.write_text("".join(json.dumps(asdict(operation)) + "\n" for operation in self.operations))


class Client:
    """A buyer that repeats a call under the same key until it knows what became of it."""

    def __init__(self, http: httpx.AsyncClient, recorder: Recorder, show: Show, *, patience_seconds: float) -> None:
        self._http = http
        self._recorder = recorder
        self._show = show
        self._patience_seconds = patience_seconds

    async def place(self, quantity: int) -> Operation:
        """Place a hold on the show's section."""
        path = f"/api/v1/capacity/{self._show.section_id}/reserve"
        return await self._call("place", path, {"quantity": quantity, "hold_ttl_seconds": 3600}, quantity=quantity)

    async def confirm(self, hold: Operation) -> Operation:
        """Confirm a hold."""
        return await self._call("confirm", f"/api/v1/holds/{hold.hold_id}/confirm", {}, quantity=hold.quantity)

    async def release(self, hold: Operation) -> Operation:
        """Release a hold."""
        return await self._call("release", f"/api/v1/holds/{hold.hold_id}/release", {}, quantity=hold.quantity)

    async def _call(self, op: str, path: str, body: dict[str, Any], *, quantity: int) -> Operation:
        request_id = key()
        invoke = time.monotonic()
        deadline = invoke + self._patience_seconds
        outcome: Outcome = "unknown"
        hold_id, code, attempts, answers = "", "", 0, []
        while outcome == "unknown" and time.monotonic() < deadline:
            attempts += 1
            try:
                response = await self._http.post(path, json=body, headers={"Idempotency-Key": request_id})
            except httpx.HTTPError:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            status = response.status_code
            self._recorder.statuses[status] = self._recorder.statuses.get(status, 0) + 1
            if status in RETRYABLE:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            document = response.json()
            if status < 300:
                outcome = "ok"
                hold_id = document["hold"]["id"]
                answers.append(json.dumps([hold_id, document["hold"]["lines"]], sort_keys=True))
            else:
                outcome = "fail"
                code = document["code"]
        if outcome == "ok" and attempts > 1:
            # The call was repeated: what is answered now must still be what was answered then.
            replay = await self._http.post(path, json=body, headers={"Idempotency-Key": request_id})
            if replay.is_success:
                document = replay.json()
                answers.append(json.dumps([document["hold"]["id"], document["hold"]["lines"]], sort_keys=True))
        operation = Operation(
            seed=self._recorder.seed,
            op=op,
            key=request_id,
            organization=self._show.organization_id,
            invoke=invoke,
            complete=time.monotonic(),
            outcome=outcome,
            hold_id=hold_id or (path.split("/")[4] if op != "place" else ""),
            quantity=quantity,
            code=code,
            attempts=attempts,
            answers=tuple(sorted(set(answers))),
        )
        self._recorder.operations.append(operation)
        return operation


async def trade(  # noqa: PLR0913 (whom, what, how much)
    *,
    gateway: str,
    token: str,
    show: Show,
    seed: int,
    clients: int,
    operations: int,
    seconds: float,
    patience_seconds: float = 60,
) -> Recorder:
    """Let clients place holds and confirm or release some of them; bounded by count and by time.

    A seed gives the same decisions again; what the scheduler makes of them differs.
    """
    recorder = Recorder(seed)
    deadline = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=clients)
    headers = {"Authorization": f"Bearer {token}"}

    async with httpx.AsyncClient(
        base_url=gateway, headers=headers, timeout=ATTEMPT_SECONDS, limits=limits, trust_env=False
    ) as http:

        async def one(number: int) -> None:
            chance = random.Random(seed * 1_000 + number)  # noqa: S311 — reproducible decisions, no secret
            client = Client(http, recorder, show, patience_seconds=patience_seconds)
            for _ in range(operations):
                if time.monotonic() > deadline:
                    return
                hold = await client.place(chance.randint(1, 3))
                if hold.outcome != "ok":
                    continue
                choice = chance.random()
                if choice < 0.4:
                    await client.confirm(hold)
                elif choice < 0.8:
                    await client.release(hold)

        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(one(number))
    return recorder
