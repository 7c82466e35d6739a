"""Which role may do what: the one table.

Permissions are `<resource>.<verb>`, as the contracts' policies name them. Roles come from the token, or from
the mesh certificate of a service that acts for itself (`service`).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

READS: Final = frozenset(
    {
        "organizations.read",
        "venues.read",
        "events.read",
        "sections.read",
        "pricing.read",
        "coupons.read",
        "holds.read",
        "sales.read",
        "blocks.read",
        "inventory.read",
    }
)
WRITES: Final = frozenset(
    {
        "organizations.write",
        "venues.write",
        "events.read_private",
        "events.write",
        "events.publish",
        "events.approve",
        "events.cancel",
        "events.override",
        "api_keys.read",
        "api_keys.write",
        "reports.read",
        "audit.read",
        "sections.write",
        "pricing.write",
        "pricing.quote",
        "coupons.write",
        "holds.place",
        "holds.manage",
        "holds.read_all",
        "sales.return",
        "blocks.write",
        "inventory.repair",
    }
)
PLATFORM: Final = frozenset({"organizations.create", "organizations.suspend", "categories.write"})
"""The permissions that are not bound to one organization: a principal without one may use them."""

ALL: Final = READS | WRITES | PLATFORM

_ROLES: dict[str, frozenset[str]] = {
    "platform_admin": ALL,
    "owner": READS | WRITES,
    "admin": READS | WRITES,
    "organizer": READS
    | {
        "venues.write",
        "events.read_private",
        "events.write",
        "events.publish",
        "events.cancel",
        "reports.read",
        "sections.write",
        "pricing.write",
        "pricing.quote",
        "coupons.write",
        "holds.manage",
        "holds.read_all",
        "sales.return",
        "blocks.write",
    },
    "box_office": READS
    | {"events.read_private", "pricing.quote", "holds.place", "holds.manage", "holds.read_all", "sales.return"},
    "scanner": frozenset({"events.read", "events.read_private"}),
    "analyst": READS | {"events.read_private", "reports.read", "holds.read_all"},
    "buyer": frozenset(
        {
            "venues.read",
            "events.read",
            "sections.read",
            "pricing.read",
            "pricing.quote",
            "holds.place",
            "holds.read",
            "sales.read",
        }
    ),
    "service": READS
    | {"events.read_private", "pricing.quote", "holds.place", "holds.manage", "holds.read_all", "sales.return"},
}

ROLES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(_ROLES)
"""The permissions of each role."""


def permissions_of(roles: Iterable[str]) -> frozenset[str]:
    """Give all permissions of some roles together; a role that the mesh does not know gives none."""
    return frozenset().union(*(ROLES.get(role, frozenset()) for role in roles))
