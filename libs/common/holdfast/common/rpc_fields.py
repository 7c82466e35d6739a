"""What a request may hold: the contract's rules, no field that callers cannot set, none that is not built yet.

What is inside a field that the contract ignores in validation (IGNORE_ALWAYS) is not judged with the request either: it
is judged by itself, as an item of a batch is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from buf.validate import validate_pb2
from protovalidate import Validator

from holdfast.api.common.v1 import policy_pb2
from holdfast.common.errors import DomainError, FieldViolation, Reason
from holdfast.common.protobuf import has_behavior, is_ignored, refusal_text
from holdfast.common.rpc_text import nul_faults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
    from google.protobuf.message import Message
    from protovalidate import Violation

VIOLATIONS_MAX: Final = 50
_DEPTH_MAX: Final = 8
_OWN_PACKAGE: Final = "holdfast."
_NOT_BUILT: Final = "is not built yet"
_REMEMBERED_MAX: Final = 4096
_REMEMBERED_BYTES_MAX: Final = 512

_validator = Validator()

Tree = dict[str, "str | Tree"]
"""Field name → why it is refused, or what is refused inside it."""


class FieldRules:
    """The rules for one RPC's request, worked out once.

    What was judged good stays good: requests that differ only in their `request_id` from one that passed are not judged
    again, but for that field. In a rush nearly all are such. No rule looks at a clock, or at the id and another field.
    """

    __slots__ = ("_good", "_key_length_max", "_not_built", "_rpc", "_tree")

    def __init__(self, method: MethodDescriptor) -> None:
        self._rpc = method.name
        self._not_built = _not_built_fields(method.input_type, depth_left=_DEPTH_MAX)
        self._tree = _refused_fields(
            method.input_type, immutable_too=method.name.startswith("Update"), depth_left=_DEPTH_MAX
        )
        self._key_length_max = _key_length_max(method.input_type)
        self._good: set[bytes] = set()

    def check(self, request: Message) -> None:
        """Raise NOT_BUILT_YET for fields that are not honoured yet, VALIDATION_FAILED naming all that break a rule."""
        if not self._key_length_max:
            self._judge(request)
            return
        request_id: str = request.request_id  # type: ignore[attr-defined] # a length was found for it
        request.request_id = ""  # type: ignore[attr-defined] # as above
        rest = request.SerializeToString()
        request.request_id = request_id  # type: ignore[attr-defined] # as above
        if rest in self._good and len(request_id) <= self._key_length_max and "\x00" not in request_id:
            return
        self._judge(request)
        if len(rest) <= _REMEMBERED_BYTES_MAX:
            if len(self._good) >= _REMEMBERED_MAX:
                self._good.clear()
            self._good.add(rest)

    def _judge(self, request: Message) -> None:
        if self._not_built:
            self._refuse_not_built(request, self._not_built)
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

    def _refuse_not_built(self, request: Message, tree: Tree) -> None:
        """Refuse rather than ignore. An update's mask names a field too: to clear it is to set it."""
        found = [*_settings_of(request, tree, ""), *_masked(request, tree)][:VIOLATIONS_MAX]
        if found:
            first = found[0]
            raise DomainError(
                Reason.NOT_BUILT_YET,
                f"{first.field}: {first.message}",
                metadata={"rpc": self._rpc, "field": first.field},
                violations=found,
            )


def _key_length_max(message: Descriptor) -> int:
    """Give how long a request's `request_id` may be; 0 when it has none, or has rules that say more than a length."""
    field = message.fields_by_name.get("request_id")
    if field is None or field.has_presence:
        return 0
    rules = field.GetOptions().Extensions[validate_pb2.field]
    length = int(rules.string.max_len)
    alone = validate_pb2.FieldRules(string=validate_pb2.StringRules(max_len=length))
    return length if rules == alone else 0


def not_built(field: FieldDescriptor) -> bool:
    """Tell whether the contract marks a field that callers may set as not built yet."""
    return field.GetOptions().Extensions[policy_pb2.hint].not_built and not has_behavior(field, "OUTPUT_ONLY")


def _not_built_fields(message: Descriptor, *, depth_left: int) -> Tree:
    tree: Tree = {}
    for field in message.fields:
        if is_ignored(field):
            continue
        if not_built(field):
            tree[field.name] = _NOT_BUILT
            continue
        inner = field.message_type
        if inner is None or not depth_left or has_behavior(field, "OUTPUT_ONLY"):
            continue
        if inner.GetOptions().map_entry:
            inner = inner.fields_by_name["value"].message_type
        if inner is None or not inner.full_name.startswith(_OWN_PACKAGE):
            continue
        below = _not_built_fields(inner, depth_left=depth_left - 1)
        if below:
            tree[field.name] = below
    return tree


def _masked(request: Message, tree: Tree) -> Iterator[FieldViolation]:
    """Name the paths of an `update_mask` that lead to what is refused, in the resource beside it."""
    if "update_mask" not in request.DESCRIPTOR.fields_by_name:
        return
    paths = request.update_mask.paths  # type: ignore[attr-defined] # the field was just found
    for name, below in tree.items():
        if isinstance(below, str):
            continue
        for path in paths:
            if below.get(path) == _NOT_BUILT and not _has(getattr(request, name), path):
                yield FieldViolation(field=f"{name}.{path}", message=_NOT_BUILT)


def _has(message: Message, name: str) -> bool:
    return any(field.name == name for field, _ in message.ListFields())


def _refused_fields(message: Descriptor, *, immutable_too: bool, depth_left: int) -> Tree:
    tree: Tree = {}
    for field in message.fields:
        if is_ignored(field):
            continue
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
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key, each in value.items():
                yield from _settings_of(each, entry, f'{path}["{key}"].')
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
