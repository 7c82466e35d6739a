"""Positions decide what a message is to a consumer: the next, a duplicate, or one behind a gap."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from holdfast.common import leases, positions
from holdfast.common.errors import DomainError, Reason
from holdfast.common.leases import LeaseLost
from holdfast.common.positions import Claim, ClaimKind

if TYPE_CHECKING:
    from holdfast.common.database import Database, Transaction


async def claim(
    service: Database, aggregate_id: str, version: int, consumer: str = "reader", first_version: int | None = None
) -> Claim:
    return await service.run(
        lambda transaction: positions.claim(
            transaction,
            schema="proving",
            consumer=consumer,
            aggregate_id=aggregate_id,
            version=version,
            first_version=first_version,
        ),
        organization_id="positions",
    )


async def advance(service: Database, aggregate_id: str, version: int) -> bool:
    return await service.run(
        lambda transaction: positions.advance_to(
            transaction, schema="proving", consumer="reader", aggregate_id=aggregate_id, version=version
        ),
        organization_id="positions",
    )


async def test_versions_in_order_are_each_the_next(service: Database) -> None:
    for version in (1, 2, 3):
        assert await claim(service, "ordered", version) == Claim(ClaimKind.NEXT, version - 1)


async def test_a_version_again_is_a_duplicate_and_moves_nothing(service: Database) -> None:
    for version in (1, 2):
        await claim(service, "again", version)
    assert await claim(service, "again", 1) == Claim(ClaimKind.DUPLICATE, 2)
    assert await claim(service, "again", 2) == Claim(ClaimKind.DUPLICATE, 2)
    assert await claim(service, "again", 3) == Claim(ClaimKind.NEXT, 2)


async def test_a_version_ahead_is_a_gap_and_moves_nothing(service: Database) -> None:
    assert await claim(service, "ahead", 3) == Claim(ClaimKind.GAP, 0)
    await claim(service, "ahead", 1)
    assert await claim(service, "ahead", 3) == Claim(ClaimKind.GAP, 1)
    assert await claim(service, "ahead", 2) == Claim(ClaimKind.NEXT, 1)


async def test_a_run_is_claimed_at_once(service: Database) -> None:
    assert await claim(service, "run", 5, first_version=1) == Claim(ClaimKind.NEXT, 0)
    assert await claim(service, "run", 9, first_version=6) == Claim(ClaimKind.NEXT, 5)
    assert await claim(service, "run", 10) == Claim(ClaimKind.NEXT, 9)


async def test_of_a_run_only_what_is_behind_the_position_is_new(service: Database) -> None:
    await claim(service, "overlap", 5, first_version=1)
    assert await claim(service, "overlap", 7, first_version=1) == Claim(ClaimKind.NEXT, 5)
    assert await claim(service, "overlap", 9, first_version=7) == Claim(ClaimKind.NEXT, 7)
    for first in (1, 5, 9):
        assert await claim(service, "overlap", 9, first_version=first) == Claim(ClaimKind.DUPLICATE, 9)


async def test_a_run_with_a_gap_before_it_moves_nothing(service: Database) -> None:
    assert await claim(service, "run-ahead", 5, first_version=2) == Claim(ClaimKind.GAP, 0)
    await claim(service, "run-ahead", 2, first_version=1)
    assert await claim(service, "run-ahead", 9, first_version=4) == Claim(ClaimKind.GAP, 2)
    assert await claim(service, "run-ahead", 9, first_version=3) == Claim(ClaimKind.NEXT, 2)


async def test_concurrent_claims_of_overlapping_runs_share_every_version_out_once(service: Database) -> None:
    last = 0
    for _ in range(5):
        ends = [last + 1 + step for step in (0, 3, 3, 1, 7, 5, 7, 2)]
        claims = await asyncio.gather(*(claim(service, "raced-run", end, first_version=last + 1) for end in ends))
        taken = sorted(
            version
            for one, end in zip(claims, ends, strict=True)
            if one.kind is ClaimKind.NEXT
            for version in range(one.position + 1, end + 1)
        )
        assert taken == list(range(last + 1, max(ends) + 1))
        assert all(one.kind is not ClaimKind.GAP for one in claims)
        last = max(ends)


async def test_a_claim_that_is_rolled_back_can_be_claimed_again(service: Database) -> None:
    async def fails(transaction: Transaction) -> None:
        await positions.claim(transaction, schema="proving", consumer="reader", aggregate_id="rolled", version=1)
        raise DomainError(Reason.SECTION_CLOSED, "no")

    with pytest.raises(DomainError):
        await service.run(fails, organization_id="positions")
    assert await claim(service, "rolled", 1) == Claim(ClaimKind.NEXT, 0)


async def test_of_many_concurrent_claims_of_one_version_one_is_the_next(service: Database) -> None:
    for version in (1, 2):
        claims = await asyncio.gather(*(claim(service, "raced", version) for _ in range(10)))
        assert sorted(each.kind.value for each in claims) == ["duplicate"] * 9 + ["next"]


async def test_consumers_have_positions_of_their_own(service: Database) -> None:
    await claim(service, "shared", 1)
    assert await claim(service, "shared", 1, consumer="other") == Claim(ClaimKind.NEXT, 0)


async def test_a_snapshot_moves_a_position_forward_only(service: Database) -> None:
    assert await advance(service, "snapshot", 5)
    assert not await advance(service, "snapshot", 5)
    assert not await advance(service, "snapshot", 4)
    assert await claim(service, "snapshot", 6) == Claim(ClaimKind.NEXT, 5)


async def test_versions_count_from_one(service: Database) -> None:
    with pytest.raises(ValueError, match="from 1"):
        await claim(service, "zero", 0)
    with pytest.raises(ValueError, match="from 1"):
        await claim(service, "zero", 3, first_version=0)
    with pytest.raises(ValueError, match="from 1"):
        await claim(service, "zero", 3, first_version=4)
    with pytest.raises(ValueError, match="from 1"):
        await advance(service, "zero", 0)


async def test_a_lease_has_one_holder_and_every_takeover_a_new_epoch(relay_database: Database) -> None:
    async def acquire(holder: str, ttl_seconds: float = 30) -> int | None:
        return await relay_database.run(
            lambda transaction: leases.acquire(
                transaction, schema="proving", name="work", holder=holder, ttl_seconds=ttl_seconds
            ),
            organization_id=None,
        )

    async def release(epoch: int) -> None:
        await relay_database.run(
            lambda transaction: leases.release(transaction, schema="proving", name="work", epoch=epoch),
            organization_id=None,
        )

    async def note(epoch: int, words: str) -> None:
        await relay_database.run(
            lambda transaction: leases.leave_note(transaction, schema="proving", name="work", epoch=epoch, note=words),
            organization_id=None,
        )

    assert await acquire("first") == 1
    assert await acquire("second") is None
    await note(1, "remember")
    await release(1)
    assert await acquire("second", ttl_seconds=0) == 2
    assert await acquire("third") == 3
    for stale in (1, 2):
        with pytest.raises(LeaseLost):
            await note(stale, "late")
        await release(stale)
    assert await acquire("first") is None
    lease = await relay_database.run(
        lambda transaction: leases.fence(transaction, schema="proving", name="work", epoch=3), organization_id=None
    )
    assert (lease.holder, lease.note) == ("third", "remember")
