"""Doing something once: the request's key, and the answer's kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from holdfast.common import idempotency

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.common.database import Transaction
    from holdfast.common.idempotency import RequestKey

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What an operation gives; `replayed` = its effect happened before, and this is how it stands now."""

    value: T
    replayed: bool


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. `member` = may see what is not public of the organization's events."""

    subject: str
    organization_id: str
    member: bool


async def once(
    transaction: Transaction,
    key: RequestKey,
    *,
    find: Callable[[str], Awaitable[T]],
    do: Callable[[], Awaitable[tuple[str, T]]],
) -> Outcome[T]:
    """Do it unless this request did it before; `find` then reads what it made, by its id.

    `do` gives the id of what it made and the result. The key is recorded in the same transaction.
    """
    known = await idempotency.replayed(transaction, key)
    if known is not None:
        return Outcome(value=await find(known), replayed=True)
    resource_id, value = await do()
    await idempotency.record(transaction, key, resource_id)
    return Outcome(value=value, replayed=False)
