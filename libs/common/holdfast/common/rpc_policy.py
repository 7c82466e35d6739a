"""Who may call an RPC: the peer's certificate, the principal that it brings, and the contract's policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.api.common.v1 import policy_pb2
from holdfast.common.errors import DomainError, Reason
from holdfast.common.mesh_identity import Principal, decode_principal, service_principal
from holdfast.common.permissions import PLATFORM

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor

SPEAKERS: Final = frozenset({"gateway", "events", "capacity", "pricing"})
"""The mesh identities that may speak for any principal; every other service speaks for itself only."""
ANONYMOUS: Final = Principal(subject="anonymous", organization_id="", roles=frozenset())


class Gate:
    """The policy of one RPC, read from its contract once. ValueError for an RPC that has none."""

    __slots__ = ("_bound", "_callers", "_permission", "_public")

    def __init__(self, method: MethodDescriptor) -> None:
        policy = method.GetOptions().Extensions[policy_pb2.policy]
        if not (policy.public or policy.permission or policy.callers):
            raise ValueError(f"{method.full_name} has no policy")
        self._public = policy.public
        self._permission = policy.permission
        self._callers = frozenset(policy.callers)
        self._bound = bool(policy.permission) and policy.permission not in PLATFORM

    def admit(self, peer: str | None, principal_value: bytes | None) -> Principal:
        """Give the principal of a call that may be made; DomainError otherwise."""
        if peer is None:
            raise DomainError(Reason.PEER_UNKNOWN, "the peer showed no certificate of the mesh")
        if self._callers and peer not in self._callers:
            raise DomainError(Reason.CALLER_NOT_ALLOWED, "this RPC is not for this caller", metadata={"caller": peer})
        principal = principal_of(peer, principal_value)
        if principal is None:
            if self._public:
                return ANONYMOUS
            if self._callers and not self._permission:
                return service_principal(peer, "")
            raise DomainError(Reason.PEER_UNKNOWN, "the call names no principal")
        if self._permission:
            if self._permission not in principal.permissions:
                raise self._missing("the principal's roles do not include this permission")
            if self._bound and not principal.organization_id:
                raise self._missing("this needs a principal of an organization")
        return principal

    def _missing(self, message: str) -> DomainError:
        return DomainError(Reason.PERMISSION_MISSING, message, metadata={"permission": self._permission})


def principal_of(peer: str, value: bytes | None) -> Principal | None:
    """Give the principal that a peer may speak for; None when it names none. A malformed one raises PEER_UNKNOWN."""
    if value is None:
        return None
    principal = decode_principal(value)
    if principal is None:
        raise DomainError(Reason.PEER_UNKNOWN, "the principal cannot be read")
    return principal if peer in SPEAKERS else service_principal(peer, principal.organization_id)
