"""Taking seatings with prices to their end: by the call that asked for them, or by whichever replica finds them left.

Every step may be taken again, by several at once: pricing knows a seating by its id, and an event's lock decides once
whether its sections are made. So nobody has to own a saga; a lease only keeps two from doing the same.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from holdfast.api.common.v1 import seating_config_pb2
from holdfast.api.pricing.v1 import price_tier_service_pb2
from holdfast.capacity.convert_seating import config_of
from holdfast.capacity.domain.audits import Author, ResourceType
from holdfast.capacity.domain.seating import plan
from holdfast.capacity.domain.seating_sagas import SeatingSaga
from holdfast.capacity.operations.auditing import Audited
from holdfast.capacity.operations.seating import RPC, DecideSeating
from holdfast.capacity.store import seating_sagas as store
from holdfast.common.errors import DomainError, Reason
from holdfast.common.protobuf import to_money
from holdfast.common.tasks import pause

if TYPE_CHECKING:
    from holdfast.capacity.domain.seating import PlannedSection, SeatingConfig
    from holdfast.capacity.engine.batches import Engine
    from holdfast.capacity.operations.sections import SectionsMade
    from holdfast.capacity.outside import Outside
    from holdfast.capacity.store.seating_sagas import DueSaga
    from holdfast.common.database import Database, Transaction
    from holdfast.common.metrics import Metrics

SAGAS_MAX: Final = 20
"""Sagas that one look finds."""
INTERVAL_SECONDS: Final = 1.0
DEADLINE_SECONDS: Final = 10.0

FOR_GOOD: Final = frozenset({Reason.NAME_TAKEN, Reason.VALIDATION_FAILED, Reason.UNKNOWN_CURRENCY})
"""What pricing refuses for good; all else may be otherwise the next time."""

logger = structlog.get_logger(__name__)


class SeatingSagas:
    """The sagas as this process works on them."""

    def __init__(
        self, *, database: Database, sweeper: Database, engine: Engine, outside: Outside, metrics: Metrics
    ) -> None:
        self._database = database
        self._sweeper = sweeper
        self._engine = engine
        self._outside = outside
        self._resumed = metrics.seatings_resumed_total

    async def finish(self, saga: SeatingSaga, *, deadline: float) -> SectionsMade | None:
        """Take a saga to its end for a call; `deadline`: `loop.time()`.

        Raises what refuses it. None if somebody else took it to an end that left nothing: what was asked for can be
        asked for anew. Any other DomainError says that it is under way still, and goes on by itself.
        """
        try:
            end = await self._advance(saga, deadline=deadline, give_up=False)
        except DomainError as error:
            await self._hasten(saga)
            raise DomainError(
                error.reason,
                f"{error.message}; the seating goes on by itself, and the same request_id tells what became of it",
                metadata=error.metadata,
                retry_after_seconds=error.retry_after_seconds,
            ) from error
        if isinstance(end, DomainError):
            raise end
        return end

    async def run(self, stop: asyncio.Event) -> None:
        """Take sagas that were left to their end, until `stop` is set. Outlives restarts of PostgreSQL and pricing."""
        while not stop.is_set():
            found = 0
            try:
                found = await self._look(stop)
            except DomainError as error:
                logger.info("seatings wait", cause=str(error))
            if found < SAGAS_MAX:
                await pause(stop, INTERVAL_SECONDS)

    async def _look(self, stop: asyncio.Event) -> int:
        async def find(transaction: Transaction) -> list[DueSaga]:
            return await store.find_due(transaction, limit=SAGAS_MAX)

        found = await self._sweeper.run(find, organization_id=None)
        for due in found:
            if stop.is_set():
                break
            try:
                await self._resume(due)
            except DomainError as error:
                self._resumed.labels("waits").inc()
                logger.info("a seating waits", saga_id=due.saga_id, cause=str(error))
            except Exception:
                logger.exception("a seating failed", saga_id=due.saga_id)
        return len(found)

    async def _resume(self, due: DueSaga) -> None:
        claimed = await self._database.run(
            lambda transaction: store.claim(transaction, due.saga_id), organization_id=due.organization_id
        )
        if claimed is None:
            return
        saga, give_up = claimed
        deadline = asyncio.get_running_loop().time() + DEADLINE_SECONDS
        end = await self._advance(saga, deadline=deadline, give_up=give_up)
        refused = isinstance(end, DomainError)
        self._resumed.labels("refused" if refused else "made" if end else "gone").inc()
        logger.info("took a seating up that was left", saga_id=saga.saga_id, refusal=str(end) if refused else "")

    async def _advance(self, saga: SeatingSaga, *, deadline: float, give_up: bool) -> SectionsMade | DomainError | None:
        """Take the steps that are left; gives what was made, what refused it, or None if it is gone."""
        if saga.refusal is None:
            planned = plan(config_of_saga(saga))
            refusal = await self._make_prices(saga, planned, give_up=give_up)
            author = Author(saga.caller, RPC, request_id=saga.request_id)
            command = Audited(DecideSeating(saga, planned, refusal), author, ResourceType.SECTION, saga.section_ids)
            decided = await self._engine.submit(saga.organization_id, saga.event_id, command, deadline=deadline)
            if not isinstance(decided, SeatingSaga):
                return decided
            saga = decided
        await self._withdraw(saga)
        return saga.refusal

    async def _make_prices(
        self, saga: SeatingSaga, planned: tuple[PlannedSection, ...], *, give_up: bool
    ) -> DomainError | None:
        """Have the price tiers made; gives what refuses them for good. Raises what may be otherwise the next time."""
        try:
            await self._outside.add_seating_prices(saga, prices_of(saga, planned))
        except DomainError as error:
            if error.reason in FOR_GOOD or give_up:
                return error
            raise
        return None

    async def _withdraw(self, saga: SeatingSaga) -> None:
        """Have the price tiers of a refused saga deleted, and forget it. What fails is done later."""
        try:
            await self._outside.withdraw_seating_prices(saga)
            await self._database.run(
                lambda transaction: store.forget(transaction, saga.saga_id), organization_id=saga.organization_id
            )
        except DomainError as error:
            logger.info("prices of a seating are withdrawn later", saga_id=saga.saga_id, cause=str(error))

    async def _hasten(self, saga: SeatingSaga) -> None:
        try:
            await self._database.run(
                lambda transaction: store.hasten(transaction, saga.saga_id), organization_id=saga.organization_id
            )
        except DomainError as error:
            logger.info("a seating waits for its lease to end", saga_id=saga.saga_id, cause=str(error))


def config_of_saga(saga: SeatingSaga) -> SeatingConfig:
    """Read the configuration of a saga as it was read when it began."""
    config = seating_config_pb2.SeatingConfig.FromString(saga.config)
    return config_of(config, currency_code=saga.currency_code)


def prices_of(saga: SeatingSaga, planned: tuple[PlannedSection, ...]) -> list[price_tier_service_pb2.SeatingPrice]:
    """Give the price tiers of those sections that have a price."""
    ids = iter(saga.price_tier_ids)
    return [
        price_tier_service_pb2.SeatingPrice(
            price_tier_id=next(ids),
            section_id=section_id,
            name=section.title,
            tier=section.tier or "",
            base_price=to_money(section.price),
        )
        for section, section_id in zip(planned, saga.section_ids, strict=True)
        if section.price is not None
    ]
