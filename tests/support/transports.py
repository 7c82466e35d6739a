"""Calls of any RPC of the contract, over the gRPC stubs or over REST, with the same fields and the same answers.

Fields and answers are JSON as the contract's messages have it. Whatever a transport owes every call beside its answer
(statuses, headers, media types) is asserted here.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

import grpc
import httpx
from google.api import annotations_pb2
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from holdfast.api.common.v1 import policy_pb2, principal_pb2
from holdfast.common.contracts import contract_services
from holdfast.local import tokens
from holdfast.local.state import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.descriptor import MethodDescriptor

    from tests.support.mesh import Mesh

DEADLINE_SECONDS: Final = 20
RPCS: Final[Mapping[str, MethodDescriptor]] = {
    rpc.name: rpc for service in contract_services() for rpc in service.methods
}
"""Every RPC by its name; of `ListAuditEntries`, which several services have, one of them."""

_VARIABLE: Final = re.compile(r"\{([a-z_.]+)\}")
_STATUSES: Final = {
    "VALIDATION_FAILED": 400,
    "INVALID_SEATING_CONFIG": 400,
    "UNKNOWN_CURRENCY": 400,
    "IDEMPOTENCY_KEY_REUSED": 422,
    "ETAG_MISMATCH": 412,
    "PERMISSION_MISSING": 403,
    "RATE_LIMITED": 429,
    "OVERLOADED": 429,
    "DEPENDENCY_UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


@dataclass(frozen=True)
class Caller:
    """On whose behalf a call is made."""

    subject: str
    role: str
    organization_id: str


@dataclass(frozen=True)
class Answer:
    """What came of a call: a body, or a refusal with its reason, metadata and the fields that it names."""

    body: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[str, ...] = ()
    replayed: bool = False


class Transport(Protocol):
    """A way to call."""

    def call(self, rpc: MethodDescriptor, fields: Mapping[str, Any], caller: Caller) -> Answer:
        """Call an RPC and give what came of it; safe to use from several threads."""
        ...


class Stubs:
    """gRPC with the gateway's certificate, which may speak for any principal."""

    def __init__(self, mesh: Mesh) -> None:
        self._channels = {
            service: mesh.channel(service, certificate="gateway") for service in ("events", "capacity", "pricing")
        }

    def close(self) -> None:
        """Close the channels."""
        for channel in self._channels.values():
            channel.close()

    def call(self, rpc: MethodDescriptor, fields: Mapping[str, Any], caller: Caller) -> Answer:
        """Call by the RPC's own name."""
        service = rpc.containing_service.full_name
        method: Any = self._channels[service.split(".")[2]].unary_unary(
            f"/{service}/{rpc.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(rpc.output_type).FromString,
        )
        request = json_format.ParseDict(dict(fields), GetMessageClass(rpc.input_type)())
        principal = principal_pb2.Principal(
            subject=caller.subject, organization_id=caller.organization_id, roles=[caller.role]
        )
        metadata = (
            ("holdfast-principal-bin", principal.SerializeToString()),
            ("traceparent", f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"),
        )
        try:
            response, call = method.with_call(request, timeout=DEADLINE_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            return _refusal(error)
        trailing = {str(key): value for key, value in call.trailing_metadata() or ()}
        return Answer(
            body=json_format.MessageToDict(response, preserving_proto_field_name=True),
            replayed=trailing.get("holdfast-replayed") == "true",
        )


def _refusal(error: grpc.RpcError) -> Answer:
    status = rpc_status.from_call(error)
    assert status is not None, error
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        _ = detail.Unpack(info) or detail.Unpack(request)
    assert info.domain == "holdfast", error
    return Answer(
        reason=info.reason,
        metadata=dict(info.metadata),
        violations=tuple(violation.field for violation in request.field_violations),
    )


class Rest:
    """HTTP through the gateway, by the paths of the contract. Every request has a trace of its own."""

    def __init__(self, mesh: Mesh) -> None:
        self._issuer = Layout(mesh.state).issuer
        self._client = httpx.Client(base_url=mesh.gateway, timeout=DEADLINE_SECONDS)
        self._tokens: dict[Caller, str] = {}

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def call(self, rpc: MethodDescriptor, fields: Mapping[str, Any], caller: Caller) -> Answer:
        """Call by the first path whose variables the fields have."""
        verb, path, body, query = _request(rpc, dict(fields))
        headers = {
            "Authorization": f"Bearer {self._token(caller)}",
            "traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00",
        }
        if "request_id" in fields:
            headers["Idempotency-Key"] = fields["request_id"]
        if "etag" in fields:
            headers["If-Match"] = f'"{fields["etag"]}"'
        response = self._client.request(verb, path, json=body, params=query, headers=headers)
        replayed = response.headers.get("idempotency-replayed") == "true"
        if response.status_code >= httpx.codes.BAD_REQUEST:
            return _problem(response)
        rest = rpc.GetOptions().Extensions[policy_pb2.rest]
        expected = 204 if rest.no_content else 201 if rest.location and not replayed else 200
        assert response.status_code == expected, f"{verb} {path}: {response.status_code} {response.text}"
        assert ("location" in response.headers) == bool(rest.location), f"{verb} {path}: {response.headers}"
        return Answer(body=response.json() if response.content else {}, replayed=replayed)

    def _token(self, caller: Caller) -> str:
        if caller not in self._tokens:
            bearer = tokens.Bearer(caller.subject, caller.organization_id, (caller.role,))
            self._tokens[caller] = tokens.mint(self._issuer, bearer, now=datetime.now(UTC), minutes=60)
        return self._tokens[caller]


def _bindings(rpc: MethodDescriptor) -> Iterator[tuple[str, str, str]]:
    rule = rpc.GetOptions().Extensions[annotations_pb2.http]
    for each in (rule, *rule.additional_bindings):
        verb = each.WhichOneof("pattern")
        assert verb is not None, f"{rpc.full_name} has no path"
        yield verb.upper(), getattr(each, verb), each.body


def _request(rpc: MethodDescriptor, fields: dict[str, Any]) -> tuple[str, str, Any, dict[str, Any]]:
    """Give verb, path, body (None = without) and query."""
    for verb, template, body in _bindings(rpc):
        names = _VARIABLE.findall(template)
        if all(name in fields for name in names):
            path = _VARIABLE.sub(lambda match: str(fields[match[1]]), template)
            left = {name: value for name, value in fields.items() if name not in {*names, "request_id", "etag"}}
            if body == "*":
                return verb, path, left, {}
            content = left.pop(body) if body else None
            return verb, path, content, left
    raise AssertionError(f"no path of {rpc.full_name} takes {sorted(fields)}")


def _problem(response: httpx.Response) -> Answer:
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem = response.json()
    code = problem["code"]
    status = _STATUSES.get(code, 404 if code.endswith("_NOT_FOUND") else 409)
    assert response.status_code == problem["status"] == status, response.text
    return Answer(
        reason=code,
        metadata=problem.get("metadata", {}),
        violations=tuple(error["field"] for error in problem.get("errors", ())),
    )
