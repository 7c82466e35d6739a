"""What capacity must know of an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.events.operations.scenes import read_scene

if TYPE_CHECKING:
    from holdfast.common.database import Transaction
    from holdfast.events.domain.scenes import Scene


async def read_controls(transaction: Transaction, *, organization_id: str, event_id: str) -> Scene:
    """Read an event with all that its controls are made of, deleted ones too; EVENT_NOT_FOUND if there is none."""
    return await read_scene(transaction, organization_id, event_id, deleted_too=True)
