"""What events asks capacity and pricing, answered over real mutual TLS from what a test says there is.

The services themselves are the concern of the end-to-end tests; here events' side of their contracts is.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.api.capacity.v1 import inventory_service_pb2, messages_pb2, section_service_pb2
from holdfast.api.pricing.v1 import price_tier_pb2, price_tier_service_pb2
from holdfast.common.errors import DomainError, Reason
from holdfast.common.mesh_identity import MeshIdentity
from holdfast.common.metrics import Metrics
from holdfast.common.rpc_server import RpcServer

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.api.events.v1 import event_pb2
    from holdfast.common.rpc_server import Call
    from holdfast.common.settings import MeshSettings


@dataclass
class World:
    """Sections, tiers, sales and journals by event; and the controls that capacity was told."""

    totals: dict[str, section_service_pb2.GetTotalsResponse] = field(default_factory=dict)
    tiers: dict[str, int] = field(default_factory=dict)
    journal: dict[str, list[messages_pb2.InventoryChanged]] = field(default_factory=lambda: defaultdict(list))
    controls: dict[str, list[event_pb2.EventControls]] = field(default_factory=lambda: defaultdict(list))
    fetched: list[tuple[str, int]] = field(default_factory=list)
    callers: set[str] = field(default_factory=set)

    def ready(self, event_id: str) -> None:
        """Give an event what starting sales needs."""
        self.totals[event_id] = section_service_pb2.GetTotalsResponse(total=100, active_section_count=1)
        self.tiers[event_id] = 1

    def sold(self, event_id: str, count: int) -> None:
        self.totals[event_id] = section_service_pb2.GetTotalsResponse(total=100, sold=count, active_section_count=1)

    async def get_totals(
        self, request: section_service_pb2.GetTotalsRequest, call: Call
    ) -> section_service_pb2.GetTotalsResponse:
        self.callers.add(call.principal.subject)
        if request.event_id not in self.totals:
            raise DomainError(Reason.EVENT_NOT_FOUND, "no such event", metadata={"event_id": request.event_id})
        return self.totals[request.event_id]

    async def apply_event_controls(
        self, request: inventory_service_pb2.ApplyEventControlsRequest, call: Call
    ) -> inventory_service_pb2.ApplyEventControlsResponse:
        self.callers.add(call.principal.subject)
        self.controls[request.controls.event_id].append(request.controls)
        return inventory_service_pb2.ApplyEventControlsResponse(controls_version=request.controls.version)

    async def list_inventory_changes(
        self, request: inventory_service_pb2.ListInventoryChangesRequest, call: Call
    ) -> inventory_service_pb2.ListInventoryChangesResponse:
        self.callers.add(call.principal.subject)
        self.fetched.append((request.event_id, request.after_version))
        journal = [one for one in self.journal[request.event_id] if one.version > request.after_version]
        return inventory_service_pb2.ListInventoryChangesResponse(changes=journal[: request.page_size or 20])

    async def list_price_tiers(
        self, request: price_tier_service_pb2.ListPriceTiersRequest, call: Call
    ) -> price_tier_service_pb2.ListPriceTiersResponse:
        self.callers.add(call.principal.subject)
        count = self.tiers.get(request.event_id, 0) if request.only_active else 0
        return price_tier_service_pb2.ListPriceTiersResponse(price_tiers=[price_tier_pb2.PriceTier()] * count)


def servers(world: World, *, identity_dir: Path, mesh: MeshSettings) -> tuple[RpcServer, RpcServer]:
    """Make capacity and pricing."""
    capacity, pricing = (
        RpcServer(
            service=name,
            listen="127.0.0.1:0",
            identity=MeshIdentity.load(identity_dir, name),
            mesh=mesh,
            metrics=Metrics(name),
            notice_seconds=0,
            drain_seconds=1,
        )
        for name in ("capacity", "pricing")
    )
    capacity.add(section_service_pb2.DESCRIPTOR.services_by_name["SectionService"], world)
    capacity.add(inventory_service_pb2.DESCRIPTOR.services_by_name["InventoryService"], world)
    pricing.add(price_tier_service_pb2.DESCRIPTOR.services_by_name["PriceTierService"], world)
    return capacity, pricing
