"""OrganizationService."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.api.events.v1 import organization_service_pb2 as pb
from holdfast.common import ids
from holdfast.common.errors import DomainError, Reason
from holdfast.common.protobuf import updated_fields
from holdfast.events.convert import organizations as convert
from holdfast.events.convert.values import canonical_id
from holdfast.events.operations import organizations as operations
from holdfast.events.operations.scenes import require_organization

if TYPE_CHECKING:
    from holdfast.common.rpc_call import Call
    from holdfast.events.rpc.front import Front

_ANY_ORGANIZATION: Final = "organizations.create"
"""Who may create organizations may work on any."""


class OrganizationServicer:
    """The customers of the mesh."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def create_organization(
        self, request: pb.CreateOrganizationRequest, call: Call
    ) -> pb.CreateOrganizationResponse:
        """Create an organization."""
        fields = [field.name for field, _ in request.organization.ListFields()]
        changes = convert.changes(request.organization, fields, named=False)
        key = self._front.key(call, request, "CreateOrganization")
        organization_id, now = ids.new_id(), self._front.now()
        outcome = await self._front.run(
            call,
            lambda transaction: operations.create_organization(
                transaction, organization_id=organization_id, changes=changes, key=key, now=now
            ),
            organization_id=operations.PLATFORM_ORGANIZATION_ID,
        )
        return pb.CreateOrganizationResponse(organization=convert.to_proto(self._front.settled(call, request, outcome)))

    async def get_organization(self, request: pb.GetOrganizationRequest, call: Call) -> pb.GetOrganizationResponse:
        """Read an organization."""
        organization_id = _admitted(call, request.organization_id)
        organization = await self._front.run(
            call,
            lambda transaction: require_organization(transaction, organization_id),
            organization_id=organization_id,
        )
        return pb.GetOrganizationResponse(organization=convert.to_proto(organization))

    async def update_organization(
        self, request: pb.UpdateOrganizationRequest, call: Call
    ) -> pb.UpdateOrganizationResponse:
        """Change an organization."""
        organization_id = _admitted(call, request.organization_id)
        fields = updated_fields(request.organization, request.update_mask, resource_name="organization")
        changes = convert.changes(request.organization, fields, named=bool(request.update_mask.paths))
        key, now = self._front.key(call, request, "UpdateOrganization"), self._front.now()
        outcome = await self._front.run(
            call,
            lambda transaction: operations.update_organization(
                transaction,
                organization_id=organization_id,
                changes=changes,
                etag=request.etag,
                key=key,
                now=now,
            ),
            organization_id=organization_id,
        )
        return pb.UpdateOrganizationResponse(organization=convert.to_proto(self._front.settled(call, request, outcome)))


def _admitted(call: Call, organization_id: str) -> str:
    """Give the id if the caller may work on that organization; to others it does not exist."""
    wanted = canonical_id(organization_id)
    if wanted != call.organization_id and not call.principal.can(_ANY_ORGANIZATION):
        raise DomainError(Reason.ORGANIZATION_NOT_FOUND, "no such organization", metadata={"organization_id": wanted})
    return wanted
