"""JSON objects → protobuf messages, compiled once per message type from its descriptor.

Reading collects every fault with the path of its field (up to `FAULTS_MAX`) instead of stopping at the first.
A contract that uses a kind of field without a JSON form here is refused when it is compiled, not when it is called.
`json_writer.py` is the other direction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from google.protobuf.descriptor import FieldDescriptor

from holdfast.api.common.v1 import policy_pb2
from holdfast.common.errors import DomainError, FieldViolation, Reason
from holdfast.gateway import json_values as values
from holdfast.gateway.json_text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.descriptor import Descriptor

FAULTS_MAX: Final = 20
"""Faults listed in one answer."""

Path = tuple[Any, str] | None
"""Where a value stands, innermost first: linked pairs, so that a path costs nothing until a fault needs it."""

_SPECIAL: Final[dict[str, Callable[[Any, Any], None]]] = {
    "google.protobuf.Timestamp": lambda value, into: _set_time(into, values.read_time(value)),
    "google.protobuf.FieldMask": lambda value, into: into.paths.extend(values.read_mask(value)),
    "google.protobuf.Struct": values.read_struct,
}
_RANGES: Final = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}


Reader: TypeAlias = "Callable[[Any, Any, Path, Reading], None]"


class UnsupportedField(TypeError):  # noqa: N818 - it names the field, like TypeError names its type
    """The contract uses a kind of field that has no JSON form here yet."""


class Reading:
    """The faults found in one request so far."""

    __slots__ = ("faults",)

    def __init__(self) -> None:
        self.faults: list[FieldViolation] = []

    def refuse(self, path: Path, message: str) -> None:
        """Note a fault; those beyond the limit are dropped, the request is refused anyway."""
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(FieldViolation(field=path_text(path), message=message))

    def raise_faults(self) -> None:
        """Raise VALIDATION_FAILED with every fault; nothing if there is none."""
        if self.faults:
            first = self.faults[0]
            text = f"{first.field}: {first.message}" if first.field else first.message
            raise DomainError(Reason.VALIDATION_FAILED, text, violations=self.faults)


def path_text(path: Path) -> str:
    """Give a path as the contract writes it: `lines[2].quantity`."""
    parts: list[str] = []
    while path is not None:
        path, name = path
        parts.append(name)
    return "".join(reversed(parts)).removeprefix(".")


class JsonReader:
    """The compiled readers of message types. One for a process; compiling is lazy and kept."""

    def __init__(self) -> None:
        self._readers: dict[str, Reader] = {}
        self._compiling: set[str] = set()

    def of(self, descriptor: Descriptor) -> Reader:
        """Give the function (value, message, path, reading) that fills a message of this type from a JSON value."""
        name = descriptor.full_name
        if name not in self._readers:
            if name in self._compiling:
                raise UnsupportedField(f"{name} contains itself")
            self._compiling.add(name)
            self._readers[name] = _compile(self, descriptor)
        return self._readers[name]


def _compile(readers: JsonReader, descriptor: Descriptor) -> Reader:
    fields: dict[str, tuple[str, Reader, str | None]] = {}
    for field in descriptor.fields:
        oneof = field.containing_oneof
        group = oneof.name if oneof is not None and len(oneof.fields) > 1 else None
        entry = (field.name, field_reader(readers, field), group)
        fields[field.name] = fields[field.json_name] = entry
    unknown = unknown_names(descriptor)
    find = fields.get

    def read(value: Any, into: Any, path: Path, reading: Reading) -> None:
        if type(value) is not dict:
            reading.refuse(path, "must be an object")
            return
        chosen: dict[str, str] | None = None
        for key, item in value.items():
            entry = find(key)
            if entry is None:
                reading.refuse((path, "." + printable(key)), unknown(key))
                continue
            name, apply, group = entry
            if name != key and name in value:
                reading.refuse((path, "." + name), f"given twice, as {name} and as {key}")
                continue
            if item is None:
                continue  # as if it were left out
            if group is not None:
                chosen = chosen or {}
                if chosen.setdefault(group, name) != name:
                    reading.refuse((path, "." + name), f"cannot be combined with {chosen[group]}")
                    continue
            apply(into, item, path, reading)

    return read


def unknown_names(descriptor: Descriptor) -> Callable[[str], str]:
    """Make the answer to a name that a message does not have: its present name where the contract knows the old one."""
    formerly = {
        old: field.name
        for field in descriptor.fields
        for old in field.GetOptions().Extensions[policy_pb2.hint].formerly
    }

    def answer(key: str) -> str:
        present = formerly.get(key)
        return f"{key} is called {present}" if present else "is not a field of this request"

    return answer


def field_reader(readers: JsonReader, field: FieldDescriptor) -> Reader:
    """Make the function (message, value, path, reading) that sets one field from a JSON value."""
    step = "." + field.name
    name = field.name
    if is_map(field):
        return _map_reader(field)
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        fill = _message_filler(readers, field)
        if field.is_repeated:
            return _list_of_messages(name, step, fill)

        def apply_message(into: Any, value: Any, path: Path, reading: Reading) -> None:
            child = getattr(into, name)
            child.SetInParent()  # an empty object is present
            fill(value, child, (path, step), reading)

        return apply_message
    read = scalar_reader(field)
    if field.is_repeated:
        return _list_of_scalars(name, step, read)

    def apply_scalar(into: Any, value: Any, path: Path, reading: Reading) -> None:
        try:
            setattr(into, name, read(value))
        except values.Refused as refused:
            reading.refuse((path, step), str(refused))

    return apply_scalar


def scalar_reader(field: FieldDescriptor) -> Callable[[Any], Any]:
    """Give the reader of a field's single values."""
    if field.type == FieldDescriptor.TYPE_STRING:
        decimal = field.GetOptions().Extensions[policy_pb2.hint].decimal
        return values.read_decimal if decimal else values.read_string
    if field.type == FieldDescriptor.TYPE_BOOL:
        return values.read_bool
    if field.type == FieldDescriptor.TYPE_BYTES:
        return values.read_bytes
    if field.type == FieldDescriptor.TYPE_ENUM and field.enum_type is not None:
        return values.enum_reader(field.enum_type)
    if field.type in _RANGES:
        return values.integer_reader(*_RANGES[field.type])
    raise UnsupportedField(f"{field.full_name} has a kind of field without a JSON form")


def is_map(field: FieldDescriptor) -> bool:
    """Tell whether a field is a map."""
    message = field.message_type
    return message is not None and message.has_options and message.GetOptions().map_entry


def _message_filler(readers: JsonReader, field: FieldDescriptor) -> Reader:
    if field.message_type is None:
        raise UnsupportedField(field.full_name)
    special = _SPECIAL.get(field.message_type.full_name)
    if special is None:
        return readers.of(field.message_type)
    fill_special = special

    def fill(value: Any, into: Any, path: Path, reading: Reading) -> None:
        try:
            fill_special(value, into)
        except values.Refused as refused:
            reading.refuse(path, str(refused))

    return fill


def _list_of_messages(name: str, step: str, fill: Reader) -> Reader:
    def apply(into: Any, value: Any, path: Path, reading: Reading) -> None:
        if type(value) is not list:
            reading.refuse((path, step), "must be an array")
            return
        items = getattr(into, name)
        for index, item in enumerate(value):
            fill(item, items.add(), ((path, step), f"[{index}]"), reading)

    return apply


def _list_of_scalars(name: str, step: str, read: Callable[[Any], Any]) -> Reader:
    def apply(into: Any, value: Any, path: Path, reading: Reading) -> None:
        if type(value) is not list:
            reading.refuse((path, step), "must be an array")
            return
        items = getattr(into, name)
        for index, item in enumerate(value):
            try:
                items.append(read(item))
            except values.Refused as refused:
                reading.refuse(((path, step), f"[{index}]"), str(refused))

    return apply


def _map_reader(field: FieldDescriptor) -> Reader:
    name, step = field.name, "." + field.name
    entry = field.message_type
    if entry is None or entry.fields_by_name["key"].type != FieldDescriptor.TYPE_STRING:
        raise UnsupportedField(f"{field.full_name} is a map whose keys are not strings")
    read = scalar_reader(entry.fields_by_name["value"])

    def apply(into: Any, value: Any, path: Path, reading: Reading) -> None:
        if type(value) is not dict:
            reading.refuse((path, step), "must be an object")
            return
        items = getattr(into, name)
        for key, item in value.items():
            try:
                items[values.read_string(key)] = read(item)
            except values.Refused as refused:
                reading.refuse(((path, step), f"[{printable(key)}]"), str(refused))

    return apply


def _set_time(into: Any, time: tuple[int, int]) -> None:
    into.seconds, into.nanos = time
