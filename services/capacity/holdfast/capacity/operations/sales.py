"""Returning and reading sales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.capacity.domain.returning import return_sale
from holdfast.capacity.operations.access import sale_not_found
from holdfast.capacity.store import inventories
from holdfast.capacity.store import sales as store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from holdfast.capacity.domain.returning import ReturnRequest
    from holdfast.capacity.domain.sales import Sale, SaleReturn
    from holdfast.capacity.engine.needs import Needs
    from holdfast.capacity.engine.unit import Unit
    from holdfast.capacity.operations.access import Viewer
    from holdfast.capacity.store.sales import Cursor, SaleFilter
    from holdfast.common.database import Transaction
    from holdfast.common.idempotency import RequestKey


@dataclass(frozen=True, slots=True)
class ReturnOutcome:
    """The return that a call made, now or before, and the version and time of that."""

    return_id: str
    version: int
    at: datetime
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class SaleRead:
    """A sale as it stands, and what came back of it, oldest first."""

    sale: Sale
    returns: tuple[SaleReturn, ...]


@dataclass(frozen=True, slots=True)
class SalePage:
    """Sales as they stand at a time."""

    sales: tuple[SaleRead, ...]
    at: datetime
    total: int | None


@dataclass(frozen=True, slots=True)
class ReturnSale:
    """Takes back places of a sale."""

    request: ReturnRequest
    key: RequestKey

    def need(self, needs: Needs) -> None:
        """Ask for the sale, its sections."""
        needs.sales.add(self.request.sale_id)
        needs.keys.add(self.key)

    def decide(self, unit: Unit) -> ReturnOutcome:
        """Take them back, or answer the return that the same request made before."""
        inventory, return_id = unit.inventory, self.request.return_id
        sale = inventory.sales.now.get(self.request.sale_id)
        if sale is None:
            raise sale_not_found(self.request.sale_id)
        known = unit.replayed(self.key)
        if known is not None:
            # The same id: an earlier attempt of this very call, whose commit was not known to have succeeded.
            return ReturnOutcome(known, inventory.version, inventory.at, replayed=known != return_id)
        return_sale(inventory, sale, self.request)
        unit.record(self.key, return_id)
        return ReturnOutcome(return_id, inventory.next_version, inventory.at)


async def get_sale(transaction: Transaction, sale_id: str, *, viewer: Viewer) -> SalePage:
    """Read a sale as it stands now; SALE_NOT_FOUND also when it is not the caller's."""
    at = await inventories.clock(transaction)
    sale = await store.get(transaction, sale_id)
    if sale is None or not (viewer.reads_all or sale.customer_id == viewer.subject):
        raise sale_not_found(sale_id)
    return SalePage(await _as_they_stand(transaction, [sale]), at, total=None)


async def returns_of(transaction: Transaction, sale: Sale) -> tuple[SaleReturn, ...]:
    """Read what had come back of a sale when it was read, oldest first."""
    return (await _returns_of(transaction, [sale]))[sale.sale_id]


async def list_sales(
    transaction: Transaction, wanted: SaleFilter, *, limit: int, after: Cursor | None, with_total: bool
) -> SalePage:
    """Read a page of sales, newest first, each as it stands now."""
    at = await inventories.clock(transaction)
    found = await store.page(transaction, wanted, limit=limit, after=after)
    return SalePage(
        sales=await _as_they_stand(transaction, found),
        at=at,
        total=await store.count(transaction, wanted) if with_total else None,
    )


async def _as_they_stand(transaction: Transaction, found: Sequence[Sale]) -> tuple[SaleRead, ...]:
    voids = await inventories.open_voids(transaction, sorted({sale.event_id for sale in found}))
    returns = await _returns_of(transaction, found)
    return tuple(SaleRead(sale.seen(voids.get(sale.event_id, ())), returns[sale.sale_id]) for sale in found)


async def _returns_of(transaction: Transaction, found: Sequence[Sale]) -> dict[str, tuple[SaleReturn, ...]]:
    """Read returns by sale, but not what came back after the sale was read."""
    returns = await store.returns_of(transaction, [sale.sale_id for sale in found if sale.returned])
    return {
        sale.sale_id: tuple(
            each
            for each in returns.get(sale.sale_id, ())
            if sale.update_time is not None and each.create_time <= sale.update_time
        )
        for sale in found
    }
