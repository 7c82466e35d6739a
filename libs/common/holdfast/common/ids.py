"""Identifiers: UUIDv7 strings, so that they sort by the time they were made."""

from __future__ import annotations

import uuid

import uuid_utils


def new_id() -> str:
    """Give a new UUIDv7 in its canonical text form, 36 characters."""
    return str(uuid_utils.uuid7())


def is_id(text: str) -> bool:
    """Tell whether a text is a UUID in its canonical lower-case form."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
