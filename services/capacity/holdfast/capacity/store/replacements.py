"""The hold that took the place of an expired one, and its sale."""

from __future__ import annotations

from typing import Final

from holdfast.capacity.store import batch_rows as rows
from holdfast.common.database import Statement

_HOLD: Final = f"""{rows.HOLDS}
WHERE h.organization_id = $1 AND h.event_id = $2 AND h.replaces_hold_id = $3 {rows.HOLDS_ORDER}"""
_SALE: Final = f"""{rows.SALES}
JOIN capacity.holds h ON h.organization_id = $1 AND h.event_id = $2 AND h.id = s.hold_id
WHERE s.organization_id = $1 AND h.replaces_hold_id = $3 {rows.SALES_ORDER}"""


def of_hold(organization_id: str, event_id: str, hold_id: str) -> tuple[Statement, Statement]:
    """Read both, by the expired hold: rows of a hold, then rows of a sale."""
    parameters = (organization_id, event_id, hold_id)
    return Statement(_HOLD, parameters), Statement(_SALE, parameters)
