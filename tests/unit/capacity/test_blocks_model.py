"""Blocks and returns against a model so simple that it is plainly right: numbers of places by where they are."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.capacity.domain.blocking import BlockRequest, UnblockRequest, block, delete, set_buffer, unblock
from holdfast.capacity.domain.blocks import Act, Block, BlockKind
from holdfast.capacity.domain.ending import Confirmation, confirm, release
from holdfast.capacity.domain.holds import LIVE, Hold, HoldState
from holdfast.capacity.domain.parts import PartRequest
from holdfast.capacity.domain.placing import LineRequest
from holdfast.capacity.domain.returning import ReturnRequest, return_sale
from holdfast.capacity.domain.sales import ReturnTo, Sale
from holdfast.common.errors import DomainError, Reason
from tests.unit.capacity.factories import NOW, committed, inventory, placed, section

if TYPE_CHECKING:
    from collections.abc import Callable

TOTAL = 14
WHICH = st.integers(0, 1_000)
ACT = Act("staff", "why")


def refusal(call: Callable[[], object]) -> DomainError | None:
    """Give the refusal of a call, or None when it was accepted."""
    try:
        call()
    except DomainError as error:
        return error
    return None


class Blocking(RuleBasedStateMachine):
    """One section; every rule is a commit. What expired holds have is told to the inventory as a batch reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.stock = inventory(section(total=TOTAL))
        self.holds: dict[str, Hold] = {}
        self.blocks: dict[str, Block] = {}
        self.sales: dict[str, Sale] = {}
        self.from_block: dict[str, str] = {}
        """The block of each hold that was placed from one."""
        self.initial: dict[str, int] = {}
        self.given_back: dict[str, int] = {}
        """How many places of each block went to sale for good."""
        self.ended: set[str] = set()
        self.returned: dict[str, int] = {}
        self.buffer = 0
        self.names = 0

    def name(self, kind: str) -> str:
        self.names += 1
        return f"{kind}-{self.names}"

    def commit(self) -> None:
        for hold in (*self.stock.holds.made, *self.stock.holds.changed):
            self.holds[hold.hold_id] = hold
        for each in (*self.stock.blocks.made, *self.stock.blocks.changed):
            self.blocks[each.block_id] = each
        for sale in (*self.stock.sales.made, *self.stock.sales.changed):
            self.sales[sale.sale_id] = sale
        self.stock = committed(self.stock, at=self.now)
        for each in self.blocks.values():
            self.stock.blocks.load(each.block_id, each)

    def load_expired(self) -> None:
        over = [hold for hold in self.holds.values() if hold.state in LIVE and hold.expire_time <= self.now]
        self.stock.expired = sorted(over, key=lambda hold: hold.expire_time)
        for hold in over:
            self.stock.holds.load(hold.hold_id, hold)

    def claimed(self, *, block_id: str | None = None) -> int:
        """Add up what truly is held or sold of a block, or of what is in none."""
        total = 0
        for hold in self.holds.values():
            if self.from_block.get(hold.hold_id) != block_id:
                continue
            if hold.state is HoldState.CONFIRMED or (hold.state in LIVE and hold.expire_time > self.now):
                total += hold.lines[0].quantity
        return total

    def in_block(self, block_id: str) -> int:
        if block_id in self.ended:
            return 0
        return self.initial[block_id] - self.given_back[block_id] - self.claimed(block_id=block_id)

    def free(self) -> int:
        """Count by hand what is free to everybody."""
        claimed = sum(self.claimed(block_id=each) for each in (None, *self.initial))
        returned = sum(self.returned.values())
        return TOTAL - claimed + returned - sum(map(self.in_block, self.initial)) - self.buffer

    @rule(quantity=st.integers(1, 6))
    def make_block(self, quantity: int) -> None:
        free, block_id = self.free(), self.name("block")
        self.load_expired()
        request = BlockRequest(block_id, "floor", BlockKind.HOUSE, quantity, ACT)
        error = refusal(lambda: block(self.stock, request))
        assert (error is None) == (quantity <= free)
        if error is None:
            self.initial[block_id], self.given_back[block_id] = quantity, 0
        else:
            assert (error.reason, error.metadata["available"]) == (Reason.INSUFFICIENT_CAPACITY, str(free))
        self.commit()

    @precondition(lambda self: self.blocks)
    @rule(which=WHICH, quantity=st.one_of(st.none(), st.integers(1, 6)))
    def give_back(self, which: int, quantity: int | None) -> None:
        before = list(self.blocks.values())[which % len(self.blocks)]
        left = self.in_block(before.block_id)
        self.load_expired()
        request = UnblockRequest(before.block_id, ACT, quantity=quantity)
        good = before.ended or quantity is None or quantity <= left
        error = refusal(lambda: unblock(self.stock, before, request))
        assert (error is None) == good
        if error is not None:
            assert (error.reason, error.metadata["remaining"]) == (Reason.LINE_EXCEEDED, str(left))
        elif not before.ended:
            self.given_back[before.block_id] += left if quantity is None else quantity
            if quantity in (None, left):
                self.ended.add(before.block_id)
        self.commit()

    @rule(quantity=st.integers(0, 5))
    def keep_back(self, quantity: int) -> None:
        good = quantity - self.buffer <= max(self.free(), 0)
        self.load_expired()
        error = refusal(lambda: set_buffer(self.stock, "floor", quantity, etag=""))
        assert (error is None) == good
        if error is None:
            self.buffer = quantity
        self.commit()

    @rule(quantity=st.integers(1, 5), ttl=st.integers(1, 20), which=st.one_of(st.none(), WHICH))
    def place(self, quantity: int, ttl: int, which: int | None) -> None:
        block_id = None
        if which is not None and self.blocks:
            block_id = list(self.blocks)[which % len(self.blocks)]
        fits = quantity <= (self.free() if block_id is None else self.in_block(block_id))
        self.load_expired()
        hold_id = self.name("hold")
        line = LineRequest("floor", None, quantity, block_id=block_id)
        error = refusal(lambda: placed(self.stock, line, hold_id=hold_id, hold_ttl_seconds=ttl))
        assert (error is None) == fits
        if error is None and block_id is not None:
            self.from_block[hold_id] = block_id
        self.commit()

    @precondition(lambda self: self.holds)
    @rule(which=WHICH, selling=st.booleans())
    def end(self, *, which: int, selling: bool) -> None:
        hold = list(self.holds.values())[which % len(self.holds)]
        self.stock.holds.load(hold.hold_id, hold)
        if selling:
            refusal(lambda: confirm(self.stock, hold, Confirmation(f"sale {hold.hold_id}")))
        else:
            refusal(lambda: release(self.stock, hold, etag="", manages=True))
        self.commit()

    @precondition(lambda self: self.sales)
    @rule(which=WHICH, quantity=st.one_of(st.none(), st.integers(1, 5)), blocked=st.booleans())
    def take_back(self, *, which: int, quantity: int | None, blocked: bool) -> None:
        sale = list(self.sales.values())[which % len(self.sales)]
        gone = self.returned.get(sale.sale_id, 0)
        left = sale.lines[0].quantity - gone
        block_id = self.name("block")
        request = ReturnRequest(
            self.name("return"),
            sale.sale_id,
            (PartRequest(1, quantity, field="lines[0]"),),
            ReturnTo.BLOCKED if blocked else ReturnTo.SALE,
            ACT,
            (block_id,),
        )
        self.stock.sales.load(sale.sale_id, sale)
        error = refusal(lambda: return_sale(self.stock, sale, request))
        assert (error is None) == (left > 0 and (quantity is None or quantity <= left))
        if error is None:
            back = left if quantity is None else quantity
            self.returned[sale.sale_id] = gone + back
            if blocked:
                self.initial[block_id], self.given_back[block_id] = back, 0
        self.commit()

    @rule(seconds=st.integers(1, 10))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.commit()

    @rule()
    def delete_and_start_anew(self) -> None:
        self.load_expired()
        kept = sum(self.claimed(block_id=each) for each in (None, *self.initial)) - sum(self.returned.values())
        error = refusal(lambda: delete(self.stock, self.stock.sections["floor"], etag="", act=ACT))
        assert (error is None) == (kept == 0)
        if error is not None:
            assert error.reason is Reason.TICKETS_SOLD
            self.commit()
            return
        assert all(each.ended for each in self.stock.blocks.now.values())
        sums = self.stock.counters
        assert (sums.total, sums.held, sums.sold, sums.blocked, sums.available) == (0, 0, 0, 0, 0)
        self.__init__()  # type: ignore[misc]  # nothing is left of the section; the model goes on with another

    @invariant()
    def counters_are_sums_of_what_there_is(self) -> None:
        counters = self.stock.sections["floor"].counters
        live = sum(hold.lines[0].quantity for hold in self.holds.values() if hold.state in LIVE)
        bought = sum(hold.lines[0].quantity for hold in self.holds.values() if hold.state is HoldState.CONFIRMED)
        standing = sum(each.quantity for each in self.blocks.values())
        assert counters.available >= 0
        assert (counters.held, counters.sold) == (live, bought - sum(self.returned.values()))
        assert (counters.blocked, counters.buffer) == (standing + self.buffer, self.buffer)
        sums = self.stock.counters
        assert (sums.held, sums.sold, sums.blocked) == (counters.held, counters.sold, counters.blocked)

    @invariant()
    def blocks_know_what_they_have(self) -> None:
        for block_id, each in self.blocks.items():
            assert each.ended == (block_id in self.ended)
            taken = sum(
                hold.lines[0].quantity
                for hold_id, hold in self.holds.items()
                if self.from_block.get(hold_id) == block_id and hold.state in {*LIVE, HoldState.CONFIRMED}
            )
            assert each.taken_quantity == taken
            assert each.initial_quantity == self.initial[block_id]


TestBlocking = Blocking.TestCase
TestBlocking.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
