"""Exchanging places of sales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.api.capacity.v1 import messages_pb2
from holdfast.capacity.domain.adding import OtherPriceError
from holdfast.capacity.domain.exchanging import ExchangeRequest, exchange
from holdfast.capacity.domain.placing import OtherDateError
from holdfast.capacity.journal_messages import told_difference
from holdfast.capacity.operations.access import sale_not_found
from holdfast.capacity.operations.holds import need_lines
from holdfast.capacity.store import inventories, journal
from holdfast.capacity.store import sales as store
from holdfast.common import idempotency

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.capacity.domain.sales import Sale, SaleExchange
    from holdfast.capacity.engine.needs import Needs
    from holdfast.capacity.engine.unit import Unit
    from holdfast.common.database import Transaction
    from holdfast.common.idempotency import RequestKey
    from holdfast.common.money import Money


@dataclass(frozen=True, slots=True)
class ExchangeOutcome:
    """The exchange that a call made, now or before, the commit that made it, and the version and time of the answer.

    `made` is None of one that was made before: the journal tells what it was.
    """

    exchange_id: str
    made_version: int
    version: int
    at: datetime
    made: SaleExchange | None = None
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class ExchangeSeats:
    """Exchanges places of a sale. `customer_id` is the sale's, which never changes."""

    request: ExchangeRequest
    customer_id: str
    key: RequestKey

    def need(self, needs: Needs) -> None:
        """Ask for the sale, its sections, and what the new lines are judged by."""
        needs.sales.add(self.request.sale_id)
        needs.keys.add(self.key)
        need_lines(needs, self.customer_id, self.request.taken)

    def decide(self, unit: Unit) -> ExchangeOutcome | None:
        """Exchange them, or answer what the same request did; None if its prices are for something else by now."""
        inventory, exchange_id = unit.inventory, self.request.exchange_id
        sale = inventory.sales.now.get(self.request.sale_id)
        if sale is None:
            raise sale_not_found(self.request.sale_id)
        known = unit.replayed(self.key)
        if known is not None:
            known_id, made_version = _read_result(known)
            # The same id: an earlier attempt of this very call, whose commit was not known to have succeeded.
            return ExchangeOutcome(
                known_id, made_version, inventory.version, inventory.at, replayed=known_id != exchange_id
            )
        try:
            made = exchange(inventory, sale, self.request)
        except (OtherPriceError, OtherDateError):
            return None
        version = inventory.next_version
        unit.record(self.key, _result(exchange_id, version))
        return ExchangeOutcome(exchange_id, version, version, inventory.at, made=made)


async def sale_to_exchange(transaction: Transaction, *, sale_id: str) -> Sale:
    """Read a sale as it is stored, to price an exchange; SALE_NOT_FOUND."""
    sale = await store.get(transaction, sale_id)
    if sale is None:
        raise sale_not_found(sale_id)
    return sale


async def find_exchange(transaction: Transaction, *, sale: Sale, key: RequestKey) -> ExchangeOutcome | None:
    """Return what the same request exchanged before. Raises IDEMPOTENCY_KEY_REUSED."""
    known = await idempotency.replayed(transaction, key)
    if known is None:
        return None
    stored = await inventories.read(transaction, sale.event_id)
    if stored is None:
        raise RuntimeError("a sale has an event")
    return ExchangeOutcome(*_read_result(known), stored.version, stored.at, replayed=True)


async def difference_of(transaction: Transaction, event_id: str, outcome: ExchangeOutcome) -> Money | None:
    """Tell what an exchange of an event's sale made a difference of."""
    if outcome.made is not None:
        return outcome.made.difference
    rows = await journal.page(transaction, event_id, after_version=outcome.made_version - 1, limit=1)
    change = messages_pb2.InventoryChanged.FromString(rows[0])
    return next(told_difference(each) for each in change.exchanges if each.exchange_id == outcome.exchange_id)


def _result(exchange_id: str, version: int) -> str:
    """Give what a key stands for: which exchange, and which commit made it."""
    return f"{exchange_id} {version}"


def _read_result(stored: str) -> tuple[str, int]:
    exchange_id, version = stored.split()
    return exchange_id, int(version)
