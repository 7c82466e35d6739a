"""Moments as text in the metadata of errors."""

from __future__ import annotations

from datetime import UTC, datetime


def instant(moment: datetime) -> str:
    """Write a moment as RFC 3339 in UTC: `2026-05-01T12:00:00Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def moment_told(text: str) -> datetime:
    """Read a moment as `instant` writes it."""
    return datetime.fromisoformat(text)
