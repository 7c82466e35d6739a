"""What the resources' conversions share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from holdfast.common.errors import invalid
from holdfast.common.protobuf import from_struct, to_timestamp

if TYPE_CHECKING:
    from datetime import datetime

    from google.protobuf.struct_pb2 import Struct
    from google.protobuf.timestamp_pb2 import Timestamp

STRUCT_JSON_BYTES_MAX: Final = 32 * 1024
CLEARED: Final = None
"""What an update says of a field that it names and that is absent."""


def stamp(moment: datetime | None) -> Timestamp | None:
    """Give a moment as a Timestamp, None as None, which leaves the field absent."""
    return None if moment is None else to_timestamp(moment)


def json_values(struct: Struct, *, field: str) -> dict[str, Any]:
    """Read a Struct, at most 32 kB as JSON; VALIDATION_FAILED on `field` otherwise."""
    values = from_struct(struct, field=field)
    if len(json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()) > STRUCT_JSON_BYTES_MAX:
        raise invalid(field, f"must not be larger than {STRUCT_JSON_BYTES_MAX} bytes as JSON")
    return values


def canonical_id(text: str) -> str:
    """Give an id as the database has it; contracts accept UUIDs in any case."""
    return text.lower()
