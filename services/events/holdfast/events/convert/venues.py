"""Venue ⇄ proto."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.api.events.v1 import venue_pb2
from holdfast.common.protobuf import to_timestamp
from holdfast.events.convert.values import CLEARED
from holdfast.events.domain.venues import Address, Gate, Venue, VenueKind

if TYPE_CHECKING:
    from collections.abc import Iterable

_SETTINGS: Final = ("access_rules", "default_doors_minutes")


def to_proto(venue: Venue) -> venue_pb2.Venue:
    """Give a venue as the contract has it."""
    address = venue.address
    settings = None
    if venue.access_rules is not None or venue.default_doors_minutes is not None:
        settings = venue_pb2.VenueSettings(
            access_rules=venue.access_rules, default_doors_minutes=venue.default_doors_minutes
        )
    return venue_pb2.Venue(
        id=venue.id,
        organization_id=venue.organization_id,
        name=venue.name,
        slug=venue.slug,
        kind=venue_pb2.Venue.Kind.Value(venue.kind.value),
        time_zone=venue.time_zone,
        address=None
        if address is None
        else venue_pb2.Address(
            lines=address.lines,
            city=address.city,
            region=address.region,
            postal_code=address.postal_code,
            country_code=address.country_code,
        ),
        max_capacity=venue.max_capacity,
        settings=settings,
        gates=[venue_pb2.Gate(id=gate.id, name=gate.name) for gate in venue.gates],
        create_time=to_timestamp(venue.create_time),
        update_time=to_timestamp(venue.update_time),
        etag=venue.etag,
    )


def changes(message: venue_pb2.Venue, fields: Iterable[str], *, named: bool) -> dict[str, Any]:
    """Give the values of the fields that a request sets, None for those that it clears.

    `named` = the fields stand in an update mask: settings are then replaced as a whole; else only those present.
    """
    result: dict[str, Any] = {}
    for field in fields:
        if field == "settings":
            for name in _SETTINGS:
                if message.settings.HasField(name):
                    result[name] = getattr(message.settings, name)
                elif named:
                    result[name] = CLEARED
        elif field == "gates":
            result["gates"] = tuple(Gate(id=gate.id, name=gate.name) for gate in message.gates)
        elif not message.HasField(field):  # type: ignore[arg-type] # a field of the resource, checked before
            result[field] = CLEARED
        elif field == "address":
            result["address"] = _address(message.address)
        elif field == "kind":
            result["kind"] = VenueKind(venue_pb2.Venue.Kind.Name(message.kind)) if message.kind else CLEARED
        else:
            result[field] = getattr(message, field)
    return result


def _address(message: venue_pb2.Address) -> Address:
    return Address(
        lines=tuple(message.lines),
        city=message.city,
        region=message.region,
        postal_code=message.postal_code,
        country_code=message.country_code,
    )
