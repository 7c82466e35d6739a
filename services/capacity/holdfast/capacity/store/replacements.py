"""The hold that took the place of an expired one, and its sale."""

from __future__ import annotations

from typing import Final

from holdfast.capacity.store import batch_rows as rows
from holdfast.common.database import Statement

_REPLACING: Final = """
  SELECT o.id FROM capacity.holds o
  WHERE o.organization_id = $1 AND o.event_id = $2 AND o.replaces_hold_id = $3"""
_HOLD: Final = rows.holds_by(_REPLACING)
_SALE: Final = rows.sales_by("""
  SELECT c.id FROM capacity.sales c JOIN capacity.holds o ON o.organization_id = $1 AND o.id = c.hold_id
  WHERE c.organization_id = $1 AND o.event_id = $2 AND o.replaces_hold_id = $3""")


def of_hold(organization_id: str, event_id: str, hold_id: str) -> tuple[Statement, Statement]:
    """Read both, by the expired hold: rows of a hold, then rows of a sale."""
    parameters = (organization_id, event_id, hold_id)
    return Statement(_HOLD, parameters), Statement(_SALE, parameters)
