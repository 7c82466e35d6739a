"""What a handler knows about the call that it answers."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.common.protobuf import fingerprint

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from holdfast.common.idempotency import RequestKey
    from holdfast.common.mesh_identity import Principal


@dataclass(slots=True)
class Call:
    """One call. `deadline` is on the event loop's clock; `peer` the mesh name in the caller's certificate."""

    principal: Principal
    peer: str | None
    deadline: float
    replayed: bool = field(default=False, init=False)

    @property
    def organization_id(self) -> str:
        """The organization whose data the call may touch; empty only for platform administrators."""
        return self.principal.organization_id

    def remaining(self) -> float:
        """Give the seconds until the deadline, 0 when it is over."""
        return max(0.0, self.deadline - asyncio.get_running_loop().time())

    def mark_replayed(self) -> None:
        """Tell the caller that this answers a request which had its effect before."""
        self.replayed = True

    def request_key(self, request: Message, rpc: str) -> RequestKey | None:
        """Give what makes a repetition of this request recognizable; None when it has no request_id."""
        request_id: str = getattr(request, "request_id", "")
        if not request_id:
            return None
        # Imported here: the gateway has calls, but no database.
        from holdfast.common.idempotency import RequestKey  # noqa: PLC0415 - see above

        return RequestKey(
            caller=self.principal.subject, rpc=rpc, request_id=request_id, fingerprint=fingerprint(request)
        )


current_call: ContextVar[Call | None] = ContextVar("holdfast_call", default=None)
"""The call being answered. Calls to other services take what is left of its deadline."""
