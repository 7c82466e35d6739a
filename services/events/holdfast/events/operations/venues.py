"""Creating, reading and changing venues."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from holdfast.common import outbox
from holdfast.common.errors import invalid
from holdfast.events import messages
from holdfast.events.domain.dates import check_zone
from holdfast.events.domain.events import check_etag
from holdfast.events.domain.organizations import check_in_business
from holdfast.events.domain.venues import Venue, VenueKind, check_gates
from holdfast.events.operations.outcomes import Outcome, once
from holdfast.events.operations.scenes import require_organization, require_venue
from holdfast.events.operations.slugs import insert_with_slug, slug_of
from holdfast.events.store import due_work
from holdfast.events.store import events as event_store
from holdfast.events.store import venues as venue_store
from holdfast.events.store.tables import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from holdfast.common.database import Transaction
    from holdfast.common.idempotency import RequestKey
    from holdfast.events.domain.organizations import Organization

_DEFAULTS: Final[Mapping[str, Any]] = {
    "kind": VenueKind.PHYSICAL,
    "address": None,
    "access_rules": None,
    "default_doors_minutes": None,
    "gates": (),
}
_REQUIRED: Final = ("name", "max_capacity")


def _completed(changes: Mapping[str, Any], organization: Organization) -> dict[str, Any]:
    """Put the default in the place of what is cleared; what has none cannot be."""
    completed: dict[str, Any] = {}
    for name, value in changes.items():
        if value is not None:
            completed[name] = value
        elif name in _REQUIRED:
            raise invalid(f"venue.{name}", "cannot be cleared")
        else:
            completed[name] = organization.time_zone if name == "time_zone" else _DEFAULTS[name]
    return completed


async def create_venue(  # noqa: PLR0913 - what a request says, by name
    transaction: Transaction,
    *,
    organization_id: str,
    venue_id: str,
    changes: Mapping[str, Any],
    key: RequestKey,
    now: datetime,
) -> Outcome[Venue]:
    """Create a venue with the id given. Raises VALIDATION_FAILED, UNKNOWN_TIME_ZONE, IDEMPOTENCY_KEY_REUSED."""

    async def do() -> tuple[str, Venue]:
        organization = await require_organization(transaction, organization_id)
        check_in_business(organization)
        values = {"time_zone": organization.time_zone, **_DEFAULTS, **_completed(changes, organization)}
        draft = Venue(
            id=venue_id,
            organization_id=organization_id,
            slug="",
            **values,
            version=1,
            create_time=now,
            update_time=now,
            delete_time=None,
        )
        check_zone(draft.time_zone)
        check_gates(draft.gates)
        base = slug_of(draft.name)
        slug = await insert_with_slug(
            base,
            taken=lambda: venue_store.taken_slugs(transaction, organization_id, base),
            insert=lambda slug: venue_store.insert_venue(transaction, replace(draft, slug=slug)),
        )
        venue = replace(draft, slug=slug)
        await outbox.append(transaction, messages.venue_changed(venue, now=now), schema=SCHEMA)
        return venue_id, venue

    return await once(transaction, key, find=lambda known: require_venue(transaction, organization_id, known), do=do)


async def update_venue(  # noqa: PLR0913 - what a request says, by name
    transaction: Transaction,
    *,
    organization_id: str,
    venue_id: str,
    changes: Mapping[str, Any],
    etag: str,
    key: RequestKey,
    now: datetime,
) -> Outcome[Venue]:
    """Change a venue; a new size reaches every event there that is not over.

    Raises VENUE_NOT_FOUND, ETAG_MISMATCH, UNKNOWN_TIME_ZONE, VALIDATION_FAILED, IDEMPOTENCY_KEY_REUSED.
    """

    async def do() -> tuple[str, Venue]:
        organization = await require_organization(transaction, organization_id)
        check_in_business(organization)
        before = await require_venue(transaction, organization_id, venue_id, lock=True)
        check_etag(etag, before.etag)
        after = replace(before, **_completed(changes, organization))
        check_zone(after.time_zone)
        check_gates(after.gates)
        if after.kind is not before.kind and await event_store.venue_has_events(transaction, organization_id, venue_id):
            raise invalid("venue.kind", "cannot change once the venue has events")
        after = replace(after, version=before.version + 1, update_time=now)
        await venue_store.update_venue(transaction, after)
        await outbox.append(transaction, messages.venue_changed(after, now=now), schema=SCHEMA)
        if after.max_capacity != before.max_capacity:
            await due_work.spread_controls(transaction, organization_id, venue_id=venue_id, now=now)
        return venue_id, after

    return await once(transaction, key, find=lambda known: require_venue(transaction, organization_id, known), do=do)
