"""Text that no service can keep: PostgreSQL has no place for the NUL character, in text or in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import Message

from holdfast.common.errors import FieldViolation
from holdfast.common.protobuf import is_ignored

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUL: Final = "\x00"
_DEPTH_MAX: Final = 100
"""As deep as protobuf reads."""


def nul_faults(message: Message) -> Iterator[FieldViolation]:
    """Name the fields whose text has a NUL character, also as a key of free-form values.

    What the contract does not judge with the message is left out.
    """
    # Nearly every request is done with here, without a look at its fields.
    if b"\x00" in message.SerializeToString():
        yield from _faults_of(message, "", _DEPTH_MAX)


def _faults_of(message: Message, prefix: str, depth_left: int) -> Iterator[FieldViolation]:
    for field, value in message.ListFields():
        if is_ignored(field):
            continue
        path = f"{prefix}{field.name}"
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key, each in value.items():
                yield from _faults_in(key, path, depth_left)
                yield from _faults_in(each, path, depth_left)
        elif field.is_repeated:
            for index, each in enumerate(value):
                yield from _faults_in(each, f"{path}[{index}]", depth_left)
        else:
            yield from _faults_in(value, path, depth_left)


def _faults_in(value: Any, path: str, depth_left: int) -> Iterator[FieldViolation]:
    if isinstance(value, str):
        if _NUL in value:
            yield FieldViolation(field=path, message="must not contain NUL characters")
    elif isinstance(value, Message) and depth_left:
        yield from _faults_of(value, f"{path}.", depth_left - 1)
