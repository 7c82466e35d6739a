"""PriceTierService, the prices of seatings: translate, call, translate."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from holdfast.api.pricing.v1 import price_tier_service_pb2 as pb
from holdfast.common.idempotency import RequestKey
from holdfast.pricing import convert
from holdfast.pricing.domain.terms import create_terms
from holdfast.pricing.operations import seating_prices as operations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.common.database import Database
    from holdfast.common.rpc_server import Call


class SeatingPriceServicer:
    """The price tiers of sections that capacity makes. The principal is whoever asked capacity for them."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def add_seating_prices(self, request: pb.AddSeatingPricesRequest, call: Call) -> pb.AddSeatingPricesResponse:
        """Make the tiers of a seating."""
        terms_of = {
            price.price_tier_id.lower(): create_terms(convert.seating_change(price, request.schedule_id))
            for price in request.prices
        }
        replayed = await self._database.run(
            lambda transaction: operations.add_seating_prices(
                transaction,
                event_id=request.event_id.lower(),
                terms_of=terms_of,
                actor=call.principal.subject,
                key=_key(request.request_id, list(terms_of), call),
            ),
            organization_id=call.organization_id,
            deadline=call.deadline,
        )
        if replayed:
            call.mark_replayed()
        return pb.AddSeatingPricesResponse()

    async def withdraw_seating_prices(
        self, request: pb.WithdrawSeatingPricesRequest, call: Call
    ) -> pb.WithdrawSeatingPricesResponse:
        """Take the tiers of a seating back."""
        price_tier_ids = [each.lower() for each in request.price_tier_ids]
        await self._database.run(
            lambda transaction: operations.withdraw_seating_prices(
                transaction,
                price_tier_ids,
                actor=call.principal.subject,
                key=_key(request.request_id, price_tier_ids, call),
            ),
            organization_id=call.organization_id,
            deadline=call.deadline,
        )
        return pb.WithdrawSeatingPricesResponse()


def _key(request_id: str, price_tier_ids: Sequence[str], call: Call) -> RequestKey:
    """Give the key that both RPCs of a seating share, so that each finds what the other did."""
    return RequestKey(
        caller=call.principal.subject,
        rpc="AddSeatingPrices",
        request_id=request_id,
        fingerprint=hashlib.sha256(",".join(price_tier_ids).encode()).digest(),
    )
