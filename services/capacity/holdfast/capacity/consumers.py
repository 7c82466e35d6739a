"""NATS message → operation: what events says of its events. The newest version wins: order and gaps do not matter."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from google.protobuf.message import DecodeError

from holdfast.api.events.v1 import messages_pb2
from holdfast.capacity.operations.controls import TakeOverControls
from holdfast.common import ids
from holdfast.common.errors import DomainError, Reason
from holdfast.common.message import IncomingMessage, PoisonMessage
from holdfast.common.messaging import Consumer

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.api.events.v1 import event_pb2
    from holdfast.capacity.engine.batches import Engine

STREAM: Final = "EVENTS"
NAME: Final = "capacity-controls"
DEADLINE_SECONDS: Final = 10.0


class _WithControls(Protocol):
    @property
    def controls(self) -> event_pb2.EventControls: ...


_PARSERS: Final[dict[str, Callable[[bytes], _WithControls]]] = {
    "event_created": messages_pb2.EventCreated.FromString,
    "event_updated": messages_pb2.EventUpdated.FromString,
    "event_published": messages_pb2.EventPublished.FromString,
    "event_state_changed": messages_pb2.EventStateChanged.FromString,
    "event_cancelled": messages_pb2.EventCancelled.FromString,
    "event_rescheduled": messages_pb2.EventRescheduled.FromString,
    "event_deleted": messages_pb2.EventDeleted.FromString,
}


class ControlsConsumer:
    """Takes over events' controls. Repeated, late and shuffled messages change nothing, by the controls' version."""

    def __init__(self, *, engine: Engine, wake: Callable[[], None]) -> None:
        self._engine = engine
        self._wake = wake

    def consumer(self) -> Consumer:
        """Describe the durable consumer."""
        subjects = tuple(f"events.*.*.{name}" for name in _PARSERS)
        return Consumer(name=NAME, stream=STREAM, subjects=subjects, handler=self.handle)

    async def handle(self, incoming: IncomingMessage) -> None:
        """Take over a message's controls."""
        parse = _PARSERS.get(incoming.type)
        if parse is None:
            raise PoisonMessage("the type is not one of an event")
        try:
            message = parse(incoming.body).controls
        except DecodeError:
            raise PoisonMessage("the body is not a message of its type") from None
        if message.organization_id != incoming.organization_id or message.event_id != incoming.event_id:
            raise PoisonMessage("the body is of another organization or event than the subject")
        deadline = asyncio.get_running_loop().time() + DEADLINE_SECONDS
        try:
            command = TakeOverControls(message, section_id=ids.new_id())
            applied = await self._engine.submit(incoming.organization_id, message.event_id, command, deadline=deadline)
        except DomainError as error:
            if error.reason is Reason.VALIDATION_FAILED:
                raise PoisonMessage(str(error)) from error
            raise
        if applied.unfinished:
            self._wake()
