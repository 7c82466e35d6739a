"""Price tiers in the database: the current row of each, and its immutable history."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, bindparam, func, select, true, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from holdfast.common.errors import DomainError, FieldViolation, Reason
from holdfast.pricing.domain.price_tiers import PriceTerms, PriceTier
from holdfast.pricing.store.tables import price_tier_versions, price_tiers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, RowMapping

    from holdfast.common.database import Transaction

TERMS: Final = tuple(field.name for field in fields(PriceTerms))
"""The columns of terms, in both tables."""
_NAME_INDEX: Final = "price_tiers_name"
_FIND: Final = select(func.clock_timestamp().label("read_time"), *price_tiers.c).where(
    price_tiers.c.organization_id == bindparam("of_organization"),
    price_tiers.c.id == bindparam("price_tier_id"),
    price_tiers.c.delete_time.is_(None),
)


@dataclass(frozen=True, slots=True)
class Listing:
    """Which of an event's tiers a list has."""

    event_id: str
    only_active: bool
    only_visible: bool


@dataclass(frozen=True, slots=True)
class PageCursor:
    """The place of a tier in an event's list."""

    display_order: int
    create_time: datetime
    id: str


async def find(transaction: Transaction, price_tier_id: str) -> tuple[PriceTier, datetime] | None:
    """Read a tier and the database's time of the reading; None when the organization has none of this id."""
    result = await transaction.execute(
        _FIND, {"of_organization": transaction.require_organization(), "price_tier_id": price_tier_id}
    )
    row = result.mappings().one_or_none()
    return None if row is None else (_price_tier(row), row["read_time"])


async def lock(transaction: Transaction, price_tier_id: str) -> PriceTier | None:
    """Read a tier and keep others from changing it until the transaction ends; None when there is none."""
    row = (
        (
            await transaction.execute(
                select(*price_tiers.c)
                .where(_live(transaction), price_tiers.c.id == price_tier_id)
                .with_for_update(key_share=True)
            )
        )
        .mappings()
        .one_or_none()
    )
    return None if row is None else _price_tier(row)


async def add(transaction: Transaction, tiers: Sequence[PriceTier], *, actor: str) -> None:
    """Write new tiers, one at least, and their first versions. Raises NAME_TAKEN, naming the first whose name is."""
    # Left out instead of failing the statement, so that it can be told which one it was.
    result = await transaction.execute(
        insert(price_tiers).on_conflict_do_nothing().returning(price_tiers.c.id),
        [
            {
                "organization_id": tier.organization_id,
                "id": tier.id,
                "event_id": tier.event_id,
                "version": tier.version,
                "create_time": tier.create_time,
                "update_time": tier.update_time,
                **_values(tier.terms),
            }
            for tier in tiers
        ],
    )
    made = set(result.scalars())
    for tier in tiers:
        if tier.id not in made:
            raise _name_taken(tier)
    await _add_versions(transaction, tiers, actor=actor)


async def change(transaction: Transaction, tier: PriceTier, *, actor: str) -> None:
    """Write the next version of a tier that this transaction has locked. Raises NAME_TAKEN."""
    try:
        result = await transaction.execute(
            update(price_tiers)
            .where(_live(transaction), price_tiers.c.id == tier.id, price_tiers.c.version == tier.version - 1)
            .values(version=tier.version, update_time=tier.update_time, **_values(tier.terms))
        )
    except IntegrityError as error:
        if _NAME_INDEX not in str(error.orig):
            raise
        raise _name_taken(tier) from None
    if result.rowcount != 1:
        raise RuntimeError("a price tier was changed without its lock")
    await _add_versions(transaction, [tier], actor=actor)


async def any_known(transaction: Transaction, price_tier_ids: Sequence[str]) -> bool:
    """Tell whether there is, or was, any of some tiers."""
    statement = select(price_tiers.c.id).where(
        price_tiers.c.organization_id == transaction.require_organization(), price_tiers.c.id.in_(price_tier_ids)
    )
    return (await transaction.execute(statement.limit(1))).one_or_none() is not None


async def delete(
    transaction: Transaction, price_tier_ids: Sequence[str], *, now: datetime, actor: str
) -> list[PriceTier]:
    """Delete those of some tiers that there are, and give them as they are then: a version more, with `delete_time`."""
    result = await transaction.execute(
        update(price_tiers)
        .where(_live(transaction), price_tiers.c.id.in_(price_tier_ids))
        .values(version=price_tiers.c.version + 1, update_time=now, delete_time=now)
        .returning(*price_tiers.c)
    )
    deleted = sorted((_price_tier(row) for row in result.mappings()), key=lambda tier: tier.id)
    if deleted:
        await _add_versions(transaction, deleted, actor=actor)
    return deleted


async def page(transaction: Transaction, listing: Listing, *, after: PageCursor | None, limit: int) -> list[PriceTier]:
    """Read at most `limit` tiers of a list by display order, then creation, that come after `after`."""
    keys = (price_tiers.c.display_order, price_tiers.c.create_time, price_tiers.c.id)
    statement = select(*price_tiers.c).where(*_listed(transaction, listing)).order_by(*keys).limit(limit)
    if after is not None:
        statement = statement.where(tuple_(*keys) > tuple_(after.display_order, after.create_time, after.id))
    return [_price_tier(row) for row in (await transaction.execute(statement)).mappings()]


async def count(transaction: Transaction, listing: Listing) -> int:
    """Count the tiers that the pages of a list have together."""
    statement = select(func.count()).select_from(price_tiers).where(*_listed(transaction, listing))
    total: int = (await transaction.execute(statement)).scalar_one()
    return total


def _live(transaction: Transaction) -> ColumnElement[bool]:
    return and_(
        price_tiers.c.organization_id == transaction.require_organization(), price_tiers.c.delete_time.is_(None)
    )


def _listed(transaction: Transaction, listing: Listing) -> list[ColumnElement[bool]]:
    conditions = [_live(transaction), price_tiers.c.event_id == listing.event_id]
    if listing.only_active:
        conditions.append(price_tiers.c.active.is_(true()))
    if listing.only_visible:
        conditions.append(price_tiers.c.visible.is_(true()))
    return conditions


def _name_taken(tier: PriceTier) -> DomainError:
    message = "the event has a price tier of this name on this date"
    return DomainError(
        Reason.NAME_TAKEN,
        message,
        metadata={"name": tier.terms.name},
        violations=(FieldViolation(field="price_tier.name", message=message),),
    )


async def _add_versions(transaction: Transaction, tiers: Sequence[PriceTier], *, actor: str) -> None:
    await transaction.execute(
        insert(price_tier_versions),
        [
            {
                "organization_id": tier.organization_id,
                "price_tier_id": tier.id,
                "version": tier.version,
                "event_id": tier.event_id,
                "actor": actor,
                "occur_time": tier.update_time,
                **_values(tier.terms),
            }
            for tier in tiers
        ],
    )


def _values(terms: PriceTerms) -> dict[str, Any]:
    return {name: getattr(terms, name) for name in TERMS}


def terms_of(row: RowMapping) -> PriceTerms:
    """Read the terms of a row of either table."""
    return PriceTerms(**{name: row[name] for name in TERMS})


def _price_tier(row: RowMapping) -> PriceTier:
    return PriceTier(
        id=row["id"],
        organization_id=row["organization_id"],
        event_id=row["event_id"],
        terms=terms_of(row),
        version=row["version"],
        create_time=row["create_time"],
        update_time=row["update_time"],
        delete_time=row["delete_time"],
    )
