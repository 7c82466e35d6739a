"""Query strings → fields of a request, compiled once per request type.

Names are field paths (`page_size`, `filter.name`; lowerCamelCase too). Scalars, enums, times and masks are read from
text; a repeated field is repeated: `states=ON_SALE&states=SOLD_OUT`. What the request does not have is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from google.protobuf.descriptor import FieldDescriptor

from holdfast.gateway.json_reader import Reading, field_reader, is_map, unknown_names
from holdfast.gateway.json_text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from google.protobuf.descriptor import Descriptor

    from holdfast.gateway.json_reader import JsonReader

PARAMETERS_MAX: Final = 100
DEPTH_MAX: Final = 4
"""Dots in a parameter's name, at most, plus one."""

_TEXTUAL: Final = frozenset({"google.protobuf.Timestamp", "google.protobuf.FieldMask"})


class QueryReader:
    """Reads the query parameters of one request type; fields that the path or the body sets are left out."""

    def __init__(self, readers: JsonReader, descriptor: Descriptor, *, bound: Container[str]) -> None:
        self._parameters: dict[str, tuple[str, bool, Callable[[Any, list[str], Reading], None]]] = {}
        for names, aliases, field in query_fields(descriptor, bound=bound):
            name = ".".join(names)
            entry = (name, field.is_repeated, _setter(readers, names, field))
            self._parameters[name] = self._parameters[".".join(aliases)] = entry
        self._unknown = unknown_names(descriptor)

    def read(self, query: bytes, into: Any, reading: Reading) -> None:
        """Set the fields that a query string names; faults go to `reading`."""
        if not query:
            return
        try:
            pairs = parse_qsl(
                query.decode("ascii"),
                keep_blank_values=True,
                strict_parsing=True,
                errors="strict",
                max_num_fields=PARAMETERS_MAX,
            )
        except ValueError:  # of which UnicodeDecodeError is one
            reading.refuse(None, f"the query string cannot be read, or has more than {PARAMETERS_MAX} parameters")
            return
        given: dict[str, list[str]] = {}
        for key, value in pairs:
            entry = self._parameters.get(key)
            if entry is None:
                reading.refuse((None, printable(key)), self._unknown(printable(key)))
            else:
                given.setdefault(entry[0], []).append(value)
        for name, texts in given.items():
            _, repeated, apply = self._parameters[name]
            if len(texts) > 1 and not repeated:
                reading.refuse((None, name), "given more than once")
            else:
                apply(into, texts, reading)


def query_fields(
    descriptor: Descriptor, *, bound: Container[str]
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], FieldDescriptor]]:
    """Give what a query can set: the path of names, the same in lowerCamelCase, and the last field."""
    for field in descriptor.fields:
        if field.name not in bound:
            yield from _fields_below(field, (), (), bound)


def _fields_below(
    field: FieldDescriptor, names: tuple[str, ...], aliases: tuple[str, ...], bound: Container[str]
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], FieldDescriptor]]:
    names, aliases = (*names, field.name), (*aliases, field.json_name)
    message = field.message_type
    if ".".join(names) in bound or is_map(field):
        return
    if message is None or (message.full_name in _TEXTUAL and not field.is_repeated):
        yield names, aliases, field
    elif len(names) < DEPTH_MAX and not field.is_repeated and not message.full_name.startswith("google.protobuf."):
        for below in message.fields:
            yield from _fields_below(below, names, aliases, bound)


def _setter(
    readers: JsonReader, names: tuple[str, ...], field: FieldDescriptor
) -> Callable[[Any, list[str], Reading], None]:
    apply = field_reader(readers, field)
    *parents, _ = names
    prefix = ".".join(parents)
    path = (None, prefix) if prefix else None
    convert = text_converter(field)

    def set_field(into: Any, texts: list[str], reading: Reading) -> None:
        target = into
        for parent in parents:
            target = getattr(target, parent)
        given = [convert(text) for text in texts]
        apply(target, given if field.is_repeated else given[0], path, reading)

    return set_field


def text_converter(field: FieldDescriptor) -> Callable[[str], Any]:
    """Give what turns text into the JSON value that the field's reader takes."""
    if field.type == FieldDescriptor.TYPE_BOOL:
        return lambda text: {"true": True, "false": False}.get(text, text)
    return lambda text: text
