"""QuoteService: translate, call, translate."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from holdfast.api.pricing.v1 import quote_service_pb2
from holdfast.common.protobuf import to_timestamp
from holdfast.pricing import convert
from holdfast.pricing.domain.price_locks import LockLine, PriceLock, PriceRefusal
from holdfast.pricing.operations import prices
from holdfast.pricing.rpc.breakdowns import Breakdowns
from holdfast.pricing.rpc.price_tiers import sees_visible_only

if TYPE_CHECKING:
    from holdfast.common.database import Database
    from holdfast.common.rpc_server import Call

ORGANIZATIONS_AT_ONCE: Final = 4
"""How many organizations of one batch are read at the same time; each needs a transaction of its own."""


class QuoteServicer:
    """What things cost."""

    def __init__(self, *, database: Database) -> None:
        self._database = database
        self._breakdowns = Breakdowns()

    async def calculate_price(
        self, request: quote_service_pb2.CalculatePriceRequest, call: Call
    ) -> quote_service_pb2.CalculatePriceResponse:
        """Compute what a number of tickets costs now."""
        only_visible = sees_visible_only(call.principal)
        tier, price, now = await self._database.run(
            lambda transaction: prices.calculate_price(
                transaction, request.price_tier_id.lower(), quantity=request.quantity, only_visible=only_visible
            ),
            organization_id=call.organization_id,
            deadline=call.deadline,
        )
        return quote_service_pb2.CalculatePriceResponse(
            price=convert.price_breakdown(price), price_tier_version=tier.version, server_time=to_timestamp(now)
        )

    async def lock_prices(
        self, request: quote_service_pb2.LockPricesRequest, call: Call
    ) -> quote_service_pb2.LockPricesResponse:
        """Compute the prices that holds are about to lock.

        Lines that are equal are decided once, and each organization's in one transaction with one reading.
        """
        same = [line.SerializeToString(deterministic=True) for line in request.lines]
        lines = {
            content: convert.lock_line(line) for content, line in dict(zip(same, request.lines, strict=True)).items()
        }
        by_organization: dict[str, set[LockLine]] = {}
        for line in lines.values():
            by_organization.setdefault(line.organization_id, set()).add(line)
        outcomes: dict[LockLine, quote_service_pb2.LockPriceOutcome] = {}
        await self._lock_all(by_organization, outcomes, call)
        return quote_service_pb2.LockPricesResponse(outcomes=[outcomes[lines[content]] for content in same])

    def _outcome(self, outcome: PriceLock | PriceRefusal) -> quote_service_pb2.LockPriceOutcome:
        if isinstance(outcome, PriceRefusal):
            return convert.price_refusal(outcome)
        return convert.price_lock(outcome, self._breakdowns.of(outcome))

    async def _lock_all(
        self,
        by_organization: dict[str, set[LockLine]],
        outcomes: dict[LockLine, quote_service_pb2.LockPriceOutcome],
        call: Call,
    ) -> None:
        """Decide the lines of every organization. The first failure ends the whole call and is what it answers."""
        waiting = iter(by_organization.items())

        async def work() -> None:
            for organization_id, lines in waiting:
                decided = await self._database.run(
                    lambda transaction, lines=lines: prices.lock_prices(transaction, lines),  # type: ignore[misc] # bound
                    organization_id=organization_id,
                    deadline=call.deadline,
                )
                for line, outcome in decided.items():
                    outcomes[line] = self._outcome(outcome)

        if len(by_organization) == 1:
            await work()
            return
        workers = [asyncio.create_task(work()) for _ in range(min(ORGANIZATIONS_AT_ONCE, len(by_organization)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
