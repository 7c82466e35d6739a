"""A field in words: its type, its bounds, who may set it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor

from docs.generating.text import link, one_line, table
from holdfast.api.common.v1 import policy_pb2
from holdfast.common.protobuf import has_behavior

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, EnumDescriptor

    from tests.contract.contracts import Contracts

REASONS: Final = "holdfast.api.common.v1.Error.Reason"
"""The one enum with a page of its own."""

_WELL_KNOWN: Final = {
    "google.protobuf.Timestamp": "timestamp",
    "google.protobuf.FieldMask": "field mask",
    "google.protobuf.Struct": "free-form object",
}
_SCALARS: Final = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_BYTES: "bytes",
}
_FORMATS: Final = ("uuid", "email", "uri", "hostname", "ip")


def short_name(descriptor: Descriptor | EnumDescriptor) -> str:
    """Give a type's name within its package: `Hold.State`."""
    return ".".join(descriptor.full_name.split(".")[4:])  # holdfast.api.<service>.v1.<Name>


def page_of(descriptor: Descriptor | EnumDescriptor) -> str:
    """Give the page that describes a type."""
    if descriptor.file.name.endswith("/messages.proto"):
        return "messages.md"
    return f"{descriptor.full_name.split('.')[2]}.md"


def type_link(descriptor: Descriptor | EnumDescriptor, *, here: str) -> str:
    """Link to where a type is described."""
    name = short_name(descriptor)
    if descriptor.full_name == REASONS:
        return link(name, "errors.md", "Errors", here=here)
    return link(name, page_of(descriptor), name, here=here)


def field_table(contracts: Contracts, message: Descriptor, *, here: str) -> str:
    """Give the table of a message's fields, and the rules over several of them."""
    if not message.fields:
        return "No fields."
    rows = [(f"`{field.name}`", type_text(field, here=here), _meaning(contracts, field)) for field in message.fields]
    rules = [f"- Rule: {rule}." for rule in _message_rules(message)]
    return "\n\n".join([table(("field", "type and bounds", "meaning"), rows), *(["\n".join(rules)] if rules else [])])


def type_text(field: FieldDescriptor, *, here: str) -> str:
    """Give a field's type with its bounds: `string, UUID`, `list of Hold.State, at most 6`."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        value = _single(entry.fields_by_name["value"], here=here)
        most = [f"at most {rules.map.max_pairs}"] if rules.map.HasField("max_pairs") else []
        return ", ".join([f"map of string to {value}", *most])
    if field.is_repeated:
        items = rules.repeated
        parts = [f"list of {_single(field, here=here)}", *_bounds(items.items)]
        if items.HasField("min_items") and items.min_items:
            parts.append(f"at least {items.min_items}")
        if items.HasField("max_items"):
            parts.append(f"at most {items.max_items:,}")
        if items.unique:
            parts.append("no two equal")
    else:
        parts = [_single(field, here=here), *_bounds(rules)]
        if rules.required or _needed(field, rules):
            parts.append("**required**")
    oneof = field.containing_oneof
    if oneof is not None and len(oneof.fields) > 1:
        parts.append(f"one of `{oneof.name}`")
    return ", ".join(parts)


def _needed(field: FieldDescriptor, rules: Any) -> bool:
    """Tell whether the rules refuse the field's absence: its empty value breaks them."""
    if field.has_presence or rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE or not rules.HasField("string"):
        return False
    text = rules.string
    return bool(text.uuid or text.min_len or text.len or text.email or text.uri)


def _single(field: FieldDescriptor, *, here: str) -> str:
    message = field.message_type
    if message is not None:
        known = _WELL_KNOWN.get(message.full_name)
        return known or type_link(message, here=here)
    if field.enum_type is not None:
        return type_link(field.enum_type, here=here)
    return _SCALARS[field.type]


def _bounds(rules: Any) -> list[str]:
    kind = rules.WhichOneof("type")
    if kind == "string":
        return list(_string_bounds(rules.string))
    if kind in {"int32", "int64", "uint32", "uint64"}:
        return list(_number_bounds(getattr(rules, kind)))
    if kind == "bytes" and rules.bytes.HasField("max_len"):
        return [f"at most {rules.bytes.max_len:,} bytes"]
    return []


def _string_bounds(rules: Any) -> Iterator[str]:
    for name in _FORMATS:
        if rules.WhichOneof("well_known") == name:
            yield name.upper()
    low = rules.min_len if rules.HasField("min_len") else 0
    if rules.HasField("len"):
        yield f"{rules.len} characters"
    elif rules.HasField("max_len"):
        yield f"{low} to {rules.max_len:,} characters" if low else f"at most {rules.max_len:,} characters"
    elif low:
        yield f"at least {low} characters"
    if rules.HasField("pattern"):
        yield f"`{one_line(rules.pattern)}`"
    if getattr(rules, "in"):
        yield "one of " + " ".join(f"`{value}`" for value in getattr(rules, "in"))


def _number_bounds(rules: Any) -> Iterator[str]:
    low, high = rules.WhichOneof("greater_than"), rules.WhichOneof("less_than")
    if low == "gte" and high == "lte":
        yield f"{rules.gte:,} to {rules.lte:,}"
        return
    signs = {"gt": ">", "gte": "≥", "lt": "<", "lte": "≤"}
    yield from (f"{signs[name]} {getattr(rules, name):,}" for name in (low, high) if name)


def _meaning(contracts: Contracts, field: FieldDescriptor) -> str:
    parts = [one_line(contracts.comments.get(field.full_name, ""))]
    hint = field.GetOptions().Extensions[policy_pb2.hint]
    if has_behavior(field, "OUTPUT_ONLY"):
        parts.append("*Output only.*")
    if has_behavior(field, "IMMUTABLE"):
        parts.append("*Immutable.*")
    if hint.not_built:
        parts.append("**Not built yet: refused with 501.**")
    if hint.instead:
        parts.append(f"Instead: {one_line(hint.instead)}.")
    if hint.formerly:
        parts.append("Formerly " + ", ".join(f"`{name}`" for name in hint.formerly) + ".")
    return " ".join(parts)


def _message_rules(message: Descriptor) -> Iterator[str]:
    for rule in message.GetOptions().Extensions[validate_pb2.message].cel:
        yield one_line(rule.message or rule.id)
    for oneof in message.oneofs:
        if oneof.GetOptions().Extensions[validate_pb2.oneof].required:
            yield "exactly one of " + ", ".join(f"`{field.name}`" for field in oneof.fields) + " is set"
