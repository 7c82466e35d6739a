"""The replicas of a service, and which of them an event's calls prefer.

Any replica may serve any event. That an event's calls meet in one only makes its batches grow: a replica that does not
answer is passed over, and its events are at home in the others meanwhile.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import grpc

from holdfast.common.errors import DomainError, Reason
from holdfast.common.rpc_client import Peer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

    from holdfast.common.mesh_identity import MeshIdentity, Principal
    from holdfast.common.metrics import Metrics

KNOWN_MAX: Final = 100_000
ORDERS_MAX: Final = 10_000
TRIAL_SECONDS: Final = 5.0
_NAMED_BY: Final = ("section_id", "hold_id")


class KnownEvents:
    """Which event a section or a hold is of, as answers told. It never changes; bounded, oldest out first."""

    def __init__(self, limit: int = KNOWN_MAX) -> None:
        self._limit = limit
        self._events: OrderedDict[str, str] = OrderedDict()

    def get(self, resource_id: str) -> str | None:
        """Give the event of a section or hold, None if no answer told."""
        return self._events.get(resource_id)

    def learn(self, hold: Any) -> None:
        """Take over what a hold in an answer tells."""
        event_id: str = hold.event_id
        if not event_id:
            return
        events = self._events
        for line in hold.lines:
            if line.section_id not in events:
                events[line.section_id] = event_id
        events[hold.id] = event_id
        while len(events) > self._limit:
            events.popitem(last=False)

    def key_of(self, request: Any) -> str:
        """Give what a request's place is chosen by: its event if that is known, else what it names; "" = nothing."""
        fields = request.DESCRIPTOR.fields_by_name
        if "event_id" in fields and request.event_id:
            return str(request.event_id)
        for name in _NAMED_BY:
            if name in fields and getattr(request, name):
                return self._event_or_self(getattr(request, name))
        if "lines" in fields and request.lines and hasattr(request.lines[0], "section_id"):
            return self._event_or_self(request.lines[0].section_id)
        return ""

    def _event_or_self(self, resource_id: str) -> str:
        return self._events.get(resource_id) or resource_id


class Replica:
    """One replica. `methods` are the RPCs of its channel by `<full name of the service>/<RPC>`.

    It is quiet from when it left a call without any sign for too long until the next sign. Meanwhile it is tried by
    one call in `TRIAL_SECONDS`.
    """

    def __init__(self, peer: Peer, address: str) -> None:
        self.peer = peer
        self.address = address
        self.methods: dict[str, Any] = {}
        self.quiet = False
        self._trial_from = 0.0

    @property
    def answering(self) -> bool:
        """Whether it is connected or will be soon, serves, and has not failed too often."""
        return (
            self.peer.breaker.ready and self.peer.channel.get_state() is not grpc.ChannelConnectivity.TRANSIENT_FAILURE
        )

    @property
    def ready(self) -> bool:
        """Whether there is no sign that it would not answer, or it is time to see."""
        if self.quiet and asyncio.get_running_loop().time() < self._trial_from:
            return False
        return self.answering

    def begin(self, now: float, seconds: float) -> CallSign:
        """Note a call that should bring something within so many seconds."""
        if self.quiet:
            self._trial_from = now + TRIAL_SECONDS
        return CallSign(self, seconds)

    def set_quiet(self, quiet: bool) -> None:  # noqa: FBT001 - the one thing that it says
        """Note a call without a sign, or a sign."""
        if quiet:
            self._trial_from = asyncio.get_running_loop().time() + TRIAL_SECONDS
        self.quiet = quiet


class CallSign:
    """Whether a call has brought anything yet."""

    __slots__ = ("_replica", "_timer")

    def __init__(self, replica: Replica, seconds: float) -> None:
        self._replica = replica
        self._timer = asyncio.get_running_loop().call_later(seconds, replica.set_quiet, True)

    def heard(self) -> None:
        """Note a sign."""
        self._timer.cancel()
        self._replica.set_quiet(False)

    def cancel(self) -> None:
        """Expect nothing any more."""
        self._timer.cancel()


class Replicas:
    """The replicas of one service, a peer each. `target` is what the mesh's settings say, separated by commas."""

    def __init__(self, *, name: str, target: str, identity: MeshIdentity, metrics: Metrics | None = None) -> None:
        addresses = [part.strip() for part in target.split(",") if part.strip()]
        self.name = name
        self.known = KnownEvents()
        self._all = [
            Replica(
                Peer(
                    name=name,
                    target=address,
                    identity=identity,
                    metrics=metrics,
                    replica=address if len(addresses) > 1 else "",
                ),
                address,
            )
            for address in addresses
        ]
        self._next = 0
        self._ordered = lru_cache(maxsize=ORDERS_MAX)(self.ranked)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def all(self) -> Sequence[Replica]:
        """All of them, as they were given."""
        return self._all

    async def start(self) -> None:
        """Begin to connect."""
        for replica in self._all:
            await replica.peer.start()

    async def close(self) -> None:
        """Close the channels."""
        for replica in self._all:
            await replica.peer.close()

    def order(self, key: str) -> Sequence[Replica]:
        """Give the replicas as a key prefers them, those that do not seem to answer last; without a key, in turn."""
        if len(self._all) == 1:
            return self._all
        if key:
            found = self._ordered(key)
        else:
            self._next = (self._next + 1) % len(self._all)
            found = (*self._all[self._next :], *self._all[: self._next])
        if all(replica.ready for replica in found):
            return found
        return sorted(found, key=lambda replica: not replica.ready)

    def ranked(self, key: str) -> tuple[Replica, ...]:
        """Rank all for a key by rendezvous hash: when a replica comes or goes, only its own keys move."""

        def weight(replica: Replica) -> bytes:
            return hashlib.blake2b(replica.address.encode(), key=key.encode()[:64], digest_size=8).digest()

        return tuple(sorted(self._all, key=weight, reverse=True))

    async def call(
        self, path: str, request: Message, *, principal: Principal, deadline_seconds: float
    ) -> tuple[Any, dict[str, str | bytes]]:
        """Make a call as `Peer.call_with_metadata` does, of the replica that the request prefers.

        If that one does not answer, and the call can be repeated, of the next: each once.
        """
        found = self.order(self.known.key_of(request) if len(self._all) > 1 else "")
        last = len(found) - 1 if _repeatable(request) else 0
        for number, replica in enumerate(found):
            try:
                response, trailing = await replica.peer.call_with_metadata(
                    replica.methods[path], request, principal=principal, deadline_seconds=deadline_seconds
                )
            except DomainError as error:
                if number >= last or not is_silence(error, self.name):
                    raise
            else:
                if len(self._all) > 1 and "hold" in response.DESCRIPTOR.fields_by_name:
                    self.known.learn(response.hold)
                return response, trailing
        raise AssertionError("the last replica answers or raises")


def is_silence(error: DomainError, name: str) -> bool:
    """Tell whether an error says that a service itself did not answer, and not something behind it."""
    return error.reason is Reason.DEPENDENCY_UNAVAILABLE and error.metadata.get("dependency") == name


def _repeatable(request: Any) -> bool:
    """Tell whether a request may be sent again though it may have arrived: by its key, or as it changes nothing."""
    return "request_id" not in request.DESCRIPTOR.fields_by_name or bool(request.request_id)
