"""Batches of calls that change holds, as the gateway sends them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from holdfast.api.capacity.v1 import hold_service_pb2 as pb
from holdfast.api.capacity.v1 import hold_service_pb2_grpc
from holdfast.api.common.v1 import error_reason_pb2, principal_pb2
from holdfast.common.errors import DomainError, FieldViolation, Reason
from holdfast.common.mesh_identity import service_principal
from tests.integration.capacity.conftest import DEADLINE_SECONDS

if TYPE_CHECKING:
    from tests.integration.capacity.conftest import Capacity

REQUESTS: dict[str, Any] = {
    "place_hold": pb.PlaceHoldRequest,
    "confirm_hold": pb.ConfirmHoldRequest,
    "release_hold": pb.ReleaseHoldRequest,
    "extend_hold": pb.ExtendHoldRequest,
    "begin_payment": pb.BeginPaymentRequest,
}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def item(  # noqa: PLR0913 (what an item is made of)
    capacity: Capacity,
    *,
    role: str = "buyer",
    subject: str = "user:buyer",
    organization_id: str | None = None,
    timeout_milliseconds: int = 10_000,
    mutation: str = "place_hold",
    **fields: Any,
) -> pb.BatchMutateHoldsItem:
    """An item whose request has the fields given as JSON."""
    organization_id = capacity.organization_id if organization_id is None else organization_id
    asked: dict[str, Any] = {mutation: json_format.ParseDict(fields, REQUESTS[mutation]())}
    return pb.BatchMutateHoldsItem(
        principal=principal_pb2.Principal(subject=subject, organization_id=organization_id, roles=[role]),
        **asked,
        timeout_milliseconds=timeout_milliseconds,
        traceparent=TRACE,
    )


def opened(
    capacity: Capacity,
    items: list[pb.BatchMutateHoldsItem],
    *,
    peer: str = "gateway",
    seconds: float = DEADLINE_SECONDS,
) -> Any:
    stub: Any = hold_service_pb2_grpc.HoldServiceStub(capacity.peers[peer].channel)
    metadata = (service_principal(peer, "").to_metadata(),)
    return stub.BatchMutateHolds(pb.BatchMutateHoldsRequest(items=items), metadata=metadata, timeout=seconds)


async def batch(capacity: Capacity, *items: pb.BatchMutateHoldsItem) -> list[pb.HoldOutcome]:
    """Send a batch; gives the outcomes in the items' order, of each exactly one."""
    outcomes = [outcome async for answer in opened(capacity, list(items)) for outcome in answer.outcomes]
    assert sorted(outcome.index for outcome in outcomes) == list(range(len(items)))
    return sorted(outcomes, key=lambda outcome: outcome.index)


def error_in(outcome: pb.HoldOutcome) -> DomainError:
    """The refusal of an item as the error that a call would have raised."""
    assert outcome.WhichOneof("outcome") == "refusal", outcome
    refusal = outcome.refusal
    return DomainError(
        Reason(error_reason_pb2.Error.Reason.Name(refusal.reason)),
        refusal.message,
        metadata=refusal.metadata,
        violations=[FieldViolation(each.field, each.message) for each in refusal.violations],
        retry_after_seconds=(
            refusal.retry_after_milliseconds / 1000 if refusal.HasField("retry_after_milliseconds") else None
        ),
    )


def told(error: DomainError) -> tuple[Any, ...]:
    """All that a caller learns of a refusal."""
    return (error.reason, error.message, dict(error.metadata), error.violations, error.retry_after_seconds)
