"""How instants are written in messages to people and in metadata."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


def instant(time: datetime | None) -> str:
    """Write an instant as RFC 3339 in UTC, `2026-05-01T12:00:00Z`; an absent one as `open`."""
    if time is None:
        return "open"
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
