"""What an operator asks the services directly: synchronous stubs over mutual TLS, as the service `operator`."""

import uuid
from pathlib import Path
from typing import cast

import grpc

from holdfast.api.capacity.v1 import (
    hold_pb2,
    hold_service_pb2,
    hold_service_pb2_grpc,
    inventory_service_pb2,
    inventory_service_pb2_grpc,
    seat_map_pb2,
    section_service_pb2,
    section_service_pb2_grpc,
)
from holdfast.common.mesh_identity import Principal, server_name
from holdfast.local.identities import OPERATOR

DEADLINE_SECONDS = 5.0
VERIFY_SECONDS = 120.0
"""Recomputing the counters of an event reads all its live holds and its journal."""


class OperatorError(Exception):
    """A service refused or could not be reached; the message is for people."""


def channel(identities: Path, *, service: str, address: str) -> grpc.Channel:
    """Return a channel to a service with the operator's certificate; the caller closes it."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=(identities / "ca.crt").read_bytes(),
        private_key=(identities / f"{OPERATOR}.key").read_bytes(),
        certificate_chain=(identities / f"{OPERATOR}.crt").read_bytes(),
    )
    return grpc.secure_channel(address, credentials, [("grpc.ssl_target_name_override", server_name(service))])


class Operator:
    """Asks capacity on behalf of one organization. Raises OperatorError."""

    def __init__(self, capacity: grpc.Channel, *, organization_id: str) -> None:
        self._sections = section_service_pb2_grpc.SectionServiceStub(capacity)
        self._holds = hold_service_pb2_grpc.HoldServiceStub(capacity)
        self._inventory = inventory_service_pb2_grpc.InventoryServiceStub(capacity)
        principal = Principal(
            subject=f"service:{OPERATOR}", organization_id=organization_id, roles=frozenset({"service"})
        )
        self._metadata = (principal.to_metadata(),)

    def hold(self, hold_id: str) -> hold_pb2.Hold:
        """Read a hold."""
        request = hold_service_pb2.GetHoldRequest(hold_id=_id(hold_id))
        try:
            return self._holds.GetHold(request, timeout=DEADLINE_SECONDS, metadata=self._metadata).hold
        except grpc.RpcError as error:
            raise _told(error) from error

    def seat_map(self, event_id: str) -> seat_map_pb2.SeatMap:
        """Read all seats of an event with their layouts, as staff sees them."""
        request = section_service_pb2.GetSeatMapRequest(event_id=_id(event_id), with_layout=True)
        try:
            return self._sections.GetSeatMap(request, timeout=DEADLINE_SECONDS, metadata=self._metadata).seat_map
        except grpc.RpcError as error:
            raise _told(error) from error

    def verify(self, event_id: str) -> inventory_service_pb2.VerifyInventoryResponse:
        """Recompute an event's counters and show where they differ; changes nothing."""
        request = inventory_service_pb2.VerifyInventoryRequest(event_id=_id(event_id))
        try:
            return self._inventory.VerifyInventory(request, timeout=VERIFY_SECONDS, metadata=self._metadata)
        except grpc.RpcError as error:
            raise _told(error) from error


def _id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise OperatorError(f"{text!r} is not an id; ids are UUIDs") from error


def _told(error: grpc.RpcError) -> OperatorError:
    call = cast("grpc.Call", error)  # what a stub raises is both, which the types cannot say
    return OperatorError(f"{call.code().name}: {call.details()}")
