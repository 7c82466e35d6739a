"""Protobuf messages → JSON values, compiled once per message type from its descriptor.

The canonical JSON with the contract's names: fields without presence always, others when they are set; 64-bit
integers as strings, enums as names, times as RFC 3339, bytes as base64. Each type becomes one Python function,
generated as source like a dataclass' methods are: a third of the time that closures over field plans take, and this
is the hottest code of the gateway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor import FieldDescriptor

from holdfast.gateway import json_values as values
from holdfast.gateway.json_reader import UnsupportedField, is_map

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

_SPECIAL: Final[dict[str, Callable[[Any], Any]]] = {
    "google.protobuf.Timestamp": values.write_time,
    "google.protobuf.FieldMask": values.write_mask,
    "google.protobuf.Struct": values.write_struct,
}
_PLAIN: Final = frozenset(
    {
        FieldDescriptor.TYPE_STRING,
        FieldDescriptor.TYPE_BOOL,
        FieldDescriptor.TYPE_INT32,
        FieldDescriptor.TYPE_UINT32,
    }
)
_WIDE: Final = frozenset({FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT64})


class JsonWriter:
    """The compiled writers of message types. One for a process; compiling is lazy and kept."""

    def __init__(self) -> None:
        self._writers: dict[str, Callable[[Any], dict[str, Any]]] = {}
        self._compiling: set[str] = set()

    def of(self, descriptor: Descriptor) -> Callable[[Any], dict[str, Any]]:
        """Give the function that turns a message of this type into JSON values."""
        name = descriptor.full_name
        if name not in self._writers:
            if name in self._compiling:
                raise UnsupportedField(f"{name} contains itself")
            self._compiling.add(name)
            self._writers[name] = _compile(self, descriptor)
        return self._writers[name]

    def write(self, message: Message) -> dict[str, Any]:
        """Turn a message into JSON values."""
        descriptor: Any = message.DESCRIPTOR  # protobuf's stubs name two classes for the same thing
        return self.of(descriptor)(message)


class _Names(dict[int, "str | int"]):
    """Names of an enum's numbers; a number that this version has no name for stays one."""

    def __missing__(self, number: int) -> int:
        return number


def _compile(writers: JsonWriter, descriptor: Descriptor) -> Callable[[Any], dict[str, Any]]:
    scope: dict[str, Any] = {}
    always: list[str] = []
    lines: list[str] = []
    for field in descriptor.fields:
        expression = _expression(writers, field, scope)
        if field.has_presence:
            lines.append(f"    if has({field.name!r}):\n        result[{field.name!r}] = {expression}")
        elif lines:
            lines.append(f"    result[{field.name!r}] = {expression}")
        else:
            always.append(f"{field.name!r}: {expression}")
    source = "\n".join(
        [
            "def write(message):",
            "    has = message.HasField",
            f"    result = {{{', '.join(always)}}}",
            *lines,
            "    return result",
        ]
    )
    # Built from the descriptors of our own contract, whose names protoc has checked to be identifiers.
    exec(compile(source, f"<writer of {descriptor.full_name}>", "exec"), scope)  # noqa: S102 - see above: the source is ours
    write: Callable[[Any], dict[str, Any]] = scope["write"]
    return write


def _expression(writers: JsonWriter, field: FieldDescriptor, scope: dict[str, Any]) -> str:
    """Give the Python expression of a field's JSON value; what it needs is put into `scope`."""
    value = f"message.{field.name}"
    if is_map(field):
        return f"dict({value})"
    one = _single(writers, field, scope)
    if field.is_repeated:  # a slice is a list that is made at once; going through the container asks it for each item
        return f"{value}[:]" if one == "{}" else f"[{one.format('item')} for item in {value}[:]]"
    return one.format(value)


def _single(writers: JsonWriter, field: FieldDescriptor, scope: dict[str, Any]) -> str:
    """Give the expression of one value with `{}` in its place."""
    helper = f"of_{field.name}"
    if field.type in _PLAIN:
        return "{}"
    if field.type in _WIDE:
        return "str({})"
    if field.type == FieldDescriptor.TYPE_BYTES:
        scope[helper] = values.write_bytes
        return helper + "({})"
    if field.type == FieldDescriptor.TYPE_ENUM and field.enum_type is not None:
        scope[helper] = _Names({value.number: value.name for value in field.enum_type.values})
        return helper + "[{}]"
    if field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type is not None:
        special = _SPECIAL.get(field.message_type.full_name)
        scope[helper] = special or writers.of(field.message_type)
        return helper + "({})"
    raise UnsupportedField(f"{field.full_name} has a kind of field without a JSON form")
