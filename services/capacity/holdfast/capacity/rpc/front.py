"""What all servicers do alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.api.capacity.v1 import hold_service_pb2 as pb
from holdfast.capacity.domain.audits import Author, ResourceType
from holdfast.capacity.operations.access import Viewer
from holdfast.capacity.operations.auditing import Audited
from holdfast.capacity.operations.controls import TakeOverControls
from holdfast.common import ids, telemetry
from holdfast.common.errors import DomainError, Reason
from holdfast.common.idempotency import RequestKey
from holdfast.common.protobuf import fingerprint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from google.protobuf.message import Message

    from holdfast.capacity.engine.batches import Engine
    from holdfast.capacity.engine.layouts import Layouts
    from holdfast.capacity.engine.queues import Item
    from holdfast.capacity.engine.unit import Command
    from holdfast.capacity.outside import Outside
    from holdfast.common.database import Database, Transaction
    from holdfast.common.metrics import Metrics
    from holdfast.common.pagination import PageTokens
    from holdfast.common.rpc_call import Call

T = TypeVar("T")
OfAHold = (
    pb.ExtendHoldRequest | pb.BeginPaymentRequest | pb.ConfirmHoldRequest | pb.ReleaseHoldRequest | pb.ChangeHoldRequest
)


class Front:
    """The dependencies of the servicers, and the steps that they share."""

    def __init__(  # noqa: PLR0913 (what servicers need)
        self,
        *,
        database: Database,
        engine: Engine,
        layouts: Layouts,
        outside: Outside,
        tokens: PageTokens,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._engine = engine
        self.layouts = layouts
        self.outside = outside
        self.tokens = tokens
        self.metrics = metrics

    async def run(self, call: Call, operation: Callable[[Transaction], Awaitable[T]], *, snapshot: bool = False) -> T:
        """Run an operation in a transaction of the caller's organization; all of a `snapshot` is of one moment."""
        return await self._database.run(
            operation, organization_id=call.organization_id, deadline=call.deadline, snapshot=snapshot
        )

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

    async def submit(self, call: Call, event_id: str, command: Command[T]) -> T:
        """Decide a command on an event, in a batch with others."""
        return await self._engine.submit(call.organization_id, event_id, command, deadline=call.deadline)

    def put(self, organization_id: str, event_id: str, item: Item) -> None:
        """Let a command that is waited for otherwise wait for its batch. Raises OVERLOADED."""
        self._engine.queues.put(organization_id, event_id, item)

    async def submit_knowing(self, call: Call, event_id: str, command: Command[T]) -> T:
        """Decide a command; an event that is not known here is asked of events, taken over, and tried again."""
        try:
            return await self.submit(call, event_id, command)
        except DomainError as error:
            if error.reason is not Reason.EVENT_NOT_FOUND or error.metadata.get("event_id") != event_id:
                raise
        await self.learn(call, event_id)
        return await self.submit(call, event_id, command)

    async def learn(self, call: Call, event_id: str) -> None:
        """Take over an event's controls from events; EVENT_NOT_FOUND when there is no such event."""
        message = await self.outside.event_controls(call.organization_id, event_id)
        await self.submit(call, event_id, TakeOverControls(message, section_id=ids.new_id()))

    def key(self, call: Call, request: Message, rpc: str) -> RequestKey:
        """Give the request's key, or one of its own, so that an unknown COMMIT never doubles an effect."""
        return call.request_key(request, rpc) or RequestKey(
            caller=call.principal.subject, rpc=rpc, request_id=f"once {ids.new_id()}", fingerprint=fingerprint(request)
        )

    def author(self, call: Call, request: Message, rpc: str, *, note: str = "") -> Author:
        """Give who asks for what, for the audit log."""
        return Author(
            actor=call.principal.subject,
            action=rpc,
            roles=tuple(sorted(call.principal.roles)),
            note=note,
            request_id=getattr(request, "request_id", ""),
            trace_id=telemetry.current_trace_id() or "",
        )

    def audited(
        self,
        call: Call,
        request: Message,
        command: Command[T],
        resource_type: ResourceType,
        *resource_ids: str,
        told: Mapping[str, Any] | None = None,
    ) -> Audited[T]:
        """Let a command leave entries of the audit log, in the name of the request's RPC."""
        rpc = request.DESCRIPTOR.name.removesuffix("Request")
        author = self.author(call, request, rpc, note=getattr(request, "note", ""))
        return Audited(command, author, resource_type, resource_ids, told or {})

    def audited_hold(self, call: Call, request: OfAHold, command: Command[T]) -> Command[T]:
        """Let a command on a hold leave an entry, if it may be somebody else's: of the others the hold tells whose."""
        if not call.principal.can("holds.manage"):
            return command
        return self.audited(call, request, command, ResourceType.HOLD, request.hold_id)

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
