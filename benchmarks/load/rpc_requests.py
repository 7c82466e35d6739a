"""Requests of PlaceHold as the gateway makes them, for loads that call capacity itself."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from holdfast.api.capacity.v1 import hold_pb2, hold_service_pb2
from holdfast.api.common.v1 import principal_pb2
from holdfast.common.mesh_identity import MeshIdentity, Principal, server_name

if TYPE_CHECKING:
    from collections.abc import Mapping

CALLER = "gateway"
CALLED = "capacity"
DEADLINE_SECONDS = 15.0


def channel(job: Mapping[str, Any]) -> grpc.aio.Channel:
    """Open a channel with the gateway's certificate to the server at `address`; the caller closes it."""
    identity = MeshIdentity.load(Path(job["identities"]), CALLER)
    options = (
        ("grpc.ssl_target_name_override", server_name(CALLED)),
        ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    )
    return grpc.aio.secure_channel(job["address"], identity.channel_credentials(), options=options)


class HoldRequests:
    """Makes requests for one place each: principals and sections take turns, keys are unique, answers are checked."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        """`job`: `run`, `organization_id`, `buyers`, `section_ids`, `hold_ttl_seconds`."""
        self._run = str(job["run"])
        self._numbers = itertools.count()
        self._sections = itertools.cycle(job["section_ids"])
        self._hold_ttl_seconds = int(job["hold_ttl_seconds"])
        self._seen: set[str] = set()
        buyers = [
            Principal(subject=buyer, organization_id=job["organization_id"], roles=frozenset({"buyer"}))
            for buyer in job["buyers"]
        ]
        self._metadata = itertools.cycle([(buyer.to_metadata(),) for buyer in buyers])
        self._principals = itertools.cycle(
            [principal_pb2.Principal.FromString(buyer.to_metadata()[1]) for buyer in buyers]
        )

    def request(self) -> hold_service_pb2.PlaceHoldRequest:
        """Give the next request."""
        return hold_service_pb2.PlaceHoldRequest(
            section_id=next(self._sections),
            quantity=1,
            hold_ttl_seconds=self._hold_ttl_seconds,
            request_id=f"{self._run}-{next(self._numbers)}",
        )

    def metadata(self) -> tuple[tuple[str, bytes]]:
        """Give the next principal as metadata of a call."""
        return next(self._metadata)

    def item(self) -> hold_service_pb2.BatchMutateHoldsItem:
        """Give the next request with its principal, for a batch."""
        return hold_service_pb2.BatchMutateHoldsItem(
            principal=next(self._principals),
            place_hold=self.request(),
            timeout_milliseconds=int(DEADLINE_SECONDS * 1000),
        )

    def fault(self, answer: hold_service_pb2.PlaceHoldResponse) -> str:
        """Say what is wrong with an answer; empty = nothing."""
        hold = answer.hold
        if hold.state != hold_pb2.Hold.ACTIVE or not hold.id:
            return f"hold {hold_pb2.Hold.State.Name(hold.state)}"
        if hold.id in self._seen:
            return "the same hold for two keys"
        self._seen.add(hold.id)
        return ""
