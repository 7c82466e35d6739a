"""What things take of the journal's row of a commit, estimated and never too low."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.sales import Sale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.capacity.domain.blocks import Block
    from holdfast.capacity.domain.holds import Hold
    from holdfast.capacity.domain.sales import SaleExchange, SaleReturn

AIM_BYTES: Final = 160 * 1024
"""Where a commit stops taking in more, so that its row of the journal stays below 256 kB."""
SECTION_BYTES: Final = 192
_CLAIM_BYTES: Final = 160
_LINE_BYTES: Final = 192
_SEAT_BYTES: Final = 6


def claim_bytes(claim: Hold | Sale) -> int:
    """Estimate a hold or a sale, and the counters of its sections."""
    total = _CLAIM_BYTES + 4 * (len(claim.customer_id) + len(claim.order_reference))
    for line in claim.lines:
        # A line, and the counters of a section that perhaps no other line touches.
        total += _LINE_BYTES + SECTION_BYTES + _seats_bytes(line.labels)
        if isinstance(claim, Sale) and line.labels:
            total += _seats_bytes(line.labels_of(claim.gone(line).seats))
    return total


def block_bytes(block: Block) -> int:
    """Estimate a block, and the counters of its section."""
    return _LINE_BYTES + SECTION_BYTES + 4 * (len(block.note) + len(block.actor)) + _seats_bytes(block.labels)


def return_bytes(made: SaleReturn) -> int:
    """Estimate what came back of a sale."""
    return _CLAIM_BYTES + sum(_LINE_BYTES + _seats_bytes(line.labels) for line in made.lines)


def exchange_bytes(made: SaleExchange) -> int:
    """Estimate what was exchanged in a sale, and the counters of the sections that it was taken from."""
    taken = sum(_LINE_BYTES + SECTION_BYTES + _seats_bytes(line.labels) for line in made.taken)
    given = sum(_LINE_BYTES + _seats_bytes(line.labels) for line in made.given)
    return _CLAIM_BYTES + 4 * (len(made.note) + len(made.actor)) + taken + given


def _seats_bytes(labels: Sequence[str]) -> int:
    """Estimate labels and indexes of seats."""
    return sum(4 * len(label) + _SEAT_BYTES for label in labels) if labels else 0
