"""The database's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.common.database import Transaction


async def database_time(transaction: Transaction) -> datetime:
    """Read the time now; not that of the transaction's begin."""
    moment: datetime = (await transaction.execute(select(func.clock_timestamp()))).scalar_one()
    return moment
