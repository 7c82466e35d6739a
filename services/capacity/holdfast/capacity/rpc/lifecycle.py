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
from holdfast.common import ids
from holdfast.common.protobuf import from_money, to_timestamp

if TYPE_CHECKING:
    from prometheus_client import Counter

    from holdfast.api.capacity.v1 import hold_pb2
    from holdfast.capacity.domain.sales import SaleReturn
    from holdfast.capacity.engine.unit import Command
    from holdfast.capacity.operations.holds import Outcome
    from holdfast.capacity.rpc.events_of import EventsOf
    from holdfast.capacity.rpc.front import Front
    from holdfast.common.money import Money
    from holdfast.common.rpc_call import Call

    Request = pb.ConfirmHoldRequest | pb.ReleaseHoldRequest | pb.ExtendHoldRequest | pb.BeginPaymentRequest


class LifecycleServicer:
    """Extending holds, beginning to pay for them, confirming and releasing them."""

    def __init__(self, front: Front, events: EventsOf) -> None:
        self._front = front
        self._events = events

    async def extend_hold(self, request: pb.ExtendHoldRequest, call: Call) -> pb.ExtendHoldResponse:
        """Let a hold last longer."""
        command = ExtendHold(
            request.hold_id,
            request.hold_ttl_seconds,
            request.etag,
            self._front.viewer(call),
            self._front.key(call, request, "ExtendHold"),
        )
        outcome = await self._decide(call, request, command, self._front.metrics.holds_extended_total)
        return pb.ExtendHoldResponse(
            hold=convert.hold_message(outcome.hold, call.organization_id),
            inventory_version=outcome.version,
            server_time=to_timestamp(outcome.at),
        )

    async def begin_payment(self, request: pb.BeginPaymentRequest, call: Call) -> pb.BeginPaymentResponse:
        """Let a hold wait for its payment."""
        given = request.HasField("payment_ttl_seconds")
        wanted = Payment(
            payment_ttl_seconds=request.payment_ttl_seconds if given else PAYMENT_TTL_SECONDS_DEFAULT,
            expected_total=_expected_total(request),
            order_reference=request.order_reference,
            etag=request.etag,
        )
        command = BeginPayment(
            request.hold_id, wanted, self._front.viewer(call), self._front.key(call, request, "BeginPayment")
        )
        outcome = await self._decide(call, request, command, self._front.metrics.payments_begun_total)
        return pb.BeginPaymentResponse(
            hold=convert.hold_message(outcome.hold, call.organization_id),
            inventory_version=outcome.version,
            server_time=to_timestamp(outcome.at),
        )

    async def confirm_hold(self, request: pb.ConfirmHoldRequest, call: Call) -> pb.ConfirmHoldResponse:
        """Sell a hold's places."""
        wanted = Confirmation(
            sale_id=ids.new_id(),
            expected_total=_expected_total(request),
            order_reference=request.order_reference,
            etag=request.etag,
            replacement_id=ids.new_id() if request.reacquire else "",
        )
        command = ConfirmHold(
            request.hold_id, wanted, self._front.viewer(call), call.request_key(request, "ConfirmHold")
        )
        outcome = await self._decide(call, request, command, self._front.metrics.holds_confirmed_total)
        self._events.know_hold(call.organization_id, outcome.hold.hold_id, outcome.hold.event_id)
        return pb.ConfirmHoldResponse(
            hold=convert.hold_message(outcome.hold, call.organization_id),
            sale=await self._sale(call, outcome),
            inventory_version=outcome.version,
            server_time=to_timestamp(outcome.at),
        )

    async def _sale(self, call: Call, outcome: Outcome) -> hold_pb2.Sale | None:
        """Give the sale of a hold; of one that was confirmed before, with what came back of it since."""
        sale = outcome.sale
        if sale is None:
            return None
        returns: tuple[SaleReturn, ...] = ()
        if sale.returned:
            returns = await self._front.run(call, lambda transaction: returns_of(transaction, sale))
        return convert.sale_message(sale, call.organization_id, returns=returns)

    async def release_hold(self, request: pb.ReleaseHoldRequest, call: Call) -> pb.ReleaseHoldResponse:
        """Give a hold's places back."""
        command = ReleaseHold(
            request.hold_id, request.etag, self._front.viewer(call), self._front.key(call, request, "ReleaseHold")
        )
        outcome = await self._decide(call, request, command, self._front.metrics.holds_released_total)
        return pb.ReleaseHoldResponse(
            hold=convert.hold_message(outcome.hold, call.organization_id),
            inventory_version=outcome.version,
            server_time=to_timestamp(outcome.at),
        )

    async def _decide(self, call: Call, request: Request, command: Command[Outcome], count: Counter) -> Outcome:
        event_id = await self._events.hold(call, request.hold_id)
        outcome = await self._front.submit(call, event_id, self._front.audited_hold(call, request, command))
        self._front.replayed(call, request, replayed=outcome.replayed)
        if outcome.done:
            count.inc()
        return outcome


def _expected_total(request: pb.ConfirmHoldRequest | pb.BeginPaymentRequest) -> Money | None:
    return from_money(request.expected_total, field="expected_total") if request.HasField("expected_total") else None
