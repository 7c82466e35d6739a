"""The contracts as protoc sees them: descriptors with their options, and the comments that the code does not carry."""

from __future__ import annotations

import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc_tools
from google.api import annotations_pb2, field_behavior_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_tools import protoc

from holdfast.api.common.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.protobuf.descriptor import (
        Descriptor,
        EnumDescriptor,
        FieldDescriptor,
        FileDescriptor,
        MethodDescriptor,
    )

REPOSITORY = Path(__file__).resolve().parents[2]
PROTOS = REPOSITORY / "protos"
THIRD_PARTY = REPOSITORY / "libs" / "api" / "third_party"
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"


@dataclass(frozen=True)
class Binding:
    """One REST binding of an RPC: `POST`, `/api/v1/holds/{hold_id}/confirm`, `*`."""

    verb: str
    path: str
    body: str


@dataclass(frozen=True)
class Contracts:
    """All files of the mesh's contracts, and the comment of everything in them by its full name."""

    files: Sequence[FileDescriptor]
    comments: dict[str, str]

    def methods(self) -> Iterator[MethodDescriptor]:
        for file in self.files:
            for service in file.services_by_name.values():
                yield from service.methods

    def messages(self) -> Iterator[Descriptor]:
        """Every message, nested ones too, map entries not."""

        def walk(message: Descriptor) -> Iterator[Descriptor]:
            yield message
            for nested in message.nested_types:
                if not nested.GetOptions().map_entry:
                    yield from walk(nested)

        for file in self.files:
            for message in file.message_types_by_name.values():
                yield from walk(message)

    def enums(self) -> Iterator[EnumDescriptor]:
        for file in self.files:
            yield from file.enum_types_by_name.values()
        for message in self.messages():
            yield from message.enum_types


def policy(method: MethodDescriptor) -> policy_pb2.Policy:
    return method.GetOptions().Extensions[policy_pb2.policy]


def rest(method: MethodDescriptor) -> policy_pb2.Rest:
    return method.GetOptions().Extensions[policy_pb2.rest]


def bindings(method: MethodDescriptor) -> list[Binding]:
    """Return the REST bindings of an RPC, the main one first; none for RPCs of the mesh."""
    if not method.GetOptions().HasExtension(annotations_pb2.http):
        return []
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    found = []
    for one in (rule, *rule.additional_bindings):
        verb = one.WhichOneof("pattern")
        found.append(Binding(verb=verb.upper(), path=getattr(one, verb), body=one.body))
    return found


def is_output_only(field: FieldDescriptor) -> bool:
    behaviour = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return field_behavior_pb2.OUTPUT_ONLY in behaviour


def field_at(message: Descriptor, path: str) -> FieldDescriptor | None:
    """Return the field that a dotted path leads to, if there is one."""
    field = None
    current: Descriptor | None = message
    for name in path.split("."):
        if current is None or name not in current.fields_by_name:
            return None
        field = current.fields_by_name[name]
        current = field.message_type
    return field


def load(directory: Path, scratch: Path) -> Contracts:
    """Compile the contracts of a directory into descriptors of their own pool."""
    image = scratch / "image.binpb"
    sources = sorted(str(file.relative_to(directory)) for file in (directory / "holdfast").rglob("*.proto"))
    status = protoc.main(
        [
            "protoc",
            f"-I{directory}",
            f"-I{THIRD_PARTY}",
            f"-I{sysconfig.get_path('purelib')}",
            f"-I{WELL_KNOWN}",
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={image}",
            *sources,
        ]
    )
    assert status == 0
    described = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    comments: dict[str, str] = {}
    for file in described.file:
        pool.Add(file)
        if file.name in sources:
            comments.update(_comments(file))
    return Contracts(files=[pool.FindFileByName(name) for name in sources], comments=comments)


def _comments(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[str, str]]:
    """Yield the leading comment of every element of a file under its full name."""
    for location in file.source_code_info.location:
        if location.leading_comments and (name := _name_at(file, list(location.path))):
            yield f"{file.package}.{name}", location.leading_comments.strip()


def _name_at(file: descriptor_pb2.FileDescriptorProto, path: list[int]) -> str:
    """Resolve a path of field numbers and indices, as descriptor.proto lays them out, to `Message.field`."""
    element: object = file
    names: list[str] = []
    for number, index in zip(path[::2], path[1::2], strict=False):
        field = type(element).DESCRIPTOR.fields_by_number.get(number)  # type: ignore[attr-defined] # any descriptor message
        if field is None or not field.is_repeated:
            return ""
        element = getattr(element, field.name)[index]
        names.append(getattr(element, "name", ""))
    return ".".join(names) if len(path) % 2 == 0 else ""
