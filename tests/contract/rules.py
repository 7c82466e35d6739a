"""What every contract of the mesh keeps. Each rule returns what breaks it, in words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc
from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor

from holdfast.api.common.v1 import policy_pb2
from holdfast.common.permissions import ALL

from .contracts import Binding, Contracts, bindings, field_at, is_output_only, policy, rest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, MethodDescriptor

Rule = Callable[[Contracts], list[str]]

MESH = frozenset({"gateway", "events", "capacity", "pricing"})
READS = ("Get", "List")
PAGE_SIZE_MAX = 200
REQUEST_ID_LENGTH_MAX = 255
VARIABLE = re.compile(r"\{([^}=]+)(?:=[^}]*)?\}")
VERB = re.compile(r"(?<=\}):[a-z][A-Za-z]*$")
LITERAL = re.compile(r"^[a-z][a-z0-9-]*(:[a-z][A-Za-z]*)?$")
REASON = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*\b")
SHORTEST_REASON = 8

# Paged by the version that it was read up to, which never moves: a token would say less.
PAGED_BY_VERSION = frozenset({"holdfast.api.capacity.v1.InventoryService.ListInventoryChanges"})
# The ticketing platforms' paths that are kept beside ours.
OLDER_PATHS = ("/api/event",)

# Fields of requests without a bound of their own, each with what bounds them instead.
BOUNDED_ELSEWHERE = {
    "holdfast.api.events.v1.EventControls": "made by events, accepted from its certificate only",
    "holdfast.api.common.v1.Principal": "made by the gateway, accepted from its certificate only",
    "google.protobuf.Timestamp": "a point in time, 12 bytes",
    "google.protobuf.FieldMask": "checked against the fields of the message it belongs to",
    "google.protobuf.Struct": "its size as JSON is checked by the service, and stated in the field's comment",
}
BOUNDED_TYPES = frozenset({FieldDescriptor.TYPE_BOOL, FieldDescriptor.TYPE_ENUM})


def is_read(method: MethodDescriptor) -> bool:
    return method.name.startswith(READS)


def policies(contracts: Contracts) -> list[str]:
    """Every RPC says who may call it, in exactly one way."""
    found = []
    for method in contracts.methods():
        if not method.GetOptions().HasExtension(policy_pb2.policy):
            found.append(f"{method.full_name} has no policy")
            continue
        rule = policy(method)
        ways = [bool(rule.permission), rule.public, bool(rule.callers)]
        if ways.count(True) != 1:
            found.append(f"{method.full_name} has {ways.count(True)} of permission, public, callers")
        found += [f"{method.full_name}: no mesh identity {caller}" for caller in rule.callers if caller not in MESH]
        if rule.callers and bindings(method):
            found.append(f"{method.full_name} is for the mesh only, but has a REST path")
    return found


def permissions(contracts: Contracts) -> list[str]:
    """Every permission that a policy names is in the table of roles."""
    return [
        f"{method.full_name}: no permission {policy(method).permission} in common/permissions.py"
        for method in contracts.methods()
        if policy(method).permission and policy(method).permission not in ALL
    ]


def request_ids(contracts: Contracts) -> list[str]:
    """Every mutation can be repeated safely: it takes a `request_id`, or says why it needs none."""
    found = []
    for method in contracts.methods():
        field = method.input_type.fields_by_name.get("request_id")
        reason = policy(method).no_request_id
        if is_read(method):
            if field is not None or reason:
                found.append(f"{method.full_name} reads, but speaks of request ids")
        elif (field is None) == (not reason):
            found.append(f"{method.full_name} needs either a request_id or a no_request_id reason")
        elif field is not None and _bounds(field).string.max_len != REQUEST_ID_LENGTH_MAX:
            found.append(f"{method.full_name}: request_id is not limited to {REQUEST_ID_LENGTH_MAX} characters")
    return found


def pages(contracts: Contracts) -> list[str]:
    """Every list is paged, by 200 at most."""
    found = []
    for method in contracts.methods():
        if not method.name.startswith("List"):
            continue
        request, response = method.input_type.fields_by_name, method.output_type.fields_by_name
        size = request.get("page_size")
        if size is None or not 0 < _bounds(size).int32.lte <= PAGE_SIZE_MAX:
            found.append(f"{method.full_name}: page_size is missing or may exceed {PAGE_SIZE_MAX}")
        if not any(field.is_repeated for field in response.values()):
            found.append(f"{method.full_name} lists nothing")
        if method.full_name in PAGED_BY_VERSION:
            if "after_version" not in request or "inventory_version" not in response:
                found.append(f"{method.full_name} is not paged by version")
            continue
        if "page_token" not in request:
            found.append(f"{method.full_name} takes no page_token")
        pagination = response.get("pagination")
        if pagination is None or not _is(pagination, "holdfast.api.common.v1.Pagination"):
            found.append(f"{method.full_name} answers no pagination")
    return found


def paths(contracts: Contracts) -> list[str]:
    """Every REST path is versioned, belongs to one RPC, and is made of fields that the request has."""
    found = []
    seen: Counter[tuple[str, str]] = Counter()
    for method in contracts.methods():
        for binding in bindings(method):
            seen[binding.verb, VARIABLE.sub("*", binding.path)] += 1
            where = f"{method.full_name}: {binding.verb} {binding.path}"
            found += [f"{where} {fault}" for fault in (*_path_faults(method, binding), *_body_faults(method, binding))]
    found += [f"{verb} {path} belongs to {count} RPCs" for (verb, path), count in seen.items() if count > 1]
    return found


def locations(contracts: Contracts) -> list[str]:
    """Every Location that a creation answers is a path that can be read, filled from the response."""
    readable = {
        VARIABLE.sub("*", binding.path)
        for method in contracts.methods()
        for binding in bindings(method)
        if binding.verb == "GET"
    }
    found = []
    for method in contracts.methods():
        location = rest(method).location
        if method.name.startswith(("Create", "Place")) != bool(location):
            found.append(f"{method.full_name}: a creation answers its Location, nothing else does")
        if location and VARIABLE.sub("*", location) not in readable:
            found.append(f"{method.full_name}: no GET reads {location}")
        for variable in VARIABLE.findall(location):
            field = field_at(method.output_type, variable)
            if field is None or field.type != FieldDescriptor.TYPE_STRING:
                found.append(f"{method.full_name}: the response has no string {variable}")
        if rest(method).no_content and method.output_type.fields:
            found.append(f"{method.full_name} answers nothing over REST, but has fields")
    return found


def reasons(contracts: Contracts) -> list[str]:
    """Every reason that a comment names after "Fails with" exists, and every RPC says how it fails."""
    [reason] = [enum for enum in contracts.enums() if enum.full_name.endswith("Error.Reason")]
    known = {value.name for value in reason.values}
    others = {value.name for enum in contracts.enums() for value in enum.values}
    others |= {code.name for code in grpc.StatusCode}
    found = []
    for method in contracts.methods():
        comment = contracts.comments.get(method.full_name, "")
        if not re.search(r"\bfails\b", comment, re.IGNORECASE):
            found.append(f"{method.full_name} does not say how it fails")
        for part in re.findall(r"Fails with(.*?)(?:\n\s*\n|$)", comment, re.DOTALL):
            named = [name for name in REASON.findall(re.sub(r"\([^)]*\)", "", part)) if len(name) >= SHORTEST_REASON]
            found += [f"{method.full_name} names no reason: {name}" for name in named if name not in known]
    for name, comment in contracts.comments.items():
        mentioned = {word for word in REASON.findall(re.sub(r"`[^`]*`", "", comment)) if "_" in word}
        found += [f"{name} mentions {word}, which nothing has" for word in sorted(mentioned - known - others)]
    return found


def zeros(contracts: Contracts) -> list[str]:
    """Every enum's zero means that nothing was said."""
    return [
        f"{enum.full_name} has no …_UNSPECIFIED = 0"
        for enum in contracts.enums()
        if not enum.values_by_number.get(0) or not enum.values_by_number[0].name.endswith("_UNSPECIFIED")
    ]


def bounds(contracts: Contracts) -> list[str]:
    """Every field that a caller fills has a bound."""
    found = []
    for method in contracts.methods():
        for path, field in _filled(method.input_type, method.input_type.name, ()):
            if why := _unbounded(contracts, field):
                found.append(f"{method.full_name}: {path}: {why}")
    return found


def older_names(contracts: Contracts) -> list[str]:
    """A name that older clients use is not also the name of another field."""
    found = []
    for message in contracts.messages():
        former = Counter(
            name for field in message.fields for name in field.GetOptions().Extensions[policy_pb2.hint].formerly
        )
        for name, count in former.items():
            if count > 1 or name in message.fields_by_name:
                found.append(f"{message.full_name}: {name} stands for more than one field")
    return found


def comments(contracts: Contracts) -> list[str]:
    """Whatever an error carries is shown by an example."""
    return [
        f"{name} shows no metadata"
        for enum in contracts.enums()
        if enum.full_name.endswith("Error.Reason")
        for value in enum.values
        if value.number
        for name in [f"{enum.full_name}.{value.name}"]
        if not re.search(r"Metadata: `\{.*\}`", contracts.comments.get(name, ""))
    ]


def _is(field: FieldDescriptor, message: str) -> bool:
    return field.message_type is not None and field.message_type.full_name == message


def _bounds(field: FieldDescriptor) -> validate_pb2.FieldRules:
    return field.GetOptions().Extensions[validate_pb2.field]


def _path_faults(method: MethodDescriptor, binding: Binding) -> Iterator[str]:
    if not binding.path.startswith(("/api/v1/", *OLDER_PATHS)):
        yield "is not below /api/v1"
    for segment in binding.path.strip("/").split("/"):
        if not VARIABLE.fullmatch(VERB.sub("", segment)) and not LITERAL.match(segment):
            yield f"has {segment!r}, neither lower-case-with-hyphens nor a field in braces, with or without :verb"
    for variable in VARIABLE.findall(binding.path):
        field = field_at(method.input_type, variable)
        if field is None or field.is_repeated or field.message_type is not None:
            yield f"names {variable}, which is no single field of the request"


def _body_faults(method: MethodDescriptor, binding: Binding) -> Iterator[str]:
    if binding.body not in {"", "*"} and binding.body not in method.input_type.fields_by_name:
        yield f"has no body field {binding.body}"
    if binding.verb in {"GET", "DELETE"} and binding.body:
        yield "takes a body"
    for field in method.input_type.fields if not binding.body else ():
        kind = field.message_type
        if kind is not None and kind.full_name not in {"google.protobuf.Timestamp", "google.protobuf.FieldMask"}:
            yield f"has {field.name}, which does not fit a query"


def _filled(message: Descriptor, path: str, above: tuple[str, ...]) -> Iterator[tuple[str, FieldDescriptor]]:
    """Every field below a message that a caller may set, with its path."""
    if message.full_name in BOUNDED_ELSEWHERE or message.full_name in above:
        return
    for field in message.fields:
        if is_output_only(field):
            continue
        where = f"{path}.{field.name}"
        yield where, field
        if field.message_type is not None:
            yield from _filled(field.message_type, where, (*above, message.full_name))


def _unbounded(contracts: Contracts, field: FieldDescriptor) -> str:
    """Say why a field has no bound; empty if it has one."""
    rules = _bounds(field)
    if field.is_repeated:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return "" if rules.map.HasField("max_pairs") else "a map without max_pairs"
        if not rules.repeated.HasField("max_items"):
            return "a list without max_items"
        rules = rules.repeated.items
    kind = field.message_type
    if kind is None:
        return "" if field.type in BOUNDED_TYPES else _unbounded_scalar(field, rules)
    if kind.full_name != "google.protobuf.Struct":
        return ""
    comment = contracts.comments.get(field.full_name, "")
    return "" if " kB" in comment else "a Struct whose comment states no size"


def _unbounded_scalar(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> str:
    kind = rules.WhichOneof("type")
    if kind == "string":
        return _unbounded_string(rules.string)
    if kind in {"int32", "int64", "uint32", "uint64"}:
        of = getattr(rules, kind)
        below = of.WhichOneof("greater_than") is not None
        above = of.WhichOneof("less_than") is not None or field.name.endswith("_version")
        return "" if below and above else "a number without both ends"
    return f"no bound that a rule here knows: {kind}"


def _unbounded_string(of: validate_pb2.StringRules) -> str:
    if of.HasField("max_len") or of.HasField("len") or of.WhichOneof("well_known") == "uuid":
        return ""
    if not of.HasField("pattern"):
        return "a string without a length"
    whole = of.pattern.startswith("^") and of.pattern.endswith("$")
    endless = re.search(r"(?<!\\)[*+]|\{\d+,\}", re.sub(r"\[[^]]*\]", "", of.pattern))
    return "" if whole and not endless else "a pattern that matches strings of any length"


RULES: tuple[Rule, ...] = (
    policies,
    permissions,
    request_ids,
    pages,
    paths,
    locations,
    reasons,
    zeros,
    bounds,
    older_names,
    comments,
)
