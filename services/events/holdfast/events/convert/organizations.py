"""Organization ⇄ proto."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.api.events.v1 import organization_pb2
from holdfast.common.protobuf import to_timestamp
from holdfast.events.convert.values import CLEARED
from holdfast.events.domain.organizations import DEFAULT_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.events.domain.organizations import Organization

SETTINGS: Final = tuple(DEFAULT_SETTINGS)


def to_proto(organization: Organization) -> organization_pb2.Organization:
    """Give an organization as the contract has it."""
    return organization_pb2.Organization(
        id=organization.organization_id,
        name=organization.name,
        slug=organization.slug,
        state=organization_pb2.Organization.State.Value(organization.state.value),
        settings=organization_pb2.OrganizationSettings(**{name: getattr(organization, name) for name in SETTINGS}),
        create_time=to_timestamp(organization.create_time),
        update_time=to_timestamp(organization.update_time),
        etag=organization.etag,
    )


def changes(message: organization_pb2.Organization, fields: Iterable[str], *, named: bool) -> dict[str, Any]:
    """Give the values of the fields that a request sets, None for those that it clears.

    `named` = the fields stand in an update mask: settings are then replaced as a whole; else only those present.
    """
    result: dict[str, Any] = {}
    for field in fields:
        if field == "settings":
            for name in SETTINGS:
                if message.settings.HasField(name):  # type: ignore[arg-type] # a field of the settings
                    result[name] = getattr(message.settings, name)
                elif named:
                    result[name] = CLEARED
        elif field == "name":
            result["name"] = message.name if message.HasField("name") else CLEARED
    return result
