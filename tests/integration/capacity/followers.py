"""Somebody who follows what is left of an event, and builds its state from nothing but what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from holdfast.api.capacity.v1 import availability_pb2, inventory_service_pb2, inventory_service_pb2_grpc, seat_map_pb2
from holdfast.common.mesh_identity import Principal

if TYPE_CHECKING:
    from tests.integration.capacity.conftest import Capacity

Figures = tuple[int, int, int, int, int]
pb = inventory_service_pb2


def figures_of(section: availability_pb2.SectionAvailability) -> Figures:
    return section.available, section.held, section.pending, section.sold, section.blocked


def bits(mask: bytes) -> set[int]:
    """Give the seats of a bitmap."""
    number = int.from_bytes(mask, "little")
    return {index for index in range(number.bit_length()) if number >> index & 1}


@dataclass
class Follower:
    """Follows an event; `fields` are those of the request. Steps that do not join the one before fail the test."""

    capacity: Capacity
    event_id: str
    role: str = "buyer"
    fields: dict[str, Any] = field(default_factory=dict)
    version: int = 0
    snapshots: int = 0
    deltas: int = 0
    last: availability_pb2.Availability = field(default_factory=availability_pb2.Availability)
    sections: dict[str, Figures] = field(default_factory=dict)
    taken: dict[str, set[int]] = field(default_factory=dict)
    seen: list[tuple[int, dict[str, Figures]]] = field(default_factory=list)
    _call: Any = None

    def begin(self, **fields: Any) -> None:
        """Follow from the version that is known."""
        given = {"event_id": self.event_id, "after_version": self.version, **self.fields, **fields}
        request = json_format.ParseDict(given, pb.WatchAvailabilityRequest())
        stub = inventory_service_pb2_grpc.InventoryServiceStub(self.capacity.peers["gateway"].channel)
        principal = Principal(f"user:{self.role}", self.capacity.organization_id, frozenset({self.role}))
        self._call = stub.WatchAvailability(request, metadata=(principal.to_metadata(),))

    def leave(self) -> None:
        self._call.cancel()

    async def step(self) -> pb.WatchAvailabilityResponse | None:
        """Take in the next step; None when the stream ended well."""
        answer = await self._call.read()
        if not isinstance(answer, pb.WatchAvailabilityResponse):
            return None
        if answer.HasField("snapshot"):
            self._begin_anew(answer)
        else:
            self._go_on(answer.delta)
        return answer

    def _begin_anew(self, answer: pb.WatchAvailabilityResponse) -> None:
        self.snapshots += 1
        self._take(answer.snapshot)
        self.sections = {each.section_id: figures_of(each) for each in answer.snapshot.sections}
        self.taken = {each.section_id: bits(each.taken) for each in answer.seat_map.sections}
        self.seen.append((self.version, dict(self.sections)))
        if answer.HasField("seat_map"):
            assert answer.seat_map.inventory_version == self.version

    def _go_on(self, delta: pb.AvailabilityDelta) -> None:
        assert delta.after_version == self.version, "a step is missing"
        self.deltas += 1
        self._take(delta.availability)
        for each in delta.availability.sections:
            if each.deleted:
                del self.sections[each.section_id]
            else:
                self.sections[each.section_id] = figures_of(each)
        for change in delta.seats:
            self._seats(change)
        self.seen.append((self.version, dict(self.sections)))

    def _take(self, told: availability_pb2.Availability) -> None:
        assert told.inventory_version >= self.version, "versions only grow"
        self.version, self.last = told.inventory_version, told

    def _seats(self, change: seat_map_pb2.SeatChange) -> None:
        seats = self.taken.setdefault(change.section_id, set())
        if change.taken:
            seats.update(change.indexes)
        else:
            seats.difference_update(change.indexes)

    async def until(self, version: int) -> None:
        """Take in steps until a version is there."""
        while self.version < version:
            assert await self.step() is not None
