"""What brings rows up to date that say less than the truth: queries of a commit that tidies.

`$1` is the organization, `$2` the event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.capacity.store import batch_rows as rows
from holdfast.common.database import Statement

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.capacity.domain.holds import Void

_LIVE: Final = """SELECT e.id FROM capacity.holds e
  WHERE e.organization_id = $1 AND e.event_id = $2 AND e.state IN ('ACTIVE', 'PENDING')"""
_OLDEST: Final = "ORDER BY e.expire_time, e.id LIMIT"
_EXPIRED: Final = rows.holds_by(f"{_LIVE} AND e.expire_time <= $3 {_OLDEST} $4")
_ENDED: Final = rows.holds_by(f"""{_LIVE} AND e.placed_version <= $3 AND (e.state = 'ACTIVE' OR $4)
    AND ($5 = '' OR (SELECT true FROM capacity.hold_lines o
                     WHERE o.organization_id = $1 AND o.hold_id = e.id AND o.schedule_id = $5 LIMIT 1))
    {_OLDEST} $6""")
_CANCELLED: Final = rows.sales_by("""
  SELECT c.id FROM capacity.sales c
  WHERE c.organization_id = $1 AND c.event_id = $2 AND c.placed_version <= $3
    AND (SELECT true FROM capacity.sale_lines o
         WHERE o.organization_id = $1 AND o.sale_id = c.id AND NOT o.cancelled
           AND ($4 = '' OR o.schedule_id = $4) LIMIT 1)
  ORDER BY c.id LIMIT $5""")
_NEXT_EXPIRY: Final = """
SELECT e.expire_time FROM capacity.holds e
WHERE e.organization_id = $1 AND e.event_id = $2 AND e.state IN ('ACTIVE', 'PENDING') AND e.expire_time > $3
ORDER BY e.expire_time, e.id LIMIT 1"""


def expired(organization_id: str, event_id: str, at: datetime, *, limit: int) -> Statement:
    """Read live holds whose time is over, oldest first."""
    return Statement(_EXPIRED, (organization_id, event_id, at, limit))


def ended(organization_id: str, event_id: str, void: Void, *, limit: int) -> Statement:
    """Read live holds that a void ends, those that expire first first."""
    parts = (void.through_version, void.includes_pending, void.schedule_id or "", limit)
    return Statement(_ENDED, (organization_id, event_id, *parts))


def cancelled(organization_id: str, event_id: str, void: Void, *, limit: int) -> Statement:
    """Read sales that a void cancels and that do not say so yet."""
    return Statement(_CANCELLED, (organization_id, event_id, void.through_version, void.schedule_id or "", limit))


def next_expiry(organization_id: str, event_id: str, at: datetime) -> Statement:
    """Read when the first hold that lives on ends."""
    return Statement(_NEXT_EXPIRY, (organization_id, event_id, at))
