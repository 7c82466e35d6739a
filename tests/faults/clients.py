"""Clients that repeat a call under the same key until they know what became of it, over REST or over stubs."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

import httpx
from google.protobuf import json_format

from holdfast.api.capacity.v1 import hold_service_pb2, hold_service_pb2_grpc
from holdfast.common.errors import DomainError, Reason
from tests.faults.history import Operation, Target, selector
from tests.support.mesh import key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.common.mesh_identity import Principal
    from holdfast.common.rpc_client import Peer
    from tests.faults.history import Outcome, Recorder

RETRYABLE_STATUSES = frozenset({429, 500, 502, 503, 504})
RETRYABLE_REASONS = frozenset(
    {
        Reason.OVERLOADED,
        Reason.RATE_LIMITED,
        Reason.DEPENDENCY_UNAVAILABLE,
        Reason.DEADLINE_EXCEEDED,
        Reason.INTERNAL,
    }
)
PAUSE_SECONDS = 0.3
LONG_TTL_SECONDS = 3600


RPCS = {
    "place": "PlaceHold",
    "change": "ChangeHold",
    "extend": "ExtendHold",
    "pay": "BeginPayment",
    "confirm": "ConfirmHold",
    "release": "ReleaseHold",
}


@dataclass(frozen=True)
class Ask:
    """A call as it is sent, and sent again. What its fields mean, an operation of a history says.

    `chosen` asks for seats of a section that the service chooses: which, only an acknowledgement says.
    """

    op: str
    targets: tuple[Target, ...]
    body: dict[str, Any]
    quantity: int
    hold_id: str = ""
    priced: bool = False
    ttl_seconds: float = 0.0
    gives: tuple[Target, ...] = ()
    takes: tuple[Target, ...] = ()
    chosen: bool = False
    key: str = field(default_factory=key)


@dataclass(frozen=True)
class Told:
    """One answer. `hold` when it was acknowledged, `code` when it was refused, `trouble` when it says neither.

    `named` are the seats that the refusal names.
    """

    hold: dict[str, Any] | None = None
    code: str = ""
    trouble: str = ""
    status: int = 0
    named: tuple[str, ...] = ()


def _named(metadata: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(metadata["seats"].split(",")) if metadata.get("seats") else ()


class Transport(Protocol):
    """How calls travel."""

    async def send(self, ask: Ask) -> Told:
        """Send a call once."""
        ...


class Rest:
    """Calls over the gateway."""

    def __init__(self, http: httpx.AsyncClient, *, headers: Mapping[str, str] | None = None) -> None:
        """`headers` besides the client's own."""
        self._http = http
        self._headers = dict(headers or {})

    async def send(self, ask: Ask) -> Told:
        """Send a call once."""
        path = f"/api/v1/holds/{ask.hold_id}/{'begin-payment' if ask.op == 'pay' else ask.op}"
        if ask.op == "place":
            path = f"/api/v1/capacity/{ask.targets[0].section_id}/reserve"
        try:
            answer = await self._http.post(path, json=ask.body, headers=self._headers | {"Idempotency-Key": ask.key})
        except httpx.HTTPError as error:
            return Told(trouble=type(error).__name__)
        document, status = answer.json(), answer.status_code
        if answer.is_success:
            return Told(hold=document["hold"], status=status)
        if status in RETRYABLE_STATUSES:
            dependency = document.get("metadata", {}).get("dependency", "")
            return Told(trouble=f"{status} {document['code']} {dependency}".strip(), status=status)
        return Told(code=document["code"], status=status, named=_named(document.get("metadata", {})))


class Stubs:
    """Calls to capacity's replicas, to each in turn, as the gateway makes them on somebody's behalf."""

    def __init__(self, replicas: Sequence[Peer], principal: Principal, *, deadline_seconds: float) -> None:
        self._replicas = replicas
        self._principal = principal
        self._deadline_seconds = deadline_seconds
        self._turns = count(sum(principal.subject.encode()))  # not all begin with the same one

    async def send(self, ask: Ask) -> Told:
        """Send a call once."""
        replica = self._replicas[next(self._turns) % len(self._replicas)]
        rpc = RPCS[ask.op]
        where = {"section_id": ask.targets[0].section_id} if ask.op == "place" else {"hold_id": ask.hold_id}
        request = json_format.ParseDict(
            ask.body | where | {"request_id": ask.key}, getattr(hold_service_pb2, f"{rpc}Request")()
        )
        try:
            answer = await replica.call(
                getattr(hold_service_pb2_grpc.HoldServiceStub(replica.channel), rpc),
                request,
                principal=self._principal,
                deadline_seconds=self._deadline_seconds,
            )
        except DomainError as error:
            if error.reason in RETRYABLE_REASONS:
                return Told(trouble=f"{error.reason} {error.metadata.get('dependency', '')}".strip())
            return Told(code=error.reason, named=_named(error.metadata))
        return Told(hold=json_format.MessageToDict(answer.hold, preserving_proto_field_name=True))


@dataclass
class _Progress:
    """What became of a call so far."""

    outcome: Outcome = "unknown"
    hold_id: str = ""
    code: str = ""
    state: str = ""
    named: tuple[str, ...] = ()
    lines: tuple[tuple[int, Target], ...] = ()
    complete: float = 0.0
    attempts: int = 0
    answers: set[str] = field(default_factory=set)
    refusals: set[str] = field(default_factory=set)


class Client:
    """A buyer, who tries for `patience_seconds` at most."""

    def __init__(
        self, transport: Transport, recorder: Recorder, *, organization_id: str, patience_seconds: float
    ) -> None:
        self._transport = transport
        self._recorder = recorder
        self._organization_id = organization_id
        self._patience_seconds = patience_seconds

    async def place(
        self,
        *targets: Target,
        quantity: int = 1,
        price_tier_id: str = "",
        ttl_seconds: int = LONG_TTL_SECONDS,
    ) -> Operation:
        """Place a hold on seats of one section, or on `quantity` places of it, at a price or without one."""
        quantity = len(targets) if targets[0].seat else quantity
        body = selector(targets, quantity) | {"hold_ttl_seconds": ttl_seconds}
        if price_tier_id:
            body["price_tier_id"] = price_tier_id
        return await self._call(
            Ask("place", targets, body, quantity, priced=bool(price_tier_id), ttl_seconds=ttl_seconds)
        )

    async def place_best(self, section_id: str, quantity: int, *, ttl_seconds: int = LONG_TTL_SECONDS) -> Operation:
        """Place a hold on the best seats of a section."""
        body = {"best_available": {"quantity": quantity}, "hold_ttl_seconds": ttl_seconds}
        return await self._call(
            Ask("place", (Target(section_id),), body, quantity, ttl_seconds=ttl_seconds, chosen=True)
        )

    async def change(self, hold: Operation, *, give: Target, take: Target) -> Operation:
        """Take a seat for another one of a hold, as it was answered last."""
        (number,) = [number for number, target in hold.lines if target == give]
        body = {
            "release_lines": [{"number": number, **give.selector(1)}],
            "add_lines": [{"section_id": take.section_id, **take.selector(1)}],
        }
        return await self._ask("change", hold, body, gives=(give,), takes=(take,))

    async def extend(self, hold: Operation, *, ttl_seconds: int) -> Operation:
        """Let a hold last so long from now on at least."""
        return await self._ask("extend", hold, {"hold_ttl_seconds": ttl_seconds}, ttl_seconds=ttl_seconds)

    async def pay(self, hold: Operation, *, ttl_seconds: int) -> Operation:
        """Begin the payment of a hold, which may take so long."""
        return await self._ask("pay", hold, {"payment_ttl_seconds": ttl_seconds}, ttl_seconds=ttl_seconds)

    async def confirm(self, hold: Operation) -> Operation:
        """Confirm a hold."""
        return await self._ask("confirm", hold, {})

    async def release(self, hold: Operation) -> Operation:
        """Release a hold."""
        return await self._ask("release", hold, {})

    async def _ask(self, op: str, hold: Operation, body: dict[str, Any], **fields: Any) -> Operation:
        return await self._call(Ask(op, hold.claims, body, hold.quantity, hold.hold_id, hold.priced, **fields))

    async def _call(self, ask: Ask) -> Operation:
        invoke = time.monotonic()
        deadline = invoke + self._patience_seconds
        progress = _Progress(hold_id=ask.hold_id)
        await self._until_known(ask, progress, deadline)
        if progress.outcome == "ok" and progress.attempts > 1:
            # The call was repeated: what is answered now must still be what was answered then.
            await self._until_known(ask, progress, deadline)
        operation = Operation(
            seed=self._recorder.seed,
            op=ask.op,
            key=ask.key,
            organization=self._organization_id,
            invoke=invoke,
            complete=progress.complete or time.monotonic(),
            outcome=progress.outcome,
            hold_id=progress.hold_id,
            quantity=ask.quantity,
            code=progress.code,
            attempts=progress.attempts,
            answers=tuple(sorted(progress.answers)),
            priced=ask.priced,
            refusals=tuple(sorted(progress.refusals)),
            targets=tuple(target for _, target in progress.lines) if ask.chosen else ask.targets,
            gives=ask.gives,
            takes=ask.takes,
            named=progress.named,
            lines=progress.lines,
            ttl_seconds=ask.ttl_seconds,
            state=progress.state,
        )
        self._recorder.add(operation)
        return operation

    async def _until_known(self, ask: Ask, progress: _Progress, deadline: float) -> None:
        """Send until there is an answer that says what became of the call, or time is over."""
        while time.monotonic() < deadline:
            progress.attempts += 1
            told = await self._transport.send(ask)
            if told.status:
                self._recorder.statuses[told.status] = self._recorder.statuses.get(told.status, 0) + 1
            if told.trouble:
                progress.refusals.add(told.trouble)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            self._know(told, progress)
            return

    @staticmethod
    def _know(told: Told, progress: _Progress) -> None:
        if told.hold is not None:
            progress.answers.add(json.dumps([told.hold["id"], told.hold["lines"]], sort_keys=True))
        elif progress.outcome == "ok":
            progress.answers.add(told.code)
        if progress.complete:
            return
        progress.complete = time.monotonic()
        if told.hold is None:
            progress.outcome, progress.code, progress.named = "fail", told.code, told.named
        else:
            progress.outcome, progress.hold_id, progress.state = "ok", told.hold["id"], told.hold["state"]
            progress.lines = _lines(told.hold)


def _lines(hold: dict[str, Any]) -> tuple[tuple[int, Target], ...]:
    """Read what a hold claims, each with the number of its line."""
    return tuple(
        (line["number"], Target(line["section_id"], seat))
        for line in hold["lines"]
        for seat in line.get("seats") or ("",)
    )
