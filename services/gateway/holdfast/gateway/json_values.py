"""Single JSON values ⇄ single protobuf values: numbers, enums, times, masks, free-form objects.

Readers take what a JSON parser or a query string gives and raise `Refused` with a message for the caller; writers
take what protobuf gives and never fail on a valid message.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from holdfast.gateway.json_text import Fraction

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.descriptor import EnumDescriptor
    from google.protobuf.message import Message

EXACT_MAX: Final = 2**53
"""Integers beyond it change when they pass through a double."""

_PLAIN: Final = re.compile(r"-?[0-9]+\.[0-9]+", re.ASCII)
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,19})")
_TIME: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|([+-])(\d\d):([0-5]\d))", re.ASCII
)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_UPPER: Final = re.compile("[A-Z]")
_MASK_PATH: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_STANDARD_ALPHABET: Final = str.maketrans("-_", "+/")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Refused(ValueError):  # noqa: N818 - it says what happened
    """A value that its field cannot take; the text is shown to the caller."""


def read_string(value: Any) -> str:
    """Read text. NUL and lone surrogates are refused: databases and protobuf cannot keep them."""
    if type(value) is not str:
        raise Refused("must be a string")
    if not value.isascii() and _SURROGATE.search(value):
        raise Refused("holds a lone surrogate")
    if "\x00" in value:
        raise Refused("holds a NUL character")
    return value


def read_decimal(value: Any) -> str:
    """Read a decimal string, or a number with the digits that it was written with."""
    if type(value) is int:
        return str(value)
    if type(value) is not Fraction:
        return read_string(value)
    if not _PLAIN.fullmatch(value.text):
        raise Refused("must be a decimal number without an exponent")
    return value.text


def read_bytes(value: Any) -> bytes:
    """Read bytes from base64, of either alphabet, with or without padding."""
    if type(value) is not str:
        raise Refused("must be base64 text")
    text = value.translate(_STANDARD_ALPHABET).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Refused("must be base64 text") from None


def write_bytes(value: bytes) -> str:
    """Write bytes as base64 with padding."""
    return base64.b64encode(value).decode("ascii")


def read_bool(value: Any) -> bool:
    """Read true or false."""
    if type(value) is not bool:
        raise Refused("must be true or false")
    return value


def integer_reader(low: int, high: int) -> Callable[[Any], int]:
    """Make the reader of integers from `low` to `high`: JSON numbers without a fraction, or decimal strings."""

    def read(value: Any) -> int:
        if type(value) is int:
            number = value
        elif _is_decimal(value) or _is_exact(value):
            number = int(value)
        else:
            raise Refused("must be a whole number")
        if not low <= number <= high:
            raise Refused(f"must be from {low} to {high}")
        return number

    return read


def _is_decimal(value: Any) -> bool:
    return type(value) is str and _INTEGER.fullmatch(value) is not None


def _is_exact(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer() and abs(value) <= EXACT_MAX


def enum_reader(enum: EnumDescriptor) -> Callable[[Any], int]:
    """Make the reader of an enum: the name of a value, or its number."""
    numbers = {value.name: value.number for value in enum.values}
    known = frozenset(numbers.values())
    names = ", ".join(name for name, number in numbers.items() if number)

    def read(value: Any) -> int:
        if type(value) is str and value in numbers:
            return numbers[value]
        if type(value) is int and value in known:
            return value
        raise Refused(f"must be one of {names}")

    return read


def read_time(value: Any) -> tuple[int, int]:
    """Read an RFC 3339 time with its offset: seconds since 1970 and nanoseconds."""
    match = _TIME.fullmatch(value) if type(value) is str else None
    if match is None:
        raise Refused("must be an RFC 3339 time with an offset, such as 2026-05-01T12:00:00Z")
    year, month, day, hour, minute, second, fraction, _, sign, offset_hours, offset_minutes = match.groups()
    try:
        zone: timezone = UTC
        if sign:
            offset = timedelta(hours=int(offset_hours), minutes=int(offset_minutes))
            zone = timezone(-offset if sign == "-" else offset)
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=zone).astimezone(
            UTC
        )
    except (ValueError, OverflowError):
        raise Refused("is not a time that exists") from None
    delta = moment - _EPOCH
    return delta.days * 86400 + delta.seconds, int((fraction or "0").ljust(9, "0"))


@lru_cache(maxsize=8192)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")


def write_time(value: Any) -> str:
    """Write a Timestamp as RFC 3339 in UTC, with 0, 3, 6 or 9 decimals."""
    nanos = value.nanos
    text = _second(value.seconds)
    if not nanos:
        return text + "Z"
    if nanos % 1_000_000 == 0:
        return f"{text}.{nanos // 1_000_000:03d}Z"
    if nanos % 1_000 == 0:
        return f"{text}.{nanos // 1_000:06d}Z"
    return f"{text}.{nanos:09d}Z"


def read_mask(value: Any) -> list[str]:
    """Read a field mask: field paths separated by commas, snake_case or lowerCamelCase."""
    if type(value) is not str:
        raise Refused("must be a string of field names separated by commas")
    paths = [path.strip() for path in value.split(",")] if value.strip() else []
    for path in paths:
        if not _MASK_PATH.fullmatch(path):
            raise Refused("must be a string of field names separated by commas")
    return [_UPPER.sub(lambda match: "_" + match.group().lower(), path) for path in paths]


def write_mask(value: Any) -> str:
    """Write a field mask with the contract's own names."""
    return ",".join(value.paths)


def read_struct(value: Any, into: Message) -> None:
    """Read a free-form object into a Struct."""
    if type(value) is not dict:
        raise Refused("must be an object")
    _check_free(value)
    into.update(value)  # type: ignore[attr-defined]  # a well-known type's own method


def _check_free(value: Any) -> None:
    """Refuse what a Struct would change or cannot keep. Recursion is bounded by the depth of a body."""
    if type(value) is dict:
        for key, item in value.items():
            read_string(key)
            _check_free(item)
    elif type(value) is list:
        for item in value:
            _check_free(item)
    elif type(value) is str:
        read_string(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise Refused("holds a number that is too large")
    elif type(value) is int and not _is_double(value):
        raise Refused("holds an integer beyond 2^53 that would lose digits; write it as a string")


def _is_double(value: int) -> bool:
    try:
        return float(value) == value
    except OverflowError:
        return False


def write_struct(value: Any) -> dict[str, Any]:
    """Write a Struct as the object it stands for."""
    return {key: _write_free(item) for key, item in value.fields.items()}


def _write_free(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    content = getattr(value, kind)
    if kind == "struct_value":
        return write_struct(content)
    if kind == "list_value":
        return [_write_free(item) for item in content.values]
    if kind == "number_value":
        # Not finite only if another writer than this gateway stored it; JSON has no word for it.
        if not math.isfinite(content):
            return None
        return int(content) if content.is_integer() and abs(content) <= EXACT_MAX else content
    return content
