"""What capacity asks events and pricing, answered over real mutual TLS from what a test says there is.

The services themselves are the concern of the end-to-end tests; here capacity's side of their contracts is.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from holdfast.api.common.v1 import error_reason_pb2
from holdfast.api.events.v1 import event_pb2, event_service_pb2, organization_pb2, organization_service_pb2
from holdfast.api.pricing.v1 import locked_price_pb2, price_tier_pb2, price_tier_service_pb2, quote_service_pb2
from holdfast.common.errors import DomainError, Reason
from holdfast.common.mesh_identity import MeshIdentity
from holdfast.common.metrics import Metrics
from holdfast.common.money import Money
from holdfast.common.protobuf import to_money, to_timestamp
from holdfast.common.rpc_server import RpcServer

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.common.rpc_server import Call
    from holdfast.common.settings import MeshSettings

LOCK_SECONDS = 30


@dataclass
class Tier:
    """A price tier of the stand-in: a price a ticket, a fee a line, limits; `earlier` are former versions' prices."""

    unit_minor: int = 1000
    fee_minor: int = 0
    currency_code: str = "USD"
    version: int = 1
    section_id: str = ""
    max_per_order: int = 0
    max_per_customer: int = 0
    sales_start_time: datetime | None = None
    sales_end_time: datetime | None = None
    lock_seconds: float = LOCK_SECONDS
    event_id: str = ""
    visible: bool = True
    earlier: dict[int, int] = field(default_factory=dict)

    def reprice(self, unit_minor: int) -> None:
        """Give the tier another price, in a new version."""
        self.earlier[self.version] = self.unit_minor
        self.version += 1
        self.unit_minor = unit_minor


def _opened() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class World:
    """Controls by event, tiers by id, the organizations' currency; and what was asked on whose behalf."""

    controls: dict[str, event_pb2.EventControls] = field(default_factory=dict)
    currency_code: str = "USD"
    tiers: dict[str, Tier] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    locked: list[quote_service_pb2.LockPriceLine] = field(default_factory=list)
    price_calls: list[list[quote_service_pb2.LockPriceLine]] = field(default_factory=list)
    prices_open: asyncio.Event = field(default_factory=_opened)
    """While it is not set, LockPrices arrives and is not answered."""

    async def get_event_controls(
        self, request: event_service_pb2.GetEventControlsRequest, call: Call
    ) -> event_service_pb2.GetEventControlsResponse:
        self.asked.append(("GetEventControls", call.principal.subject))
        found = self.controls.get(request.event_id)
        if found is None or found.organization_id != call.organization_id:
            raise DomainError(Reason.EVENT_NOT_FOUND, "there is no such event", metadata={"event_id": request.event_id})
        return event_service_pb2.GetEventControlsResponse(controls=found)

    async def list_price_tiers(
        self, request: price_tier_service_pb2.ListPriceTiersRequest, call: Call
    ) -> price_tier_service_pb2.ListPriceTiersResponse:
        self.asked.append(("ListPriceTiers", call.principal.subject))
        return price_tier_service_pb2.ListPriceTiersResponse(
            price_tiers=[
                price_tier_pb2.PriceTier(id=tier_id, section_id=tier.section_id or None, visible=tier.visible)
                for tier_id, tier in self.tiers.items()
                if tier.event_id == request.event_id
            ]
        )

    async def get_organization(
        self, request: organization_service_pb2.GetOrganizationRequest, call: Call
    ) -> organization_service_pb2.GetOrganizationResponse:
        self.asked.append(("GetOrganization", call.principal.subject))
        settings = organization_pb2.OrganizationSettings(currency_code=self.currency_code)
        return organization_service_pb2.GetOrganizationResponse(
            organization=organization_pb2.Organization(id=request.organization_id, settings=settings)
        )

    async def lock_prices(
        self, request: quote_service_pb2.LockPricesRequest, call: Call
    ) -> quote_service_pb2.LockPricesResponse:
        self.asked.append(("LockPrices", call.principal.subject))
        self.locked.extend(request.lines)
        self.price_calls.append(list(request.lines))
        await self.prices_open.wait()
        return quote_service_pb2.LockPricesResponse(outcomes=[self._outcome(line) for line in request.lines])

    def _outcome(self, line: quote_service_pb2.LockPriceLine) -> quote_service_pb2.LockPriceOutcome:
        tier = self.tiers.get(line.price_tier_id)
        if tier is None:
            return _refusal("PRICE_TIER_NOT_FOUND", {"price_tier_id": line.price_tier_id})
        if tier.section_id not in ("", line.section_id):
            return _refusal(
                "PRICE_TIER_NOT_APPLICABLE", {"price_tier_id": line.price_tier_id, "section_id": line.section_id}
            )
        version, unit_minor, lock_time = tier.version, tier.unit_minor, to_timestamp(datetime.now(UTC))
        if line.HasField("price_tier_version"):
            version, lock_time = line.price_tier_version, line.price_lock_time
            unit_minor = tier.earlier.get(version, unit_minor)
        total = Money(unit_minor * line.quantity + tier.fee_minor, tier.currency_code)
        lock = quote_service_pb2.PriceLock(
            price=locked_price_pb2.LockedPrice(
                price_tier_id=line.price_tier_id,
                price_tier_version=version,
                lock_time=lock_time,
                breakdown=locked_price_pb2.PriceBreakdown(
                    unit_price=to_money(Money(unit_minor, tier.currency_code)), total=to_money(total)
                ),
            ),
            expire_time=to_timestamp(datetime.now(UTC) + timedelta(seconds=tier.lock_seconds)),
            max_per_order=tier.max_per_order,
            max_per_customer=tier.max_per_customer,
        )
        if tier.sales_start_time is not None:
            lock.sales_start_time.CopyFrom(to_timestamp(tier.sales_start_time))
        if tier.sales_end_time is not None:
            lock.sales_end_time.CopyFrom(to_timestamp(tier.sales_end_time))
        return quote_service_pb2.LockPriceOutcome(lock=lock)


def _refusal(reason: str, metadata: dict[str, str]) -> quote_service_pb2.LockPriceOutcome:
    return quote_service_pb2.LockPriceOutcome(
        refusal=quote_service_pb2.PriceRefusal(reason=error_reason_pb2.Error.Reason.Value(reason), metadata=metadata)
    )


def servers(world: World, *, identity_dir: Path, mesh: MeshSettings) -> tuple[RpcServer, RpcServer]:
    """Make events and pricing."""
    events, pricing = (
        RpcServer(
            service=name,
            listen="127.0.0.1:0",
            identity=MeshIdentity.load(identity_dir, name),
            mesh=mesh,
            metrics=Metrics(name),
            notice_seconds=0,
            drain_seconds=1,
        )
        for name in ("events", "pricing")
    )
    events.add(event_service_pb2.DESCRIPTOR.services_by_name["EventService"], world)
    events.add(organization_service_pb2.DESCRIPTOR.services_by_name["OrganizationService"], world)
    pricing.add(quote_service_pb2.DESCRIPTOR.services_by_name["QuoteService"], world)
    pricing.add(price_tier_service_pb2.DESCRIPTOR.services_by_name["PriceTierService"], world)
    return events, pricing
