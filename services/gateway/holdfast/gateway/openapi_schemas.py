"""Message types as JSON schemas: the JSON that the codec reads and writes, with the bounds that protovalidate holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor

from holdfast.api.common.v1 import policy_pb2
from holdfast.common.protobuf import has_behavior
from holdfast.gateway.json_reader import UnsupportedField, is_map

if TYPE_CHECKING:
    from collections.abc import Container

    from google.protobuf.descriptor import Descriptor, EnumDescriptor

PREFIX: Final = "#/components/schemas/"

_WELL_KNOWN: Final[dict[str, dict[str, Any]]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.FieldMask": {"type": "string", "description": "Field names separated by commas."},
    "google.protobuf.Struct": {"type": "object", "additionalProperties": True},
}
_SCALARS: Final[dict[int, dict[str, Any]]] = {
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "minimum": 0},
    FieldDescriptor.TYPE_INT64: {"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$"},
    FieldDescriptor.TYPE_UINT64: {"type": "string", "format": "uint64", "pattern": "^[0-9]{1,20}$"},
}
_BOUNDS: Final = {"gte": "minimum", "lte": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}


class Schemas:
    """The component schemas that a document refers to, collected as they are referred to."""

    def __init__(self) -> None:
        self._components: dict[str, dict[str, Any]] = {}
        self._names: dict[str, str] = {}

    def components(self) -> dict[str, dict[str, Any]]:
        """Give every schema referred to, by name."""
        return dict(sorted(self._components.items()))

    def reference(self, descriptor: Descriptor) -> dict[str, Any]:
        """Refer to a message type, adding it and what it refers to."""
        name = self._name(descriptor)
        if name not in self._components:
            self._components[name] = {}  # entered first, should a type contain itself
            self._components[name] = self.message(descriptor)
        return {"$ref": PREFIX + name}

    def message(self, descriptor: Descriptor, *, without: Container[str] = ()) -> dict[str, Any]:
        """Give a message type's own schema, without some of its fields."""
        properties = {field.name: field_schema(field, self) for field in descriptor.fields if field.name not in without}
        return {"type": "object", "properties": properties, "additionalProperties": False}

    def _name(self, descriptor: Descriptor) -> str:
        """Give the short name of a type; two types of one short name get their service's in front."""
        parts = descriptor.full_name.split(".")
        short = ".".join(parts[4:])  # holdfast.api.<service>.v1.<Name>
        holder = self._names.setdefault(short, descriptor.full_name)
        return short if holder == descriptor.full_name else f"{parts[2]}.{short}"


def field_schema(field: FieldDescriptor, schemas: Schemas | None = None) -> dict[str, Any]:
    """Give a field's schema; messages by reference, so `schemas` is needed where the field is one."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    if is_map(field):
        return {"type": "object", "additionalProperties": {"type": "string"}}
    if field.is_repeated:
        schema: dict[str, Any] = {"type": "array", "items": _single(field, rules.repeated.items, schemas)}
        if rules.repeated.HasField("min_items"):
            schema["minItems"] = rules.repeated.min_items
        if rules.repeated.HasField("max_items"):
            schema["maxItems"] = rules.repeated.max_items
        if rules.repeated.unique:
            schema["uniqueItems"] = True
    else:
        schema = _single(field, rules, schemas)
    if has_behavior(field, "OUTPUT_ONLY"):
        schema["readOnly"] = True
    hint = field.GetOptions().Extensions[policy_pb2.hint]
    if hint.formerly:
        schema["x-formerly"] = list(hint.formerly)
    if hint.decimal:
        schema["type"] = [schema["type"], "number"]
    return schema


def _single(field: FieldDescriptor, rules: Any, schemas: Schemas | None) -> dict[str, Any]:
    message = field.message_type
    if message is not None:
        known = _WELL_KNOWN.get(message.full_name)
        if known is not None:
            return dict(known)
        if schemas is None:
            raise UnsupportedField(f"{field.full_name} has no schema without components")
        return schemas.reference(message)
    if field.enum_type is not None:
        return _enum(field.enum_type)
    schema = dict(_SCALARS[field.type])
    if field.type == FieldDescriptor.TYPE_STRING and rules.HasField("string"):
        _string_bounds(rules.string, schema)
    kind = {FieldDescriptor.TYPE_INT32: "int32"}.get(field.type)
    if kind is not None and rules.HasField(kind):
        bounds = getattr(rules, kind)
        schema.update({word: getattr(bounds, name) for name, word in _BOUNDS.items() if bounds.HasField(name)})
    return schema


def _string_bounds(rules: Any, schema: dict[str, Any]) -> None:
    if rules.HasField("min_len"):
        schema["minLength"] = rules.min_len
    if rules.HasField("max_len"):
        schema["maxLength"] = rules.max_len
    if rules.HasField("pattern"):
        schema["pattern"] = rules.pattern
    if rules.uuid:
        schema["format"] = "uuid"
    if rules.uri:
        schema["format"] = "uri"


def _enum(enum: EnumDescriptor) -> dict[str, Any]:
    return {"type": "string", "enum": [value.name for value in enum.values]}
