"""Calls that change holds ⇄ BatchMutateHolds: what waits becomes a batch, its outcomes end the waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.api.capacity.v1 import hold_service_pb2 as pb
from holdfast.api.common.v1 import error_reason_pb2
from holdfast.common.errors import DomainError, FieldViolation, Reason
from holdfast.common.rpc_method import snake_case

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from holdfast.common.mesh_identity import Principal

SERVICE: Final = "holdfast.api.capacity.v1.HoldService"
BATCH: Final = f"{SERVICE}/BatchMutateHolds"
_MUTATIONS: Final = pb.BatchMutateHoldsItem.DESCRIPTOR.oneofs_by_name["mutation"]
CARRIED: Final = {
    f"{SERVICE}/{method.name}": snake_case(method.name)
    for method in pb.DESCRIPTOR.services_by_name["HoldService"].methods
    if snake_case(method.name) in {field.name for field in _MUTATIONS.fields}
}
"""The RPCs whose calls travel in batches, each with the name of its mutation there."""
MARGIN_SECONDS: Final = 0.01
"""How much less time an item has than its caller waits, so that the answer which says so still arrives."""
_MILLISECONDS_MAX: Final = 60_000
_REASONS: Final = {
    value.number: Reason(value.name)
    for value in error_reason_pb2.Error.Reason.DESCRIPTOR.values
    if value.name in Reason.__members__
}


class WaitingCall:
    """One call of a mutation, until its outcome is there. `deadline` is on the event loop's clock.

    `key` is what its replica is chosen by; `gone` tells whether its client has closed the connection.
    """

    __slots__ = (
        "deadline",
        "future",
        "gone",
        "key",
        "moves",
        "mutation",
        "principal",
        "repeated",
        "request",
        "traceparent",
    )

    def __init__(  # noqa: PLR0913 - what an item of a batch is made of
        self,
        mutation: str,
        request: Any,
        *,
        principal: Principal,
        deadline: float,
        traceparent: str,
        key: str,
        gone: Callable[[], bool],
        future: asyncio.Future[tuple[Any, bool]],
    ) -> None:
        self.mutation = mutation
        self.request = request
        self.principal = principal
        self.deadline = deadline
        self.traceparent = traceparent
        self.key = key
        self.gone = gone
        self.future = future
        self.repeated = False
        self.moves = 0

    @property
    def done(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.future.done()

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent once more though its outcome is not known: its key makes both the same one."""
        return bool(self.request.request_id) and not self.repeated and not self.done

    @property
    def priced(self) -> bool:
        """Whether prices have to be asked for it."""
        if self.mutation != "place_hold":
            return False
        request = self.request
        if request.price_tier_id or request.quote_id or request.coupon_code:
            return True
        return bool(request.lines) and any(line.price_tier_id for line in request.lines)

    def settle(self, outcome: pb.HoldOutcome, *, unexplained: Callable[[], DomainError]) -> None:
        """End with what became of it; a refusal for a reason that this version does not know is unexplained."""
        if self.future.done():
            return
        if outcome.WhichOneof("outcome") == self.mutation:
            self.future.set_result((getattr(outcome, self.mutation), outcome.replayed))
        else:
            self.future.set_exception(_error_of(outcome.refusal) or unexplained())

    def fail(self, error: Exception) -> None:
        """End without an outcome."""
        if not self.future.done():
            self.future.set_exception(error)


def batch_request(items: Sequence[WaitingCall], *, now: float) -> pb.BatchMutateHoldsRequest:
    """Make a batch of what waits."""
    request = pb.BatchMutateHoldsRequest()
    add = request.items.add
    for item in items:
        remaining = item.deadline - now
        milliseconds = int((remaining - min(MARGIN_SECONDS, remaining * 0.1)) * 1000)
        entry = add(timeout_milliseconds=min(_MILLISECONDS_MAX, max(1, milliseconds)), traceparent=item.traceparent)
        entry.principal.ParseFromString(item.principal.to_metadata()[1])
        getattr(entry, item.mutation).CopyFrom(item.request)
    return request


def _error_of(refusal: pb.HoldRefusal) -> DomainError | None:
    reason = _REASONS.get(refusal.reason)
    if reason is None:
        return None
    has_retry = refusal.HasField("retry_after_milliseconds")
    return DomainError(
        reason,
        refusal.message,
        metadata=refusal.metadata,
        violations=[FieldViolation(field=each.field, message=each.message) for each in refusal.violations],
        retry_after_seconds=refusal.retry_after_milliseconds / 1000 if has_retry else None,
    )
