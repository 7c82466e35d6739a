"""Making, ending and reading blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.blocking import block, unblock
from holdfast.capacity.operations.access import block_not_found, event_not_found
from holdfast.capacity.store import blocks as store
from holdfast.capacity.store import inventories

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.capacity.domain.blocking import BlockRequest, UnblockRequest
    from holdfast.capacity.domain.blocks import Block, BlockKind
    from holdfast.capacity.engine.needs import Needs
    from holdfast.capacity.engine.unit import Unit
    from holdfast.capacity.store.blocks import Cursor
    from holdfast.common.database import Transaction
    from holdfast.common.idempotency import RequestKey

ALL: Final = 2**31 - 1
"""More places than any block has."""


@dataclass(frozen=True, slots=True)
class BlockOutcome:
    """A block after a call, and the version of that. `block` is None of one that an earlier call made."""

    block_id: str
    block: Block | None
    version: int
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class BlockPage:
    """Blocks, and how many the whole list has, if asked for."""

    blocks: tuple[Block, ...]
    total: int | None


@dataclass(frozen=True, slots=True)
class MakeBlock:
    """Takes places out of sale."""

    request: BlockRequest
    key: RequestKey

    def need(self, needs: Needs) -> None:
        """Ask for the section, its seats, and for what is over if places are short."""
        request = self.request
        if request.labels:
            needs.want_seats(request.section_id, request.labels)
        else:
            needs.want(request.section_id, request.quantity)
        needs.keys.add(self.key)

    def decide(self, unit: Unit) -> BlockOutcome:
        """Make the block, or answer the one that the same request made before. Raises TidyFirst."""
        inventory, block_id = unit.inventory, self.request.block_id
        known = unit.replayed(self.key)
        if known is not None:
            # The same id: an earlier attempt of this very call, whose commit was not known to have succeeded.
            return BlockOutcome(known, None, inventory.version, replayed=known != block_id)
        made = block(inventory, self.request)
        unit.record(self.key, block_id)
        return BlockOutcome(block_id, made, inventory.next_version)


@dataclass(frozen=True, slots=True)
class Unblock:
    """Gives places of a block back to sale."""

    request: UnblockRequest
    key: RequestKey

    def need(self, needs: Needs) -> None:
        """Ask for the block, its section, and for all that expired holds have of it."""
        needs.want_of_block(self.request.block_id, ALL)
        needs.keys.add(self.key)

    def decide(self, unit: Unit) -> BlockOutcome:
        """Give them back. Raises TidyFirst."""
        inventory, block_id = unit.inventory, self.request.block_id
        before = inventory.blocks.now.get(block_id)
        if before is None:
            raise block_not_found(block_id)
        if unit.replayed(self.key) is not None:
            return BlockOutcome(block_id, None, inventory.version, replayed=True)
        now = unblock(inventory, before, self.request)
        unit.record(self.key, block_id)
        return BlockOutcome(block_id, now, inventory.version if now is before else inventory.next_version)


async def get_block(transaction: Transaction, event_id: str, block_id: str) -> Block:
    """Read a block as it stands now."""
    found = await store.get(transaction, event_id, block_id)
    if found is None:
        raise block_not_found(block_id)
    return found


async def list_blocks(  # noqa: PLR0913 (what a list can be limited by)
    transaction: Transaction,
    event_id: str,
    *,
    section_id: str | None,
    kinds: Sequence[BlockKind],
    with_ended: bool,
    limit: int,
    after: Cursor | None,
    with_total: bool,
) -> BlockPage:
    """Read a page of an event's blocks, newest first."""
    if await inventories.read(transaction, event_id) is None:
        raise event_not_found(event_id)
    filters = store.filters(section_id=section_id, kinds=kinds, with_ended=with_ended)
    found = await store.page(transaction, event_id, filters=filters, limit=limit, after=after)
    return BlockPage(
        blocks=tuple(found),
        total=await store.count(transaction, event_id, filters) if with_total else None,
    )
