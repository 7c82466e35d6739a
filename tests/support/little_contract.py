"""Contracts that a test writes itself, for what the published ones have no example of."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import grpc_tools
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_tools import protoc

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor

REPOSITORY = Path(__file__).resolve().parents[2]
HEAD = """
syntax = "proto3";
package holdfast.api.{name}.v1;
import "buf/validate/validate.proto";
import "google/api/annotations.proto";
import "google/api/field_behavior.proto";
import "google/protobuf/field_mask.proto";
import "holdfast/api/common/v1/policy.proto";
"""


def little_contract(name: str, text: str, directory: Path) -> FileDescriptor:
    """Compile the messages and services of a package `holdfast.api.<name>.v1`, in a pool of their own.

    Each contract of a process needs its own name: the validator keeps the rules of a file by it.
    """
    file_name = f"{name}.proto"
    (directory / file_name).write_text(HEAD.replace("{name}", name) + text, encoding="utf-8")
    image = directory / f"{name}.binpb"
    paths = (
        directory,
        REPOSITORY / "protos",
        REPOSITORY / "libs" / "api" / "third_party",
        Path(sysconfig.get_path("purelib")),
        Path(grpc_tools.__file__).parent / "_proto",
    )
    arguments = [f"-I{path}" for path in paths]
    assert not protoc.main(["protoc", *arguments, "--include_imports", f"--descriptor_set_out={image}", file_name])
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file:
        pool.Add(file)
    return pool.FindFileByName(file_name)
