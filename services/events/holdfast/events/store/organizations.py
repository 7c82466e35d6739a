"""Organizations in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from holdfast.common.errors import DomainError, Reason
from holdfast.events.domain.organizations import Organization, OrganizationState
from holdfast.events.store.tables import ORGANIZATIONS

if TYPE_CHECKING:
    from typing import Literal

    from sqlalchemy import RowMapping

    from holdfast.common.database import Transaction

_SLUG_INDEX = "organizations_slug"


def _organization(row: RowMapping) -> Organization:
    values: dict[str, Any] = dict(row)
    return Organization(**values | {"state": OrganizationState(values["state"])})


async def find_organization(
    transaction: Transaction, organization_id: str, *, lock: Literal["none", "share", "update"] = "none"
) -> Organization | None:
    """Read the transaction's organization.

    `share` keeps its settings from changing until the transaction ends: what makes an event that is being created
    while they change either see the new ones or be seen by whoever spreads them.
    """
    query = select(ORGANIZATIONS).where(ORGANIZATIONS.c.organization_id == organization_id)
    if lock == "share":
        query = query.with_for_update(read=True)
    elif lock == "update":
        query = query.with_for_update(key_share=True)
    row = (await transaction.execute(query)).mappings().one_or_none()
    return None if row is None else _organization(row)


def _values(organization: Organization) -> dict[str, Any]:
    return {column.name: getattr(organization, column.name) for column in ORGANIZATIONS.c} | {
        "state": organization.state.value
    }


async def insert_organization(transaction: Transaction, organization: Organization) -> None:
    """Write a new organization; SLUG_TAKEN if any organization of the mesh has its slug."""
    try:
        await transaction.execute(insert(ORGANIZATIONS).values(_values(organization)))
    except IntegrityError as error:
        if _SLUG_INDEX not in str(error.orig):
            raise
        raise DomainError(
            Reason.SLUG_TAKEN,
            "another organization has this name",
            metadata={"slug": organization.slug},
        ) from None


async def update_organization(transaction: Transaction, organization: Organization) -> None:
    """Write an organization that this transaction has locked."""
    await transaction.execute(
        update(ORGANIZATIONS)
        .where(ORGANIZATIONS.c.organization_id == organization.organization_id)
        .values(_values(organization))
    )
