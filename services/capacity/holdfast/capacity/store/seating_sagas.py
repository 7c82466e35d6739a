"""Seating sagas as rows: statements for commits of an event's inventory, and queries of their own."""

from __future__ import annotations

import json
from collections import namedtuple
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, func, select, update

from holdfast.capacity.domain.seating_sagas import GIVEN_UP_SECONDS, LEASE_SECONDS, RETRY_SECONDS_MAX, SeatingSaga
from holdfast.capacity.store.arrays import plain
from holdfast.capacity.store.tables import seating_sagas
from holdfast.common.database import Statement
from holdfast.common.errors import DomainError, FieldViolation, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from holdfast.common.database import Transaction

# The columns that make a saga, in the order of the queries below.
_Row = namedtuple(  # noqa: PYI024 (its columns are of all types; the decoder gives them theirs)
    "_Row",
    "id organization_id event_id schedule_id caller request_id fingerprint config currency_code section_ids"
    " price_tier_ids refusal",
)
_OF_REQUEST: Final = """
SELECT id, organization_id, event_id, schedule_id, caller, request_id, fingerprint, config, currency_code, section_ids,
  price_tier_ids, refusal
FROM capacity.seating_sagas WHERE organization_id = $1 AND caller = $2 AND request_id = $3"""
_BEGIN: Final = """
INSERT INTO capacity.seating_sagas (id, organization_id, event_id, schedule_id, caller, request_id, fingerprint, config,
  currency_code, section_ids, price_tier_ids, create_time, due_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text[], $11::text[], $12, $13)"""
_REFUSE: Final = """
UPDATE capacity.seating_sagas SET refusal = $3::jsonb, attempts = 0, due_time = $4
WHERE organization_id = $1 AND id = $2"""
_END: Final = "DELETE FROM capacity.seating_sagas WHERE organization_id = $1 AND id = $2"
_LEASE: Final = timedelta(seconds=LEASE_SECONDS)


def of_request(organization_id: str, caller: str, request_id: str) -> Statement:
    """Read the saga of a request."""
    return Statement(_OF_REQUEST, (organization_id, caller, request_id))


def begin(saga: SeatingSaga, at: datetime) -> Statement:
    """Note a saga that begins; whoever began it has it for the time of a lease."""
    return Statement(
        _BEGIN,
        (
            saga.saga_id,
            saga.organization_id,
            saga.event_id,
            saga.schedule_id,
            saga.caller,
            saga.request_id,
            saga.fingerprint,
            saga.config,
            saga.currency_code,
            plain(saga.section_ids),
            plain(saga.price_tier_ids),
            at,
            at + _LEASE,
        ),
    )


def refuse(saga: SeatingSaga, at: datetime) -> Statement:
    """Note why a saga is not made."""
    return Statement(_REFUSE, (saga.organization_id, saga.saga_id, _refusal_text(saga.refusal), at + _LEASE))


def end(saga: SeatingSaga) -> Statement:
    """Forget a saga that is made, in the commit that makes it."""
    return Statement(_END, (saga.organization_id, saga.saga_id))


def sagas_of(rows: Iterable[Sequence[Any]]) -> list[SeatingSaga]:
    """Read sagas from rows of the query above."""
    return [_saga_of(_Row(*row)) for row in rows]


def _saga_of(row: Any) -> SeatingSaga:
    return SeatingSaga(
        saga_id=row.id,
        organization_id=row.organization_id,
        event_id=row.event_id,
        schedule_id=row.schedule_id,
        caller=row.caller,
        request_id=row.request_id,
        fingerprint=bytes(row.fingerprint),
        config=bytes(row.config),
        currency_code=row.currency_code,
        section_ids=tuple(row.section_ids),
        price_tier_ids=tuple(row.price_tier_ids),
        refusal=_refusal_of(row.refusal),
    )


def _refusal_text(refusal: DomainError | None) -> str | None:
    if refusal is None:
        return None
    return json.dumps(
        {
            "reason": refusal.reason.value,
            "message": refusal.message,
            "metadata": dict(refusal.metadata),
            "violations": [[each.field, each.message] for each in refusal.violations],
        }
    )


def _refusal_of(stored: Any) -> DomainError | None:
    if stored is None:
        return None
    return DomainError(
        Reason(stored["reason"]),
        stored["message"],
        metadata=stored["metadata"],
        violations=[FieldViolation(field=field, message=message) for field, message in stored["violations"]],
    )


@dataclass(frozen=True, slots=True)
class DueSaga:
    """A saga that nobody works on."""

    organization_id: str
    saga_id: str


async def find_due(transaction: Transaction, *, limit: int) -> list[DueSaga]:
    """Return sagas that are due now, of any organization, longest due first. For the sweeper's role."""
    result = await transaction.execute(
        select(seating_sagas.c.organization_id, seating_sagas.c.id)
        .where(seating_sagas.c.due_time <= func.clock_timestamp())
        .order_by(seating_sagas.c.due_time)
        .limit(limit)
    )
    return [DueSaga(organization_id=row.organization_id, saga_id=row.id) for row in result]


async def find(transaction: Transaction, *, caller: str, request_id: str) -> SeatingSaga | None:
    """Read the saga of a request."""
    result = await transaction.execute(
        select(seating_sagas).where(
            seating_sagas.c.organization_id == transaction.organization_id,
            seating_sagas.c.caller == caller,
            seating_sagas.c.request_id == request_id,
        )
    )
    row = result.one_or_none()
    return None if row is None else _saga_of(row)


async def claim(transaction: Transaction, saga_id: str) -> tuple[SeatingSaga, bool] | None:
    """Take over a saga that is due, and tell whether it is to be given up; None when somebody else was faster.

    It is due again after a lease, after twice that the next time, and so on.
    """
    now = func.clock_timestamp()
    pause = func.least(RETRY_SECONDS_MAX, LEASE_SECONDS * func.power(2, func.least(seating_sagas.c.attempts, 16)))
    given_up = now > seating_sagas.c.create_time + _seconds(GIVEN_UP_SECONDS)
    result = await transaction.execute(
        update(seating_sagas)
        .where(
            seating_sagas.c.organization_id == transaction.organization_id,
            seating_sagas.c.id == saga_id,
            seating_sagas.c.due_time <= now,
        )
        .values(attempts=seating_sagas.c.attempts + 1, due_time=now + _seconds(pause))
        .returning(*seating_sagas.c, given_up.label("given_up"))
    )
    row = result.one_or_none()
    return None if row is None else (_saga_of(row), row.given_up)


async def hasten(transaction: Transaction, saga_id: str) -> None:
    """Let a saga be due at once: whoever worked on it stopped."""
    await transaction.execute(
        update(seating_sagas)
        .where(seating_sagas.c.organization_id == transaction.organization_id, seating_sagas.c.id == saga_id)
        .values(due_time=func.clock_timestamp())
    )


async def forget(transaction: Transaction, saga_id: str) -> None:
    """Forget a saga that was refused and whose prices are withdrawn."""
    await transaction.execute(
        delete(seating_sagas).where(
            seating_sagas.c.organization_id == transaction.organization_id,
            seating_sagas.c.id == saga_id,
            seating_sagas.c.refusal.is_not(None),
        )
    )


def _seconds(seconds: Any) -> Any:
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds)
