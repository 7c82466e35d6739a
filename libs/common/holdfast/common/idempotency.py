"""A request that is repeated with its key has the effect, and the answer, of the first."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, insert, select

from holdfast.common import schema as tables
from holdfast.common.database import Transaction
from holdfast.common.errors import DomainError, Reason

KEY_RETENTION = timedelta(hours=48)
"""Keys are kept at least this long."""

_FORGOTTEN_PER_RECORD = 2


@dataclass(frozen=True, slots=True)
class RequestKey:
    """Which request of whom: keys of different organizations, callers and RPCs never meet.

    `fingerprint` is a hash of the request without its key; the same key with another fingerprint is another request.
    """

    caller: str
    rpc: str
    request_id: str
    fingerprint: bytes


async def replayed(transaction: Transaction, key: RequestKey | None) -> str | None:
    """Return the id of the resource that this request made before, or None when it is new or has no key.

    Takes a lock on the key until the transaction ends, so that of requests running at the same time all but the first
    wait here and then see its effect. Raises DomainError IDEMPOTENCY_KEY_REUSED when the key came with other content.
    """
    if key is None:
        return None
    requests = tables.requests_table(transaction.schema)
    # Advisory locks belong to the whole database: the schema and the organization are part of the name.
    parts = (transaction.schema, transaction.require_organization(), key.caller, key.rpc, key.request_id)
    name = "\x1f".join(parts)
    await transaction.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    # A statement of its own, because one that waited for the lock would still look at the state from before the wait.
    row = (
        await transaction.execute(
            select(requests.c.fingerprint, requests.c.resource_id).where(
                requests.c.organization_id == transaction.require_organization(),
                requests.c.caller == key.caller,
                requests.c.rpc == key.rpc,
                requests.c.request_id == key.request_id,
            )
        )
    ).one_or_none()
    if row is None:
        return None
    if bytes(row.fingerprint) != key.fingerprint:
        raise DomainError(
            Reason.IDEMPOTENCY_KEY_REUSED,
            "this request_id was used before with other content",
            metadata={"request_id": key.request_id},
        )
    return str(row.resource_id)


async def record(transaction: Transaction, key: RequestKey | None, resource_id: str) -> None:
    """Note that the request made `resource_id`, in the transaction that makes it; without a key, note nothing.

    Also forgets a few of the organization's keys that are older than the retention, so that the table stays bounded
    by the rate of requests without a cleaner that would have to see all organizations.
    """
    if key is None:
        return
    requests = tables.requests_table(transaction.schema)
    organization_id = transaction.require_organization()
    forgotten = (
        select(requests.c.caller, requests.c.rpc, requests.c.request_id)
        .where(
            requests.c.organization_id == organization_id,
            # Asked for once: compared with each row's, it would keep the index from being used.
            requests.c.create_time < select(func.clock_timestamp() - KEY_RETENTION).scalar_subquery(),
        )
        .order_by(requests.c.create_time)
        .limit(_FORGOTTEN_PER_RECORD)
        .with_for_update(skip_locked=True)
        .cte("forgotten")
    )
    forget = (
        delete(requests)
        .where(
            requests.c.organization_id == organization_id,
            requests.c.caller == forgotten.c.caller,
            requests.c.rpc == forgotten.c.rpc,
            requests.c.request_id == forgotten.c.request_id,
        )
        .cte("forget")
    )
    await transaction.execute(
        insert(requests)
        .values(
            organization_id=organization_id,
            caller=key.caller,
            rpc=key.rpc,
            request_id=key.request_id,
            fingerprint=key.fingerprint,
            resource_id=resource_id,
        )
        .add_cte(forget)
    )
