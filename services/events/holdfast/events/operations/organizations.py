"""Creating, reading and changing organizations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from holdfast.common import idempotency, money, outbox
from holdfast.common.errors import invalid
from holdfast.events import messages
from holdfast.events.domain.dates import check_zone
from holdfast.events.domain.events import check_etag
from holdfast.events.domain.organizations import (
    CONTROL_SETTINGS,
    DEFAULT_SETTINGS,
    Organization,
    OrganizationState,
    check_in_business,
    check_settings,
)
from holdfast.events.operations.outcomes import Outcome, once
from holdfast.events.operations.scenes import require_organization
from holdfast.events.operations.slugs import slug_of
from holdfast.events.store import due_work
from holdfast.events.store import organizations as organization_store
from holdfast.events.store.tables import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from holdfast.common.database import Transaction
    from holdfast.common.idempotency import RequestKey

PLATFORM_ORGANIZATION_ID: Final = "00000000-0000-0000-0000-000000000000"
"""Under which the requests that create organizations are remembered: there is no organization yet then."""

SLUG_LENGTH_MAX: Final = 200


def _check(organization: Organization) -> None:
    money.exponent(organization.currency_code)
    check_zone(organization.time_zone)
    check_settings(organization)


def _settings(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: DEFAULT_SETTINGS[name] if value is None else value
        for name, value in changes.items()
        if name in DEFAULT_SETTINGS
    }


async def create_organization(
    transaction: Transaction,
    *,
    organization_id: str,
    changes: Mapping[str, Any],
    key: RequestKey,
    now: datetime,
) -> Outcome[Organization]:
    """Create an organization with the id given, in a transaction of the platform's organization.

    Raises VALIDATION_FAILED, UNKNOWN_CURRENCY, UNKNOWN_TIME_ZONE, SLUG_TAKEN, IDEMPOTENCY_KEY_REUSED.
    """
    known = await idempotency.replayed(transaction, key)
    if known is not None:
        await transaction.switch_organization(known)
        return Outcome(value=await require_organization(transaction, known), replayed=True)
    await idempotency.record(transaction, key, organization_id)
    organization = Organization(
        organization_id=organization_id,
        name=changes["name"],
        slug=slug_of(changes["name"])[:SLUG_LENGTH_MAX],
        state=OrganizationState.ACTIVE,
        **DEFAULT_SETTINGS | _settings(changes),
        version=1,
        create_time=now,
        update_time=now,
    )
    _check(organization)
    await transaction.switch_organization(organization_id)
    await organization_store.insert_organization(transaction, organization)
    await outbox.append(transaction, messages.organization_changed(organization, now=now), schema=SCHEMA)
    return Outcome(value=organization, replayed=False)


async def update_organization(  # noqa: PLR0913 - what a request says, by name
    transaction: Transaction,
    *,
    organization_id: str,
    changes: Mapping[str, Any],
    etag: str,
    key: RequestKey,
    now: datetime,
) -> Outcome[Organization]:
    """Change a name or settings. What capacity must know of them reaches every event that is not over.

    Raises ORGANIZATION_NOT_FOUND, ETAG_MISMATCH, VALIDATION_FAILED, UNKNOWN_CURRENCY, UNKNOWN_TIME_ZONE,
    IDEMPOTENCY_KEY_REUSED.
    """

    async def do() -> tuple[str, Organization]:
        before = await require_organization(transaction, organization_id, lock="update")
        check_in_business(before)
        check_etag(etag, before.etag)
        if changes.get("name", before.name) is None:
            raise invalid("organization.name", "cannot be cleared")
        after = replace(before, **{name: value for name, value in changes.items() if name == "name"})
        after = replace(after, **_settings(changes))
        _check(after)
        after = replace(after, version=before.version + 1, update_time=now)
        await organization_store.update_organization(transaction, after)
        await outbox.append(transaction, messages.organization_changed(after, now=now), schema=SCHEMA)
        if any(getattr(before, name) != getattr(after, name) for name in CONTROL_SETTINGS):
            await due_work.spread_controls(transaction, organization_id, venue_id=None, now=now)
        return organization_id, after

    return await once(transaction, key, find=lambda known: require_organization(transaction, known), do=do)
