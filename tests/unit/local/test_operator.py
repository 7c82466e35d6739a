"""The synchronous stubs behind the command line, against a testing channel."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import grpc_testing
import pytest

from holdfast.api.capacity.v1 import hold_pb2, hold_service_pb2, inventory_service_pb2
from holdfast.api.common.v1 import principal_pb2
from holdfast.local.operator import DEADLINE_SECONDS, Operator, OperatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ORGANIZATION = "019a9b1e-0000-7000-8000-000000000000"
ID = "019a9b1e-0000-7000-8000-00000000000a"
HOLDS = hold_service_pb2.DESCRIPTOR.services_by_name["HoldService"]
INVENTORY = inventory_service_pb2.DESCRIPTOR.services_by_name["InventoryService"]


@pytest.fixture
def channel() -> grpc_testing.Channel:
    return grpc_testing.channel([HOLDS, INVENTORY], grpc_testing.strict_fake_time(0))


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as executor:
        yield executor


def answered(  # noqa: PLR0913 - one call of the testing channel
    channel: grpc_testing.Channel,
    pool: ThreadPoolExecutor,
    *,
    ask: Callable[[Operator], Any],
    method: Any,
    answer: Any,
    code: grpc.StatusCode = grpc.StatusCode.OK,
    details: str = "",
) -> tuple[Any, dict[str, Any], Any]:
    """Let the operator ask in a thread, answer as the service; return (request, metadata, future of the outcome)."""
    outcome = pool.submit(ask, Operator(channel, organization_id=ORGANIZATION))
    metadata, request, rpc = channel.take_unary_unary(method)
    rpc.terminate(answer, (), code, details)
    return request, dict(metadata), outcome


def test_a_hold_is_asked_for_on_behalf_of_the_organization(
    channel: grpc_testing.Channel, pool: ThreadPoolExecutor
) -> None:
    answer = hold_service_pb2.GetHoldResponse(hold=hold_pb2.Hold(id=ID, state=hold_pb2.Hold.CONFIRMED))
    request, metadata, outcome = answered(
        channel, pool, ask=lambda operator: operator.hold(ID), method=HOLDS.methods_by_name["GetHold"], answer=answer
    )
    assert request.hold_id == ID
    principal = principal_pb2.Principal.FromString(metadata["holdfast-principal-bin"])
    assert (principal.subject, principal.organization_id) == ("service:operator", ORGANIZATION)
    assert list(principal.roles) == ["service"]
    assert outcome.result(DEADLINE_SECONDS).state == hold_pb2.Hold.CONFIRMED


def test_verification_returns_the_differences(channel: grpc_testing.Channel, pool: ThreadPoolExecutor) -> None:
    difference = inventory_service_pb2.InventoryDifference(section_id=ID, counter="held", stored=2, from_lines=1)
    answer = inventory_service_pb2.VerifyInventoryResponse(consistent=False, differences=[difference])
    request, _, outcome = answered(
        channel,
        pool,
        ask=lambda operator: operator.verify(ID.upper()),
        method=INVENTORY.methods_by_name["VerifyInventory"],
        answer=answer,
    )
    assert request.event_id == ID
    result = outcome.result(DEADLINE_SECONDS)
    assert not result.consistent
    assert result.differences[0].counter == "held"


def test_a_refusal_is_told_with_its_code_and_words(channel: grpc_testing.Channel, pool: ThreadPoolExecutor) -> None:
    _, _, outcome = answered(
        channel,
        pool,
        ask=lambda operator: operator.hold(ID),
        method=HOLDS.methods_by_name["GetHold"],
        answer=None,
        code=grpc.StatusCode.NOT_FOUND,
        details="there is no such hold",
    )
    with pytest.raises(OperatorError, match="NOT_FOUND: there is no such hold"):
        outcome.result(DEADLINE_SECONDS)


def test_what_is_not_an_id_is_refused_before_anything_is_sent(channel: grpc_testing.Channel) -> None:
    with pytest.raises(OperatorError, match="is not an id"):
        Operator(channel, organization_id=ORGANIZATION).hold("1; DROP TABLE holds")
