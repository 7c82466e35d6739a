"""The OpenAPI 3.1 document of the REST API, built from the same descriptors that the transcoder uses.

Names, types, bounds, permissions and answers are the contract's. Its comments are not in the generated code; the
contract itself has them.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import orjson

from holdfast.api.common.v1 import policy_pb2
from holdfast.common.errors import Reason
from holdfast.gateway.openapi_schemas import Schemas, field_schema
from holdfast.gateway.problems import http_status
from holdfast.gateway.query import query_fields

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.gateway.transcoder import Endpoint

VERSION: Final = "v1"
_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_VERB: Final = re.compile(r"\{([a-z0-9_.]+)\}")
_PROBLEM: Final = {"$ref": "#/components/responses/Problem"}


def openapi_document(endpoints: Iterable[Endpoint]) -> bytes:
    """Build the document, as JSON."""
    schemas = Schemas()
    paths: dict[str, dict[str, Any]] = {}
    used: Counter[str] = Counter()
    for endpoint in endpoints:
        binding = endpoint.binding
        used[endpoint.rpc.name] += 1
        count = used[endpoint.rpc.name]
        operation = _operation(endpoint, schemas)
        operation["operationId"] = endpoint.rpc.name if count == 1 else f"{endpoint.rpc.name}_{count}"
        paths.setdefault(binding.template, {})[binding.method.lower()] = operation
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Holdfast",
                "version": VERSION,
                "description": "Events, capacity and prices. Errors are RFC 9457 problem documents.",
            },
            "paths": paths,
            "components": {
                "schemas": {**schemas.components(), "Problem": _problem_schema()},
                "responses": {
                    "Problem": {
                        "description": "A refusal; `code` says why.",
                        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
                    }
                },
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            },
            "security": [{"bearer": []}],
        }
    )


def _operation(endpoint: Endpoint, schemas: Schemas) -> dict[str, Any]:
    rpc = endpoint.rpc
    policy = rpc.GetOptions().Extensions[policy_pb2.policy]
    operation: dict[str, Any] = {
        "summary": _WORD.sub(" ", rpc.name).capitalize(),
        "tags": [rpc.containing_service.name],
        "parameters": _parameters(endpoint),
        "responses": _responses(endpoint, schemas),
    }
    if policy.permission:
        operation["description"] = f"Needs the permission `{policy.permission}`."
        operation["x-permission"] = policy.permission
    if policy.public:
        operation["security"] = []
    body = endpoint.binding.body
    if body:
        operation["requestBody"] = {
            "required": body != "*",
            "content": {"application/json": {"schema": _body_schema(endpoint, schemas)}},
        }
    return operation


def _body_schema(endpoint: Endpoint, schemas: Schemas) -> dict[str, Any]:
    binding, request = endpoint.binding, endpoint.rpc.input_type
    if binding.body != "*":
        resource = request.fields_by_name[binding.body].message_type
        return schemas.reference(resource) if resource is not None else {}
    return schemas.message(request, without=frozenset(binding.variables))


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    binding, request = endpoint.binding, endpoint.rpc.input_type
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _VERB.findall(binding.template)
    ]
    if binding.body != "*":
        parameters += [
            {"name": ".".join(names), "in": "query", "required": False, "schema": field_schema(field)}
            for names, _, field in query_fields(request, bound={*binding.variables, binding.body})
        ]
    if endpoint.takes_request_id:
        parameters.append(_header("Idempotency-Key", "Makes a retry the same request.", maxLength=255))
    if endpoint.takes_etag:
        parameters.append(_header("If-Match", "Only if the resource still has this etag.", maxLength=70))
    if endpoint.revalidates:
        parameters.append(_header("If-None-Match", "Etags of answers that the client has; 304 if this is one, or *."))
    parameters.append(_header("Request-Timeout", "Seconds after which the answer is of no use any more."))
    return parameters


def _header(name: str, description: str, **bounds: int) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string", **bounds},
    }


def _responses(endpoint: Endpoint, schemas: Schemas) -> dict[str, Any]:
    rpc = endpoint.rpc
    rest = rpc.GetOptions().Extensions[policy_pb2.rest]
    if rest.no_content:
        return {"204": {"description": "Done."}, "default": _PROBLEM}
    content = {"application/json": {"schema": schemas.reference(rpc.output_type)}}
    if endpoint.revalidates:
        etag = {"ETag": {"schema": {"type": "string"}}}
        return {
            "200": {"description": "Done.", "headers": etag, "content": content},
            "304": {"description": "The client has the answer already.", "headers": etag},
            "default": _PROBLEM,
        }
    if not rest.location:
        return {"200": {"description": "Done.", "content": content}, "default": _PROBLEM}
    return {
        "201": {
            "description": "Created.",
            "headers": {"Location": {"schema": {"type": "string"}}},
            "content": content,
        },
        "200": {
            "description": "The same request created it before.",
            "headers": {"Idempotency-Replayed": {"schema": {"const": "true"}}},
            "content": content,
        },
        "default": _PROBLEM,
    }


def _problem_schema() -> dict[str, Any]:
    violation = {
        "type": "object",
        "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
        "required": ["field", "message"],
    }
    return {
        "type": "object",
        "properties": {
            "type": {"type": "string", "format": "uri"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string", "enum": [reason.value for reason in Reason]},
            "errors": {"type": "array", "items": violation},
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
            "trace_id": {"type": "string"},
        },
        "required": ["type", "title", "status", "detail", "code", "errors", "metadata", "trace_id"],
        "x-status-of-code": {reason.value: http_status(reason) for reason in Reason},
    }
