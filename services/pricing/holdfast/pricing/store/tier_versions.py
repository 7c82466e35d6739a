"""Which versions of price tiers are in force, and what versions say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import ARRAY, BigInteger, Text, and_, any_, bindparam, func, literal, select

from holdfast.pricing.domain.price_tiers import TierVersion
from holdfast.pricing.store.price_tiers import terms_of
from holdfast.pricing.store.tables import price_tier_versions, price_tiers

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from holdfast.common.database import Transaction

VersionKey = tuple[str, int]
"""A tier's id and the number of one of its versions."""

_ONE: Final = select(literal(1).label("one")).subquery("one")
_IN_FORCE: Final = select(
    func.clock_timestamp().label("read_time"), price_tiers.c.id, price_tiers.c.version
).select_from(
    _ONE.outerjoin(
        price_tiers,
        and_(
            price_tiers.c.organization_id == bindparam("of_organization"),
            price_tiers.c.id == any_(bindparam("ids", type_=ARRAY(Text))),
            price_tiers.c.delete_time.is_(None),
        ),
    )
)
"""The versions in force of some tiers and the time of the reading, in one round trip, also when there are none."""

_WANTED: Final = (
    func.unnest(bindparam("ids", type_=ARRAY(Text)), bindparam("versions", type_=ARRAY(BigInteger)))
    .table_valued("id", "version", name="wanted")
    .render_derived()
)
_READ: Final = select(*price_tier_versions.c).select_from(
    _WANTED.join(
        price_tier_versions,
        and_(
            price_tier_versions.c.organization_id == bindparam("of_organization"),
            price_tier_versions.c.price_tier_id == _WANTED.c.id,
            price_tier_versions.c.version == _WANTED.c.version,
        ),
    )
)


async def in_force(transaction: Transaction, ids: Collection[str]) -> tuple[datetime, dict[str, int]]:
    """Give the database's time, and the version in force then of those of some tiers that the organization has."""
    result = await transaction.execute(
        _IN_FORCE, {"of_organization": transaction.require_organization(), "ids": list(ids)}
    )
    rows = result.mappings().all()
    return rows[0]["read_time"], {row["id"]: row["version"] for row in rows if row["id"] is not None}


async def read(transaction: Transaction, keys: Collection[VersionKey]) -> dict[VersionKey, TierVersion]:
    """Read those of some versions that the organization's tiers ever had, also of tiers that are deleted."""
    organization_id = transaction.require_organization()
    result = await transaction.execute(
        _READ,
        {
            "of_organization": organization_id,
            "ids": [price_tier_id for price_tier_id, _ in keys],
            "versions": [version for _, version in keys],
        },
    )
    return {
        (row["price_tier_id"], row["version"]): TierVersion(
            organization_id=organization_id,
            price_tier_id=row["price_tier_id"],
            event_id=row["event_id"],
            version=row["version"],
            terms=terms_of(row),
        )
        for row in result.mappings()
    }
