"""The service's clock: its database's, so that a replica with a wrong clock changes no price and no window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.common.database import Transaction


async def read_time(transaction: Transaction) -> datetime:
    """Give the database's time now, aware, in UTC."""
    now: datetime = (await transaction.execute(select(func.clock_timestamp()))).scalar_one()
    return now
