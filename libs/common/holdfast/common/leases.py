"""A piece of work that one process at a time may do: a lease with an epoch, timed by the database's clock."""

from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from holdfast.common import schema as tables
from holdfast.common.database import Transaction


class LeaseLost(Exception):  # noqa: N818 (a fact about the lease, not a fault)
    """The lease has another holder or another epoch by now: stop, and write nothing more in its name."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as the database has it. `note` is what an earlier holder left."""

    name: str
    holder: str
    epoch: int
    note: str


async def acquire(transaction: Transaction, *, schema: str, name: str, holder: str, ttl_seconds: float) -> int | None:
    """Take the lease if it is free or over, and return its new epoch; None while another holder has it.

    Every acquisition, by whomever, raises the epoch by one, so that an earlier holder's doings can be told.
    """
    leases = tables.leases_table(schema)
    ends = _ends(ttl_seconds)
    wanted = insert(leases).values(name=name, holder=holder, epoch=1, expire_time=ends)
    row = await transaction.execute(
        wanted.on_conflict_do_update(
            index_elements=[leases.c.name],
            set_={"holder": wanted.excluded.holder, "epoch": leases.c.epoch + 1, "expire_time": ends},
            where=(leases.c.expire_time <= func.clock_timestamp()) | (leases.c.holder == wanted.excluded.holder),
        ).returning(leases.c.epoch)
    )
    epoch = row.scalar_one_or_none()
    return None if epoch is None else int(epoch)


async def renew(transaction: Transaction, *, schema: str, name: str, epoch: int, ttl_seconds: float) -> None:
    """Extend the lease from now. Also revives one that ran out but that nobody took. Raises LeaseLost."""
    leases = tables.leases_table(schema)
    row = await transaction.execute(
        update(leases)
        .where(leases.c.name == name, leases.c.epoch == epoch)
        .values(expire_time=_ends(ttl_seconds))
        .returning(leases.c.epoch)
    )
    if row.one_or_none() is None:
        raise LeaseLost(name)


async def fence(transaction: Transaction, *, schema: str, name: str, epoch: int) -> Lease:
    """Read the lease and hold off a takeover until this transaction ends. Raises LeaseLost when it was taken over."""
    leases = tables.leases_table(schema)
    row = (
        await transaction.execute(
            select(leases.c.holder, leases.c.note)
            .where(leases.c.name == name, leases.c.epoch == epoch)
            .with_for_update(read=True)
        )
    ).one_or_none()
    if row is None:
        raise LeaseLost(name)
    return Lease(name=name, holder=row.holder, epoch=epoch, note=row.note)


async def leave_note(transaction: Transaction, *, schema: str, name: str, epoch: int, note: str) -> None:
    """Write what the next holder must know. Raises LeaseLost."""
    leases = tables.leases_table(schema)
    row = await transaction.execute(
        update(leases).where(leases.c.name == name, leases.c.epoch == epoch).values(note=note).returning(leases.c.epoch)
    )
    if row.one_or_none() is None:
        raise LeaseLost(name)


async def release(transaction: Transaction, *, schema: str, name: str, epoch: int) -> None:
    """End the lease now, if it is still of this epoch."""
    leases = tables.leases_table(schema)
    await transaction.execute(
        update(leases).where(leases.c.name == name, leases.c.epoch == epoch).values(expire_time=func.clock_timestamp())
    )


def _ends(ttl_seconds: float) -> object:
    return func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, ttl_seconds)
