"""What this service asks of and tells capacity and pricing. Never inside a transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from holdfast.api.capacity.v1 import (
    inventory_service_pb2,
    inventory_service_pb2_grpc,
    section_service_pb2,
    section_service_pb2_grpc,
)
from holdfast.api.pricing.v1 import price_tier_service_pb2, price_tier_service_pb2_grpc
from holdfast.common.errors import DomainError, Reason
from holdfast.common.mesh_identity import service_principal
from holdfast.events.convert.events import controls_to_proto
from holdfast.events.operations.answers import Answers, Commitments, Question, Readiness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.api.capacity.v1 import messages_pb2
    from holdfast.common.rpc_client import Peer
    from holdfast.events.domain.scenes import Scene

SERVICE: Final = "events"
PUSH_SECONDS: Final = 0.5
ASK_SECONDS: Final = 1.0
FETCH_SECONDS: Final = 2.0
logger = structlog.get_logger(__name__)


class Outside:
    """Capacity and pricing, asked and told as this service itself, on one organization's data."""

    def __init__(self, *, capacity: Peer, pricing: Peer) -> None:
        self._capacity = capacity
        self._pricing = pricing
        self._inventory = inventory_service_pb2_grpc.InventoryServiceStub(capacity.channel)
        self._sections = section_service_pb2_grpc.SectionServiceStub(capacity.channel)
        self._tiers = price_tier_service_pb2_grpc.PriceTierServiceStub(pricing.channel)

    async def push_controls(self, scene: Scene) -> bool:
        """Tell capacity an event's controls, and whether it obeys them now. Never fails: the message does it, too."""
        controls = controls_to_proto(scene)
        try:
            response = await self._capacity.call(
                self._inventory.ApplyEventControls,
                inventory_service_pb2.ApplyEventControlsRequest(controls=controls),
                principal=service_principal(SERVICE, scene.event.organization_id),
                deadline_seconds=PUSH_SECONDS,
            )
        except DomainError as error:
            logger.info("controls not pushed", event_id=scene.event.id, reason=error.reason.value)
            return False
        return bool(response.controls_version >= controls.version)

    async def answer(self, question: Question, *, organization_id: str, event_id: str, known: Answers) -> Answers:
        """Ask, and add the answer to those that are known. Raises DEPENDENCY_UNAVAILABLE."""
        if question is Question.COMMITMENTS:
            return replace(known, commitments=await self._commitments(organization_id, event_id))
        return replace(known, readiness=await self._readiness(organization_id, event_id))

    async def inventory_changes(
        self, organization_id: str, event_id: str, *, after_version: int, size: int
    ) -> Sequence[messages_pb2.InventoryChanged]:
        """Read changes of an event's inventory after a version, in order. Raises DEPENDENCY_UNAVAILABLE."""
        response = await self._capacity.call(
            self._inventory.ListInventoryChanges,
            inventory_service_pb2.ListInventoryChangesRequest(
                event_id=event_id, after_version=after_version, page_size=size
            ),
            principal=service_principal(SERVICE, organization_id),
            deadline_seconds=FETCH_SECONDS,
        )
        return tuple(response.changes)

    async def _totals(self, organization_id: str, event_id: str) -> section_service_pb2.GetTotalsResponse:
        try:
            return await self._capacity.call(
                self._sections.GetTotals,
                section_service_pb2.GetTotalsRequest(event_id=event_id),
                principal=service_principal(SERVICE, organization_id),
                deadline_seconds=ASK_SECONDS,
            )
        except DomainError as error:
            if error.reason is not Reason.EVENT_NOT_FOUND:
                raise
            return section_service_pb2.GetTotalsResponse()  # capacity never heard of it, so nothing of it is sold

    async def _commitments(self, organization_id: str, event_id: str) -> Commitments:
        totals = await self._totals(organization_id, event_id)
        return Commitments(held=totals.held, pending=totals.pending, sold=totals.sold)

    async def _readiness(self, organization_id: str, event_id: str) -> Readiness:
        totals = await self._totals(organization_id, event_id)
        tiers = await self._pricing.call(
            self._tiers.ListPriceTiers,
            price_tier_service_pb2.ListPriceTiersRequest(event_id=event_id, only_active=True, page_size=1),
            principal=service_principal(SERVICE, organization_id),
            deadline_seconds=ASK_SECONDS,
        )
        return Readiness(active_sections=totals.active_section_count, active_price_tiers=len(tiers.price_tiers))
