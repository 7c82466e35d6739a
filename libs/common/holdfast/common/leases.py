"""A piece of work that one process at a time may do: a lease with an epoch, timed by the database's clock."""

from dataclasses import dataclass
from typing import Final

from holdfast.common.database import Sender, Statement
from holdfast.common.roles import checked_name


class LeaseLost(Exception):  # noqa: N818 (a fact about the lease, not a fault)
    """The lease has another holder or another epoch by now: stop, and write nothing more in its name."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as the database has it. `note` is what an earlier holder left."""

    name: str
    holder: str
    epoch: int
    note: str


async def acquire(transaction: Sender, *, schema: str, name: str, holder: str, ttl_seconds: float) -> int | None:
    """Take the lease if it is free or over, and return its new epoch; None while another holder has it.

    Every acquisition, by whomever, raises the epoch by one, so that an earlier holder's doings can be told.
    """
    (rows,) = await transaction.send(_statement(_ACQUIRE, schema, name, holder, ttl_seconds))
    return rows[0][0] if rows else None


async def renew(transaction: Sender, *, schema: str, name: str, epoch: int, ttl_seconds: float) -> None:
    """Extend the lease from now. Also revives one that ran out but that nobody took. Raises LeaseLost."""
    (rows,) = await transaction.send(_statement(_RENEW, schema, name, epoch, ttl_seconds))
    if not rows:
        raise LeaseLost(name)


async def fence(transaction: Sender, *, schema: str, name: str, epoch: int) -> Lease:
    """Read the lease and hold off a takeover until this transaction ends. Raises LeaseLost when it was taken over."""
    (rows,) = await transaction.send(_statement(_FENCE, schema, name, epoch))
    if not rows:
        raise LeaseLost(name)
    holder, note = rows[0]
    return Lease(name=name, holder=holder, epoch=epoch, note=note)


async def leave_note(transaction: Sender, *, schema: str, name: str, epoch: int, note: str) -> None:
    """Write what the next holder must know. Raises LeaseLost."""
    (rows,) = await transaction.send(_statement(_NOTE, schema, name, epoch, note))
    if not rows:
        raise LeaseLost(name)


async def release(transaction: Sender, *, schema: str, name: str, epoch: int) -> None:
    """End the lease now, if it is still of this epoch."""
    await transaction.send(_statement(_RELEASE, schema, name, epoch))


def _statement(sql: str, schema: str, *values: str | float) -> Statement:
    return Statement(sql.format(leases=f"{checked_name(schema)}.leases"), values)


_ACQUIRE: Final = """
INSERT INTO {leases} (name, holder, epoch, expire_time)
VALUES ($1, $2, 1, clock_timestamp() + make_interval(secs => $3::float8))
ON CONFLICT (name) DO UPDATE
SET holder = excluded.holder, epoch = leases.epoch + 1, expire_time = excluded.expire_time
WHERE leases.expire_time <= clock_timestamp() OR leases.holder = excluded.holder
RETURNING epoch"""
_RENEW: Final = """
UPDATE {leases} SET expire_time = clock_timestamp() + make_interval(secs => $3::float8)
WHERE name = $1 AND epoch = $2::bigint RETURNING 1"""
_FENCE: Final = "SELECT holder, note FROM {leases} WHERE name = $1 AND epoch = $2::bigint FOR SHARE"
_NOTE: Final = "UPDATE {leases} SET note = $3 WHERE name = $1 AND epoch = $2::bigint RETURNING 1"
_RELEASE: Final = "UPDATE {leases} SET expire_time = clock_timestamp() WHERE name = $1 AND epoch = $2::bigint"
