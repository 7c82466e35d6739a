"""HoldService, what becomes of holds: translate, call, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.api.capacity.v1 import hold_service_pb2 as pb
from holdfast.capacity import convert
from holdfast.capacity.domain.deadlines import PAYMENT_TTL_SECONDS_DEFAULT, Payment
from holdfast.capacity.domain.ending import Confirmation
from holdfast.capacity.operations.deadlines import BeginPayment, ExtendHold
from holdfast.capacity.operations.ending import ConfirmHold, ReleaseHold
from holdfast.capacity.operations.sales import returns_of
from holdfast.capacity.rpc.mutations import Mutation
from holdfast.common import ids
from holdfast.common.protobuf import from_money, to_timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.capacity.domain.sales import SaleReturn
    from holdfast.capacity.operations.holds import Outcome
    from holdfast.capacity.rpc.events_of import EventsOf
    from holdfast.capacity.rpc.front import Front
    from holdfast.common.money import Money
    from holdfast.common.rpc_call import Call


class LifecycleServicer:
    """Extending holds, beginning to pay for them, confirming and releasing them."""

    def __init__(self, front: Front, events: EventsOf) -> None:
        self._front = front
        self._events = events
        self.extend_hold: Mutation[pb.ExtendHoldRequest, pb.ExtendHoldResponse] = Mutation(
            front, events, command=self._extend, response=_extended, count=front.metrics.holds_extended_total
        )
        self.begin_payment: Mutation[pb.BeginPaymentRequest, pb.BeginPaymentResponse] = Mutation(
            front, events, command=self._begin, response=_begun, count=front.metrics.payments_begun_total
        )
        self.confirm_hold: Mutation[pb.ConfirmHoldRequest, pb.ConfirmHoldResponse] = Mutation(
            front,
            events,
            command=self._confirm,
            response=self._confirmed,
            more=self._confirmed_and_returned,
            count=front.metrics.holds_confirmed_total,
        )
        self.release_hold: Mutation[pb.ReleaseHoldRequest, pb.ReleaseHoldResponse] = Mutation(
            front, events, command=self._release, response=_released, count=front.metrics.holds_released_total
        )

    def _extend(self, request: pb.ExtendHoldRequest, call: Call) -> ExtendHold:
        return ExtendHold(
            request.hold_id,
            request.hold_ttl_seconds,
            request.etag,
            self._front.viewer(call),
            self._front.key(call, request, "ExtendHold"),
        )

    def _begin(self, request: pb.BeginPaymentRequest, call: Call) -> BeginPayment:
        given = request.HasField("payment_ttl_seconds")
        wanted = Payment(
            payment_ttl_seconds=request.payment_ttl_seconds if given else PAYMENT_TTL_SECONDS_DEFAULT,
            expected_total=_expected_total(request),
            order_reference=request.order_reference,
            etag=request.etag,
        )
        key = self._front.key(call, request, "BeginPayment")
        return BeginPayment(request.hold_id, wanted, self._front.viewer(call), key)

    def _confirm(self, request: pb.ConfirmHoldRequest, call: Call) -> ConfirmHold:
        wanted = Confirmation(
            sale_id=ids.new_id(),
            expected_total=_expected_total(request),
            order_reference=request.order_reference,
            etag=request.etag,
            replacement_id=ids.new_id() if request.reacquire else "",
        )
        key = call.request_key(request, "ConfirmHold")
        return ConfirmHold(request.hold_id, wanted, self._front.viewer(call), key)

    def _confirmed(self, outcome: Outcome, call: Call) -> pb.ConfirmHoldResponse | None:
        """Answer with the sale of a hold; not one that was made before and of which something came back since."""
        if outcome.sale is not None and outcome.sale.returned:
            return None
        return self._confirmation(outcome, call, returns=())

    async def _confirmed_and_returned(self, outcome: Outcome, call: Call) -> pb.ConfirmHoldResponse:
        """Answer with a sale and what came back of it."""
        sale = outcome.sale
        returns = () if sale is None else await self._front.run(call, lambda transaction: returns_of(transaction, sale))
        return self._confirmation(outcome, call, returns=returns)

    def _confirmation(self, outcome: Outcome, call: Call, *, returns: Sequence[SaleReturn]) -> pb.ConfirmHoldResponse:
        organization_id, hold, sale = call.organization_id, outcome.hold, outcome.sale
        self._events.know_hold(organization_id, hold.hold_id, hold.event_id)
        return pb.ConfirmHoldResponse(
            hold=convert.hold_message(hold, organization_id),
            sale=None if sale is None else convert.sale_message(sale, organization_id, returns=returns),
            inventory_version=outcome.version,
            server_time=to_timestamp(outcome.at),
        )

    def _release(self, request: pb.ReleaseHoldRequest, call: Call) -> ReleaseHold:
        key = self._front.key(call, request, "ReleaseHold")
        return ReleaseHold(request.hold_id, request.etag, self._front.viewer(call), key)


def _extended(outcome: Outcome, call: Call) -> pb.ExtendHoldResponse:
    return pb.ExtendHoldResponse(
        hold=convert.hold_message(outcome.hold, call.organization_id),
        inventory_version=outcome.version,
        server_time=to_timestamp(outcome.at),
    )


def _begun(outcome: Outcome, call: Call) -> pb.BeginPaymentResponse:
    return pb.BeginPaymentResponse(
        hold=convert.hold_message(outcome.hold, call.organization_id),
        inventory_version=outcome.version,
        server_time=to_timestamp(outcome.at),
    )


def _released(outcome: Outcome, call: Call) -> pb.ReleaseHoldResponse:
    return pb.ReleaseHoldResponse(
        hold=convert.hold_message(outcome.hold, call.organization_id),
        inventory_version=outcome.version,
        server_time=to_timestamp(outcome.at),
    )


def _expected_total(request: pb.ConfirmHoldRequest | pb.BeginPaymentRequest) -> Money | None:
    return from_money(request.expected_total, field="expected_total") if request.HasField("expected_total") else None
