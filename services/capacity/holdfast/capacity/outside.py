"""What capacity asks of other services, always before a transaction and never inside one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.api.events.v1 import (
    event_service_pb2,
    event_service_pb2_grpc,
    organization_service_pb2,
    organization_service_pb2_grpc,
)
from holdfast.api.pricing.v1 import (
    price_tier_service_pb2,
    price_tier_service_pb2_grpc,
    quote_service_pb2,
    quote_service_pb2_grpc,
)
from holdfast.capacity.prices import Prices
from holdfast.common.mesh_identity import SERVICE_ROLE, Principal, service_principal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.api.events.v1 import event_pb2
    from holdfast.api.pricing.v1 import price_tier_pb2
    from holdfast.capacity.domain.placing import PriceLock
    from holdfast.capacity.domain.seating_sagas import SeatingSaga
    from holdfast.common.rpc_client import Peer

DEADLINE_SECONDS: Final = 2.0
SEATING_SECONDS: Final = 4.0
"""For the price tiers of a seating: up to 500 in one commit."""


class Outside:
    """The other services as capacity uses them."""

    def __init__(self, *, events: Peer, pricing: Peer) -> None:
        self._events = events
        self._pricing = pricing
        self._event_service = event_service_pb2_grpc.EventServiceStub(events.channel)
        self._organization_service = organization_service_pb2_grpc.OrganizationServiceStub(events.channel)
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

    async def currency_of(self, organization_id: str) -> str:
        """Read the currency of an organization; ORGANIZATION_NOT_FOUND, DEPENDENCY_UNAVAILABLE."""
        response = await self._events.call(
            self._organization_service.GetOrganization,
            organization_service_pb2.GetOrganizationRequest(organization_id=organization_id),
            principal=service_principal("capacity", organization_id),
            deadline_seconds=DEADLINE_SECONDS,
        )
        return response.organization.settings.currency_code

    async def add_seating_prices(
        self, saga: SeatingSaga, prices: Sequence[price_tier_service_pb2.SeatingPrice]
    ) -> None:
        """Have the price tiers of a seating made, all or none. Raises as the contract says."""
        await self._pricing.call(
            self._price_tier_service.AddSeatingPrices,
            price_tier_service_pb2.AddSeatingPricesRequest(
                event_id=saga.event_id, schedule_id=saga.schedule_id or "", prices=prices, request_id=saga.saga_id
            ),
            principal=_asker(saga),
            deadline_seconds=SEATING_SECONDS,
        )

    async def withdraw_seating_prices(self, saga: SeatingSaga) -> None:
        """Have the price tiers of a seating deleted, and let none be made any more. Raises as the contract says."""
        await self._pricing.call(
            self._price_tier_service.WithdrawSeatingPrices,
            price_tier_service_pb2.WithdrawSeatingPricesRequest(
                price_tier_ids=saga.price_tier_ids, request_id=saga.saga_id
            ),
            principal=_asker(saga),
            deadline_seconds=SEATING_SECONDS,
        )


def _asker(saga: SeatingSaga) -> Principal:
    """Give whoever asked for a seating: the history of its price tiers names them."""
    return Principal(saga.caller, saga.organization_id, frozenset({SERVICE_ROLE}))
