"""What capacity asks of other services, always before a transaction and never inside one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.api.events.v1 import event_service_pb2, event_service_pb2_grpc
from holdfast.api.pricing.v1 import (
    price_tier_service_pb2,
    price_tier_service_pb2_grpc,
    quote_service_pb2,
    quote_service_pb2_grpc,
)
from holdfast.capacity.prices import Prices
from holdfast.common.mesh_identity import service_principal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.api.events.v1 import event_pb2
    from holdfast.api.pricing.v1 import price_tier_pb2
    from holdfast.capacity.domain.placing import PriceLock
    from holdfast.common.rpc_client import Peer

DEADLINE_SECONDS: Final = 2.0


class Outside:
    """The other services as capacity uses them."""

    def __init__(self, *, events: Peer, pricing: Peer) -> None:
        self._events = events
        self._pricing = pricing
        self._event_service = event_service_pb2_grpc.EventServiceStub(events.channel)
        self._price_tier_service = price_tier_service_pb2_grpc.PriceTierServiceStub(pricing.channel)
        self._quote_service = quote_service_pb2_grpc.QuoteServiceStub(pricing.channel)
        self.prices = Prices(self._lock_prices)

    async def event_controls(self, organization_id: str, event_id: str) -> event_pb2.EventControls:
        """Read an event's controls; EVENT_NOT_FOUND, DEPENDENCY_UNAVAILABLE."""
        response = await self._events.call(
            self._event_service.GetEventControls,
            event_service_pb2.GetEventControlsRequest(event_id=event_id),
            principal=service_principal("capacity", organization_id),
            deadline_seconds=DEADLINE_SECONDS,
        )
        return response.controls

    async def price_tiers(
        self, organization_id: str, event_id: str, *, limit: int, deadline_seconds: float
    ) -> list[price_tier_pb2.PriceTier]:
        """Read an event's active price tiers, so many of them at most, by `display_order`. DEPENDENCY_UNAVAILABLE."""
        response = await self._pricing.call(
            self._price_tier_service.ListPriceTiers,
            price_tier_service_pb2.ListPriceTiersRequest(event_id=event_id, only_active=True, page_size=limit),
            principal=service_principal("capacity", organization_id),
            deadline_seconds=deadline_seconds,
        )
        return list(response.price_tiers)

    async def lock_prices(
        self, organization_id: str, lines: Sequence[quote_service_pb2.LockPriceLine]
    ) -> list[PriceLock]:
        """Lock the prices of lines, in their order, together with what others ask. Raises as `Prices.lock`."""
        return await self.prices.lock(organization_id, lines)

    async def _lock_prices(self, request: quote_service_pb2.LockPricesRequest) -> quote_service_pb2.LockPricesResponse:
        return await self._pricing.call(
            self._quote_service.LockPrices,
            request,
            principal=service_principal("capacity", ""),  # each line says whose it is
            deadline_seconds=DEADLINE_SECONDS,
        )
