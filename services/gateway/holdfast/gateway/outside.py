"""Paths of older ticketing platforms whose work is not the mesh's, each with where it is done instead.

No RPC stands behind them, so no contract can bind them: this table is the one list of paths beside the contract. They
answer 501 OUTSIDE_THE_MESH with any method, and without a token: a client learns from them what to change.
"""

from __future__ import annotations

import re
from typing import Final

from holdfast.common.errors import DomainError, Reason

NOTIFICATIONS: Final = (
    "notifications are not sent by the mesh: whoever sends them consumes its messages, see docs/reference/messages.md"
)
OUTSIDE: Final[dict[str, str]] = {
    "/api/v1/notifications": NOTIFICATIONS,
    "/api/v1/notifications/{notification_id}/read": NOTIFICATIONS,
    "/api/v1/users/{user_id}/notifications": NOTIFICATIONS,
}
"""Path → what callers are told."""

_PATTERNS: Final = tuple(
    (re.compile(re.sub(r"\{[a-z_]+\}", "[^/]+", template).encode("ascii")), template, message)
    for template, message in OUTSIDE.items()
)


def outside(raw_path: bytes) -> DomainError | None:
    """Give the answer to a path whose work is done outside; None for all others."""
    for pattern, template, message in _PATTERNS:
        if pattern.fullmatch(raw_path):
            return DomainError(Reason.OUTSIDE_THE_MESH, message, metadata={"path": template})
    return None
