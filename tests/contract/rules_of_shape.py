"""What every contract keeps of its shape: kinds of fields, streams, answers without end, messages, marks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from google.protobuf.descriptor import FieldDescriptor

from holdfast.api.common.v1 import policy_pb2

from .contracts import bindings, field_at, is_output_only
from .rules import MESH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, MethodDescriptor

    from .contracts import Contracts
    from .rules import Rule

STREAMS = frozenset({"BatchMutateHolds", "WatchAvailability"})
INEXACT = frozenset({FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT})
VERSION_TYPES = frozenset({FieldDescriptor.TYPE_INT64})
# A list in an answer that is not paged says what ends it.
ENDS = re.compile(
    r"\b(at most|up to|one for each|each one|in the order of|as (?:asked|in) the request)\b", re.IGNORECASE
)


def kinds(contracts: Contracts) -> list[str]:
    """Nothing is inexact, nothing contains itself, and bytes are bitmaps."""
    found = []
    for message in contracts.messages():
        comment = contracts.comments.get(message.full_name, "")
        for field in message.fields:
            if field.type in INEXACT:
                found.append(f"{field.full_name} is inexact: a decimal string, or an integer of a smaller unit")
            if field.type == FieldDescriptor.TYPE_BYTES and not re.search(r"\b[Bb]it", comment):
                found.append(f"{field.full_name} is of bytes, and its message's comment speaks of no bits")
        if message.full_name in _below(message, frozenset()):
            found.append(f"{message.full_name} contains itself: a flat list with the parents' ids")
    return found


def streams(contracts: Contracts) -> list[str]:
    """Streams are few, of answers only, and not in REST."""
    found = []
    for method in contracts.methods():
        if method.client_streaming:
            found.append(f"{method.full_name} takes a stream of requests")
        if not method.server_streaming:
            continue
        if method.name not in STREAMS:
            found.append(f"{method.full_name} is a stream")
        if bindings(method):
            found.append(f"{method.full_name} is a stream, and has a REST path")
    return found


def ends(contracts: Contracts) -> list[str]:
    """Every list in an answer ends: it is paged, or its comment says how many there are at most."""
    found = []
    for method in contracts.methods():
        answer = method.output_type
        if "pagination" in answer.fields_by_name or method.server_streaming:
            continue
        found += [
            f"{method.full_name} answers {field.name} without an end"
            for field in answer.fields
            if field.is_repeated and field.enum_type is None and not _ends(contracts, method, field)
        ]
    return found


def publications(contracts: Contracts) -> list[str]:
    """Every message of a stream says what it is about, where its version stands, who consumes it, how to catch up."""
    rpcs = {f"{method.containing_service.name}.{method.name}" for method in contracts.methods()}
    found = []
    for file in contracts.files:
        if not file.name.endswith("/messages.proto"):
            found += [
                f"{message.full_name} is published, but does not stand in messages.proto"
                for message in file.message_types_by_name.values()
                if message.GetOptions().HasExtension(policy_pb2.publication)
            ]
            continue
        messages = list(file.message_types_by_name.values())
        parts = {name for message in messages for name in _below(message, frozenset())}
        for message in messages:
            published = message.GetOptions().HasExtension(policy_pb2.publication)
            if published == (message.full_name in parts):
                found.append(f"{message.full_name} is either published or part of what is")
            if published:
                found += [f"{message.full_name}: {fault}" for fault in _publication_faults(message, rpcs)]
    return found


def marks(contracts: Contracts) -> list[str]:
    """What is marked as not built is something that callers may set, and not what a path needs."""
    found = [
        f"{field.full_name} is output only: nobody sets it, so nothing refuses it"
        for message in contracts.messages()
        for field in message.fields
        if field.GetOptions().Extensions[policy_pb2.hint].not_built and is_output_only(field)
    ]
    for method in contracts.methods():
        for binding in bindings(method):
            for variable in re.findall(r"\{([^}]+)\}", binding.path):
                at = field_at(method.input_type, variable)
                if at is not None and at.GetOptions().Extensions[policy_pb2.hint].not_built:
                    found.append(f"{method.full_name}: {binding.path} cannot be called without {variable}")
    return found


def _below(message: Descriptor, seen: frozenset[str]) -> frozenset[str]:
    """Give the names of all messages that one contains, at any depth; its own name if it contains itself."""
    for field in message.fields:
        inner = field.message_type
        if inner is not None and inner.full_name not in seen and inner.full_name.startswith("holdfast."):
            seen = _below(inner, seen | {inner.full_name})
    return seen


def _ends(contracts: Contracts, method: MethodDescriptor, field: FieldDescriptor) -> bool:
    if "page_size" in method.input_type.fields_by_name:
        return True
    return bool(ENDS.search(contracts.comments.get(field.full_name, "")))


def _publication_faults(message: Descriptor, rpcs: set[str]) -> Iterator[str]:
    publication = message.GetOptions().Extensions[policy_pb2.publication]
    if not publication.aggregate:
        yield "says not what it is about"
    identity = field_at(message, publication.id_field)
    if identity is None or identity.type != FieldDescriptor.TYPE_STRING:
        yield f"has no id at {publication.id_field!r}"
    version = field_at(message, publication.version_field)
    if version is None or version.type not in VERSION_TYPES:
        yield f"has no version at {publication.version_field!r}"
    if "occur_time" not in message.fields_by_name:
        yield "says not when"
    if publication.catch_up not in rpcs:
        yield f"names no RPC to catch up: {publication.catch_up!r}"
    yield from (f"names no service of the mesh: {name}" for name in publication.consumers if name not in MESH)


RULES: tuple[Rule, ...] = (kinds, streams, ends, publications, marks)
