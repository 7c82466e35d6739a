"""What all servicers do alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from holdfast.capacity.domain.inventory import TidyFirst
from holdfast.capacity.engine.lanes import Lanes
from holdfast.capacity.operations import controls
from holdfast.capacity.operations.access import Viewer
from holdfast.common import ids
from holdfast.common.errors import DomainError, Reason
from holdfast.common.idempotency import RequestKey
from holdfast.common.protobuf import fingerprint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.message import Message

    from holdfast.capacity.outside import Outside
    from holdfast.common.database import Database, Transaction
    from holdfast.common.metrics import Metrics
    from holdfast.common.pagination import PageTokens
    from holdfast.common.rpc_call import Call

T = TypeVar("T")

TIDY_MAX: Final = 200
"""Commits that tidy for one request: a request for 50,000 places may have to wait for 50,000 expired holds."""


class Front:
    """The dependencies of the servicers, and the steps that they share."""

    def __init__(self, *, database: Database, outside: Outside, tokens: PageTokens, metrics: Metrics) -> None:
        self._database = database
        self._lanes = Lanes()
        self.outside = outside
        self.tokens = tokens
        self.metrics = metrics

    async def run(self, call: Call, operation: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run an operation in a transaction of the caller's organization."""
        return await self._database.run(operation, organization_id=call.organization_id, deadline=call.deadline)

    async def run_knowing(self, call: Call, event_id: str, operation: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run an operation on an event; one that is not known here is asked of events, taken over, and tried again."""
        return await self.knowing(call, event_id, lambda: self.run(call, operation))

    async def knowing(self, call: Call, event_id: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Do something with an event; one that is not known here is asked of events, taken over, and tried again."""
        try:
            return await attempt()
        except DomainError as error:
            if error.reason is not Reason.EVENT_NOT_FOUND or error.metadata.get("event_id") != event_id:
                raise
        await self.learn(call, event_id)
        return await attempt()

    async def run_in_turn(self, call: Call, event_id: str, operation: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run an operation on an event as `run_tidying` does, after those of this process that came before."""
        async with self._lanes.of(call.organization_id, event_id):
            return await self.run_tidying(call, operation)

    async def run_tidying(self, call: Call, operation: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run an operation; when it asks for that, bring rows of its event up to date in commits of their own first."""
        for _ in range(TIDY_MAX):
            try:
                return await self.run(call, operation)
            except TidyFirst as first:
                event_id = first.event_id
            await self.tidy(call, event_id)
        raise DomainError(
            Reason.OVERLOADED,
            "too many holds of the event end at once",
            metadata={"queue": "tidying"},
            retry_after_seconds=1.0,
        )

    async def tidy(self, call: Call, event_id: str) -> None:
        """Bring rows of an event up to date, as many as one commit may."""
        _, expired = await self.run(call, lambda transaction: controls.tidy(transaction, event_id))
        self.metrics.holds_expired_total.inc(expired)

    async def learn(self, call: Call, event_id: str) -> None:
        """Take over an event's controls from events; EVENT_NOT_FOUND when there is no such event."""
        message = await self.outside.event_controls(call.organization_id, event_id)
        section_id = ids.new_id()
        await self.run(call, lambda transaction: controls.take_over(transaction, message, section_id=section_id))

    def key(self, call: Call, request: Message, rpc: str) -> RequestKey:
        """Give the request's key, or one of its own, so that an unknown COMMIT never doubles an effect."""
        return call.request_key(request, rpc) or RequestKey(
            caller=call.principal.subject, rpc=rpc, request_id=f"once {ids.new_id()}", fingerprint=fingerprint(request)
        )

    def replayed(self, call: Call, request: Message, *, replayed: bool) -> None:
        """Tell a caller who sent a key that this is a repetition, if it is."""
        if replayed and bool(getattr(request, "request_id", "")):
            call.mark_replayed()

    def sees_hidden(self, call: Call) -> bool:
        """Tell whether the caller sees sections that buyers do not."""
        return call.principal.can("events.read_private")

    def viewer(self, call: Call) -> Viewer:
        """Tell whose holds the caller may see and change."""
        return Viewer(
            subject=call.principal.subject,
            reads_all=call.principal.can("holds.read_all"),
            manages=call.principal.can("holds.manage"),
        )
