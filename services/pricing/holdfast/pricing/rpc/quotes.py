"""QuoteService: translate, call, translate."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from holdfast.api.pricing.v1 import quote_service_pb2
from holdfast.common.protobuf import to_timestamp
from holdfast.pricing import convert
from holdfast.pricing.domain.price_locks import PriceRefusal
from holdfast.pricing.operations import prices
from holdfast.pricing.rpc.breakdowns import Breakdowns
from holdfast.pricing.rpc.price_tiers import sees_visible_only

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable, Iterable

    from holdfast.common.database import Database
    from holdfast.common.rpc_server import Call
    from holdfast.pricing.domain.price_locks import LockLine

ORGANIZATIONS_AT_ONCE: Final = 4
"""How many organizations of one batch are read at the same time; each needs a transaction of its own."""


class QuoteServicer:
    """What things cost."""

    def __init__(self, *, database: Database) -> None:
        self._database = database
        self._breakdowns = Breakdowns()
        self._tiers = prices.TierVersions()

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
        """Compute the prices that holds are about to lock, each organization's in one transaction with one reading."""
        by_organization: dict[str, list[tuple[int, LockLine]]] = {}
        for index, message in enumerate(request.lines):
            line = convert.lock_line(message)
            by_organization.setdefault(line.organization_id, []).append((index, line))
        outcomes: list[quote_service_pb2.LockPriceOutcome | None] = [None] * len(request.lines)
        waiting = iter(by_organization.items())

        async def work() -> None:
            for organization_id, lines in waiting:
                decided = await self._decide(organization_id, [line for _, line in lines], call)
                for (index, _), outcome in zip(lines, decided, strict=True):
                    outcomes[index] = outcome

        if len(by_organization) == 1:
            await work()
        else:
            await _all_of(work for _ in range(min(ORGANIZATIONS_AT_ONCE, len(by_organization))))
        return quote_service_pb2.LockPricesResponse(outcomes=[outcome for outcome in outcomes if outcome is not None])

    async def _decide(
        self, organization_id: str, lines: list[LockLine], call: Call
    ) -> list[quote_service_pb2.LockPriceOutcome]:
        """Decide the lines of one organization. Those that cost the same share a message, copied on sending."""
        decided = await self._database.run(
            lambda transaction: prices.lock_prices(transaction, lines, known=self._tiers),
            organization_id=organization_id,
            deadline=call.deadline,
        )
        shared: dict[Hashable, quote_service_pb2.LockPriceOutcome] = {}
        outcomes = []
        for each in decided:
            if isinstance(each, PriceRefusal):
                outcome = convert.price_refusal(each)
            else:
                same = each.same_lock()
                known = shared.get(same)
                if known is None:
                    known = shared[same] = convert.price_lock(each, self._breakdowns.of(each))
                outcome = known
            outcomes.append(outcome)
        return outcomes


async def _all_of(work: Iterable[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    """Do work side by side. The first failure ends all of it and is raised."""
    tasks = [asyncio.create_task(each()) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
