"""What a request may hold: the contract's validation rules, and no field that callers cannot set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from protovalidate import Validator

from holdfast.common.errors import DomainError, FieldViolation, Reason
from holdfast.common.protobuf import has_behavior, refusal_text
from holdfast.common.rpc_text import nul_faults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, MethodDescriptor
    from google.protobuf.message import Message
    from protovalidate import Violation

VIOLATIONS_MAX: Final = 50
_DEPTH_MAX: Final = 8
_OWN_PACKAGE: Final = "holdfast."

_validator = Validator()

Tree = dict[str, "str | Tree"]
"""Field name → why it is refused, or what is refused inside it."""


class FieldRules:
    """The rules for one RPC's request, worked out once."""

    __slots__ = ("_tree",)

    def __init__(self, method: MethodDescriptor) -> None:
        self._tree = _refused_fields(
            method.input_type, immutable_too=method.name.startswith("Update"), depth_left=_DEPTH_MAX
        )

    def check(self, request: Message) -> None:
        """Raise VALIDATION_FAILED naming every field that breaks a rule."""
        found = list(_settings_of(request, self._tree, "")) if self._tree else []
        broken = _validator.collect_violations(request)
        if broken:
            found += [FieldViolation(field=_path(each), message=each.proto.message) for each in broken[:VIOLATIONS_MAX]]
        found += nul_faults(request)
        if found:
            first = found[0]
            raise DomainError(
                Reason.VALIDATION_FAILED,
                f"{first.field}: {first.message}" if first.field else first.message,
                violations=found[:VIOLATIONS_MAX],
            )


def _refused_fields(message: Descriptor, *, immutable_too: bool, depth_left: int) -> Tree:
    tree: Tree = {}
    for field in message.fields:
        if has_behavior(field, "OUTPUT_ONLY") or (immutable_too and has_behavior(field, "IMMUTABLE")):
            tree[field.name] = refusal_text(field)
            continue
        inner = field.message_type
        if inner is None or not depth_left or not inner.full_name.startswith(_OWN_PACKAGE):
            continue
        below = _refused_fields(inner, immutable_too=immutable_too, depth_left=depth_left - 1)
        if below and not inner.GetOptions().map_entry:
            tree[field.name] = below
    return tree


def _settings_of(message: Message, tree: Tree, prefix: str) -> Iterator[FieldViolation]:
    """Name the fields that are set and must not be."""
    for field, value in message.ListFields():
        entry = tree.get(field.name)
        if entry is None:
            continue
        path = f"{prefix}{field.name}"
        if isinstance(entry, str):
            yield FieldViolation(field=path, message=entry)
        elif field.is_repeated:
            for index, each in enumerate(value):
                yield from _settings_of(each, entry, f"{path}[{index}].")
        else:
            yield from _settings_of(value, entry, f"{path}.")


def _path(violation: Violation) -> str:
    """Write a violation's field path: `section.total`, `lines[2].quantity`, `labels["tier"]`."""
    path = violation.proto.field
    text = ""
    for element in path.elements if path is not None else ():
        name = element.field_name
        text += f".{name}" if text else name
        key: Any = element.subscript
        if key is not None:
            text += f"[{_subscript(key)}]"
    return text


def _subscript(key: Any) -> str:
    value = getattr(key, "value", key)
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
