"""Protobuf ⇄ Python for the types that every contract uses."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from buf.validate import validate_pb2
from google.api import field_behavior_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.api.common.v1 import money_pb2, policy_pb2
from holdfast.common.errors import DomainError, FieldViolation, Reason, invalid
from holdfast.common.money import Money

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from google._upb import _message as upb
    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.field_mask_pb2 import FieldMask
    from google.protobuf.message import Message

    AnyFieldDescriptor = FieldDescriptor | upb.FieldDescriptor

STRUCT_BYTES_MAX: Final = 64 * 1024
STRUCT_DEPTH_MAX: Final = 16
MASK_PATHS_MAX: Final = 200
_YEAR_MAX: Final = 9999
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_SECONDS: Final = 86_400


def to_timestamp(moment: datetime) -> Timestamp:
    """Give an aware moment as a Timestamp, to the microsecond."""
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone is no moment")
    since = moment - _EPOCH  # a third of what Timestamp.FromDatetime takes
    return Timestamp(seconds=since.days * _DAY_SECONDS + since.seconds, nanos=since.microseconds * 1000)


def to_datetime(timestamp: Timestamp, *, field: str) -> datetime:
    """Give a Timestamp as an aware UTC moment; one outside the years 1 to 9999 raises VALIDATION_FAILED on `field`."""
    try:
        return timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise invalid(field, f"must be a moment of the years 1 to {_YEAR_MAX}") from None


def optional_datetime(message: Message, name: str) -> datetime | None:
    """Give a message's Timestamp field as a moment, None when it is not set."""
    return to_datetime(getattr(message, name), field=name) if message.HasField(name) else None


def to_money(money: Money) -> money_pb2.Money:
    """Give an amount as the contracts' Money."""
    return money_pb2.Money(currency_code=money.currency_code, amount=money.decimal_string())


def from_money(message: money_pb2.Money, *, field: str) -> Money:
    """Read the contracts' Money; a wrong amount raises VALIDATION_FAILED on `<field>.amount`, or UNKNOWN_CURRENCY."""
    return Money.parse(message.amount, message.currency_code, field=f"{field}.amount")


def to_struct(values: Mapping[str, Any]) -> Struct:
    """Give JSON values as a Struct."""
    struct = Struct()
    struct.update(dict(values))
    return struct


def from_struct(
    struct: Struct, *, field: str, bytes_max: int = STRUCT_BYTES_MAX, depth_max: int = STRUCT_DEPTH_MAX
) -> dict[str, Any]:
    """Read a Struct as JSON values: whole numbers as int, others as float.

    One that is larger than `bytes_max` on the wire, nested deeper than `depth_max`, or holds NaN or an infinity
    raises VALIDATION_FAILED on `field`.
    """
    if struct.ByteSize() > bytes_max:
        raise invalid(field, f"must not be larger than {bytes_max} bytes")
    _check_depth(struct, field=field, depth_max=depth_max)
    try:
        values = MessageToDict(struct)
    except ValueError:
        raise invalid(field, "must not hold NaN or infinite numbers") from None
    plain: dict[str, Any] = _plain(values)
    return plain


def _check_depth(struct: Struct, *, field: str, depth_max: int) -> None:
    level: list[Any] = list(struct.fields.values())
    for _ in range(depth_max):
        below: list[Any] = []
        for value in level:
            kind = value.WhichOneof("kind")
            if kind == "struct_value":
                below.extend(value.struct_value.fields.values())
            elif kind == "list_value":
                below.extend(value.list_value.values)
        if not below:
            return
        level = below
    raise invalid(field, f"must not be nested deeper than {depth_max}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    return value


def has_behavior(field: AnyFieldDescriptor, behavior: str) -> bool:
    """Tell whether a field is OUTPUT_ONLY, IMMUTABLE, … by its google.api.field_behavior."""
    wanted = field_behavior_pb2.FieldBehavior.Value(behavior)
    return wanted in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]


def is_ignored(field: AnyFieldDescriptor) -> bool:
    """Tell whether the contract leaves a field, and what is in it, out of the judgement of its message."""
    return field.GetOptions().Extensions[validate_pb2.field].ignore == validate_pb2.IGNORE_ALWAYS


def refusal_text(field: AnyFieldDescriptor) -> str:
    """Give what callers are told who set a field that they cannot set, with the contract's hint what to do instead."""
    instead = field.GetOptions().Extensions[policy_pb2.hint].instead
    what = "cannot be changed here" if has_behavior(field, "IMMUTABLE") else "is set by the mesh only"
    return f"{what}; {instead}" if instead else what


def updated_fields(resource: Message, mask: FieldMask | None, *, resource_name: str) -> tuple[str, ...]:
    """Give which top-level fields an update changes.

    With a mask (paths are top-level field names), exactly those: a named field that is not set is cleared. Without
    one, the fields that are present. Paths that do not exist, or that callers cannot set, raise VALIDATION_FAILED
    on `update_mask`; so does an update of nothing on `resource_name`.
    """
    if mask is None or not mask.paths:
        present = tuple(field.name for field, _ in resource.ListFields())
        if not present:
            raise invalid(resource_name, "must have at least one field to change")
        return present
    if len(mask.paths) > MASK_PATHS_MAX:
        raise invalid("update_mask", f"must not have more than {MASK_PATHS_MAX} paths")
    faults = list(_mask_faults(resource, mask.paths))
    if faults:
        raise DomainError(
            Reason.VALIDATION_FAILED,
            f"update_mask: {faults[0]}",
            violations=[FieldViolation(field="update_mask", message=fault) for fault in faults],
        )
    return tuple(dict.fromkeys(mask.paths))


def _mask_faults(resource: Message, paths: Iterable[str]) -> Iterable[str]:
    fields = resource.DESCRIPTOR.fields_by_name
    for path in paths:
        field = fields.get(path)
        if field is None:
            yield f"{path[:64]!r} is not a field; paths are top-level field names"
        elif has_behavior(field, "OUTPUT_ONLY") or has_behavior(field, "IMMUTABLE"):
            yield f"{path} {refusal_text(field)}"


def deterministic_bytes(message: Message, *, without: Iterable[str] = ()) -> bytes:
    """Give the same bytes for the same content, leaving some top-level fields out."""
    content = type(message)()
    content.CopyFrom(message)
    for name in without:
        content.ClearField(name)
    return content.SerializeToString(deterministic=True)


def fingerprint(message: Message) -> bytes:
    """Give SHA-256 of a request's content without its `request_id`: what makes a repeated request the same one."""
    without = ("request_id",) if "request_id" in message.DESCRIPTOR.fields_by_name else ()
    return hashlib.sha256(deterministic_bytes(message, without=without)).digest()
