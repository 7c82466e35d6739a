"""What was paid for what comes back, and where a sale stands after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.capacity.domain.blocks import Act
from holdfast.capacity.domain.ending import Confirmation, confirm
from holdfast.capacity.domain.holds import Line, LinePrice, Void, VoidCause
from holdfast.capacity.domain.parts import Part, PartRequest
from holdfast.capacity.domain.returning import LABEL_BYTES_MAX, ReturnRequest, return_sale
from holdfast.capacity.domain.sales import ReturnTo, Sale, SaleState, sum_of
from holdfast.common.errors import DomainError, Reason
from holdfast.common.money import Money
from tests.unit.capacity.factories import NOW, inventory, later, lock, placed, priced, section

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.capacity.domain.inventory import Inventory


def line(number: int = 1, quantity: int = 4, *, minor: int | None = None, schedule_id: str | None = None) -> Line:
    price = None if minor is None else LinePrice("tier", 1, Money(minor, "USD"), b"")
    return Line(number, "floor", schedule_id, quantity, price=price)


def sale(*lines: Line) -> Sale:
    return Sale("sale", "event", "hold", "ann", SaleState.SOLD, lines, NOW)


def asked(*parts: PartRequest, return_to: ReturnTo = ReturnTo.SALE) -> ReturnRequest:
    return ReturnRequest("return", "sale", parts, return_to, Act("staff", "why"), ("block-1", "block-2"))


def selling(quantity: int, *, minor: int | None = None) -> tuple[Inventory, Sale]:
    """Give an inventory in which one sale was made."""
    stock = inventory(section(total=10))
    wanted = quantity if minor is None else priced(quantity, lock(minor=minor))
    _, made = confirm(stock, placed(stock, wanted), Confirmation("sale"))
    return stock, made


@given(
    minor=st.integers(0, 10**12),
    sizes=st.lists(st.tuples(st.integers(1, 20), st.booleans()), min_size=1, max_size=12),
)
def test_shares_in_the_order_in_which_they_go_add_up_to_the_total(minor: int, sizes: list[tuple[int, bool]]) -> None:
    quantity = sum(size for size, _ in sizes)
    of = line(quantity=quantity, minor=minor)
    now = sale(of)
    shares = []
    for size, exchanged in sizes:
        share = now.share(of, size)
        assert share is not None
        assert abs(share.minor - minor * size / quantity) <= 1 + minor * 1e-12
        shares.append(share.minor)
        if exchanged:
            gone = {1: now.exchanged_of(of).plus(Part(size))}
            now = Sale(
                "sale", "event", "hold", "ann", SaleState.SOLD, (of,), NOW, returned=now.returned, exchanged=gone
            )
        else:
            now = now.without({1: Part(size)}, at=NOW)
    assert sum(shares) == minor
    assert min(shares) >= 0


@pytest.mark.parametrize(
    ("minor", "sizes", "shares"),
    [
        (1000, [1, 1, 1], [333, 334, 333]),
        (1000, [2, 1], [667, 333]),
        (1, [1, 1], [1, 0]),
        (5, [1, 1, 1, 1], [1, 2, 1, 1]),
        (0, [3], [0]),
        (24840, [1, 1], [12420, 12420]),
    ],
)
def test_shares_are_rounded_half_up(minor: int, sizes: list[int], shares: list[int]) -> None:
    of = line(quantity=sum(sizes), minor=minor)
    now, found = sale(of), []
    for size in sizes:
        share = now.share(of, size)
        found.append(None if share is None else share.minor)
        now = now.without({1: Part(size)}, at=NOW)
    assert found == shares


def test_a_line_without_a_price_has_no_share() -> None:
    assert sale(line()).share(line(), 1) is None


@pytest.mark.parametrize(
    ("amounts", "total"),
    [
        ([], None),
        ([Money(100, "USD"), None], None),
        ([Money(100, "USD"), Money(100, "EUR")], None),
        ([Money(100, "USD"), Money(20, "USD")], Money(120, "USD")),
    ],
)
def test_amounts_add_up_where_they_can(amounts: Sequence[Money | None], total: Money | None) -> None:
    assert sum_of(amounts) == total


@pytest.mark.parametrize(
    ("cancelled", "returned", "state"),
    [
        ([], {}, SaleState.SOLD),
        ([], {1: 2}, SaleState.PARTIALLY_RETURNED),
        ([], {1: 4}, SaleState.PARTIALLY_RETURNED),
        ([], {1: 4, 2: 2}, SaleState.RETURNED),
        (["friday"], {}, SaleState.SOLD),
        (["friday"], {2: 1}, SaleState.PARTIALLY_RETURNED),
        (["friday"], {2: 2}, SaleState.CANCELLED),
        (["friday"], {1: 4}, SaleState.PARTIALLY_RETURNED),
        (["friday", "saturday"], {1: 1}, SaleState.CANCELLED),
        ([None], {}, SaleState.CANCELLED),
        ([None], {1: 4, 2: 2}, SaleState.RETURNED),
    ],
)
def test_a_sale_stands_where_what_is_left_of_it_does(
    cancelled: list[str | None], returned: dict[int, int], state: SaleState
) -> None:
    made = sale(line(1, 4, schedule_id="friday"), line(2, 2, schedule_id="saturday"))
    parts = {number: Part(quantity) for number, quantity in returned.items()}
    first = made.without(parts, at=NOW) if parts else made
    for schedule_id in cancelled:
        first = first.cancelled(schedule_id, at=NOW)
    second = made
    for schedule_id in cancelled:
        second = second.cancelled(schedule_id, at=NOW)
    second = second.without(parts, at=NOW) if parts else second
    assert first.state is second.state is state


def test_a_void_cancels_a_sale_before_its_row_says_so_and_only_once() -> None:
    made = sale(line(1, schedule_id="friday"), line(2, schedule_id="saturday"))
    friday = Void(VoidCause.SCHEDULE_CANCELLED, 3, later(1), "friday")
    seen = made.seen((friday,))
    assert (seen.cancelled_lines, seen.state, seen.update_time) == (frozenset({1}), SaleState.SOLD, later(1))
    assert seen.seen((friday,)) is seen
    assert made.seen((Void(VoidCause.EVENT_POSTPONED, 3, later(1)),)) is made
    assert made.seen((friday, Void(VoidCause.EVENT_CANCELLED, 4, later(2)))).state is SaleState.CANCELLED


def test_a_return_moves_counters_and_claims_of_the_customer() -> None:
    stock, made = selling(4, minor=1000)
    stock.claimed = {("ann", "tier"): 4}
    back = return_sale(stock, made, asked(PartRequest(1, 3)))
    counters = stock.sections["floor"].counters
    assert (counters.sold, counters.available, stock.counters.sold) == (1, 9, 1)
    assert stock.claimed == {("ann", "tier"): 1}
    assert (back.amount, back.lines[0].quantity) == (Money(750, "USD"), 3)
    assert stock.sales.now["sale"].state is SaleState.PARTIALLY_RETURNED
    assert stock.returns == [back]


def test_a_return_into_a_block_keeps_places_out_of_sale() -> None:
    stock, made = selling(4)
    back = return_sale(stock, made, asked(PartRequest(1), return_to=ReturnTo.BLOCKED))
    counters = stock.sections["floor"].counters
    assert (counters.sold, counters.blocked, counters.available) == (0, 4, 6)
    (block,) = stock.blocks.made
    assert (block.block_id, block.quantity, block.note, block.actor) == ("block-1", 4, "why", "staff")
    assert [each.block_id for each in back.lines] == ["block-1"]


def test_a_refused_return_leaves_no_trace() -> None:
    stock, made = selling(4)
    version = made.revision
    for parts in ((PartRequest(1, 5),), (PartRequest(1, 1, field="lines[0]"), PartRequest(1, 1, field="lines[1]"))):
        with pytest.raises(DomainError):
            return_sale(stock, made, asked(*parts))
    assert stock.sections["floor"].counters.sold == 4
    assert (stock.returns, stock.blocks.made, stock.sales.now["sale"].revision) == ([], [], version)


def test_labels_that_would_not_fit_the_journal_are_refused_together() -> None:
    size = 16 * 4 + 1
    count = LABEL_BYTES_MAX // size + 1
    labels = tuple(f"{ZERO * 8}-{index:08d}".translate(WIDE) for index in range(count))
    of = Line(1, "floor", None, count, seats=tuple(range(count)), labels=labels)
    stock = inventory(section(total=count, sold=count))
    stock.sales.load("sale", sale(of))
    with pytest.raises(DomainError) as caught:
        return_sale(stock, sale(of), asked(PartRequest(1)))
    assert (caught.value.reason, caught.value.violations[0].field) == (Reason.VALIDATION_FAILED, "lines")


ZERO = "\U0001d7d8"
"""A digit of four bytes."""
WIDE = {ord(str(digit)): chr(ord(ZERO) + digit) for digit in range(10)}
