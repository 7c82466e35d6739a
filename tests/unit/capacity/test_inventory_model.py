"""The inventory against a model so simple that it is plainly right: a list of claims."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.capacity.domain.blocks import Act
from holdfast.capacity.domain.changing import ChangeRequest, change
from holdfast.capacity.domain.deadlines import Payment, begin_payment, extend
from holdfast.capacity.domain.ending import Confirmation, confirm, release
from holdfast.capacity.domain.exchanging import ExchangeRequest, exchange
from holdfast.capacity.domain.holds import LIVE, Hold, HoldState
from holdfast.capacity.domain.parts import PartRequest
from holdfast.capacity.domain.places import wanted_places
from holdfast.capacity.domain.placing import LineRequest
from holdfast.capacity.domain.reacquiring import reacquire
from holdfast.common.errors import DomainError, Reason
from tests.unit.capacity.factories import NOW, committed, inventory, placed, section

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from holdfast.capacity.domain.sales import Sale

TOTALS = {"floor": 12, "balcony": 5}
WHICH = st.integers(0, 1_000)


def refusal(call: Callable[[], object]) -> DomainError | None:
    """Give the refusal of a call, or None when it was accepted."""
    try:
        call()
    except DomainError as error:
        return error
    return None


class Selling(RuleBasedStateMachine):
    """One event with two sections; every rule is a commit."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.stock = inventory(*(section(name, total) for name, total in TOTALS.items()))
        self.holds: dict[str, Hold] = {}
        self.sales: dict[str, Sale] = {}
        self.replaced: set[str] = set()

    def commit(self) -> None:
        self.holds.update({hold.hold_id: hold for hold in (*self.stock.holds.made, *self.stock.holds.changed)})
        self.sales.update({sale.sale_id: sale for sale in (*self.stock.sales.made, *self.stock.sales.changed)})
        self.stock = committed(self.stock, at=self.now)

    def live(self) -> list[Hold]:
        """Give the holds that truly claim places, told without looking at counters or rows' states."""
        return [hold for hold in self.holds.values() if hold.state in LIVE and hold.expire_time > self.now]

    def active(self) -> list[Hold]:
        """Give the live holds whose payment has not begun."""
        return [hold for hold in self.live() if hold.state is HoldState.ACTIVE]

    def drawn(self, which: int) -> Hold:
        """Choose a hold by its place: ids are new at each run, and what is drawn must not depend on them."""
        return list(self.holds.values())[which % len(self.holds)]

    def load_expired(self) -> list[Hold]:
        """Let the inventory know what is over and still counted, as it is read before places are asked for."""
        over = [hold for hold in self.holds.values() if hold.state in LIVE and hold.expire_time <= self.now]
        self.stock.expired = sorted(over, key=lambda hold: hold.expire_time)
        for hold in over:
            self.stock.holds.load(hold.hold_id, hold)
        return over

    def free(self, name: str) -> int:
        return TOTALS[name] - places(self.live(), name) - sold(self.sales.values(), name)

    @rule(
        quantities=st.dictionaries(st.sampled_from(sorted(TOTALS)), st.integers(1, 6), min_size=1),
        ttl=st.integers(1, 20),
    )
    def place(self, quantities: dict[str, int], ttl: int) -> None:
        lines = [LineRequest(name, None, quantity) for name, quantity in quantities.items()]
        self.load_expired()
        fits = all(quantity <= self.free(name) for name, quantity in quantities.items())
        error = refusal(lambda: placed(self.stock, *lines, hold_ttl_seconds=ttl))
        assert (error is None) == fits
        if error is not None:
            assert error.reason is Reason.INSUFFICIENT_CAPACITY
            assert error.metadata["available"] == str(self.free(error.metadata["section_id"]))
            assert not self.stock.holds.made
        ended = self.stock.holds.changed
        assert all(hold.state is HoldState.EXPIRED and hold.expire_time <= self.now for hold in ended)
        kept = self.stock.expired
        assert all(one.expire_time <= other.expire_time for one in ended for other in kept if same(one, other))
        self.commit()

    @precondition(lambda self: self.holds)
    @rule(which=WHICH, selling=st.booleans(), manages=st.booleans())
    def end(self, *, which: int, selling: bool, manages: bool) -> None:
        hold = self.drawn(which)
        live = hold in self.live()
        bound = not selling and not manages and hold.state is HoldState.PENDING
        if selling:
            error = refusal(lambda: confirm(self.stock, hold, Confirmation(f"sale-{hold.hold_id}")))
        else:
            error = refusal(lambda: release(self.stock, hold, etag="", manages=manages))
        if error is None:
            assert (live and not bound) or not selling
        else:
            assert not live or bound
            assert error.reason in {Reason.HOLD_EXPIRED, Reason.HOLD_NOT_ACTIVE}
        assert self.stock.dirty == (live and not bound)
        self.commit()

    @precondition(lambda self: self.holds)
    @rule(which=WHICH, seconds=st.integers(1, 40))
    def extend(self, *, which: int, seconds: int) -> None:
        hold = self.drawn(which)
        active = hold in self.live() and hold.state is HoldState.ACTIVE
        wanted = self.now + timedelta(seconds=seconds)
        error = refusal(lambda: extend(self.stock, hold, hold_ttl_seconds=seconds, etag=""))
        assert (error is None) == active
        self.commit()
        now = self.holds[hold.hold_id]
        assert now.expire_time == (max(hold.expire_time, wanted) if active else hold.expire_time)

    @precondition(lambda self: self.holds)
    @rule(which=WHICH, seconds=st.integers(1, 40))
    def begin_payment(self, *, which: int, seconds: int) -> None:
        hold = self.drawn(which)
        live = hold in self.live()
        error = refusal(lambda: begin_payment(self.stock, hold, Payment(payment_ttl_seconds=seconds)))
        assert (error is None) == live
        assert self.stock.dirty == (live and hold.state is HoldState.ACTIVE)
        self.commit()
        now = self.holds[hold.hold_id]
        if live and hold.state is HoldState.ACTIVE:
            assert now.expire_time == max(hold.expire_time, self.now + timedelta(seconds=seconds))
        else:
            assert now is hold

    @precondition(lambda self: self.active())
    @rule(which=WHICH, line=WHICH, given=WHICH, name=st.sampled_from(sorted(TOTALS)), spare=st.integers(-1, 5))
    def change(self, *, which: int, line: int, given: int, name: str, spare: int) -> None:
        hold = self.active()[which % len(self.active())]
        of = hold.lines[line % len(hold.lines)]
        given %= of.quantity + 2  # one too many now and then
        back = given if of.section_id == name else 0
        taken = max(self.free(name) + back - spare, 0)  # down to what is there, and one too many
        left = sum(each.quantity for each in hold.lines) - given + taken
        good = given <= of.quantity and spare >= 0 and left > 0
        self.load_expired()
        wanted = ChangeRequest(
            given=(PartRequest(of.number, given),) if given else (),
            added=(LineRequest(name, None, taken),) if taken else (),
            prices={},
        )
        error = refusal(lambda: change(self.stock, hold, wanted))
        assert (error is None) == good
        others = [each for each in self.stock.holds.changed if each.hold_id != hold.hold_id]
        assert all(each.state is HoldState.EXPIRED and each.expire_time <= self.now for each in others)
        self.commit()
        now = self.holds[hold.hold_id]
        if good:
            assert sum(each.quantity for each in now.lines) == left
            assert (now.expire_time, now.state) == (hold.expire_time, HoldState.ACTIVE)
        else:
            assert now.lines == hold.lines

    @precondition(lambda self: self.sales)
    @rule(which=WHICH, line=WHICH, given=WHICH, name=st.sampled_from(sorted(TOTALS)), spare=st.integers(-1, 5))
    def exchange(self, *, which: int, line: int, given: int, name: str, spare: int) -> None:
        sale = list(self.sales.values())[which % len(self.sales)]
        of = sale.lines[line % len(sale.lines)]
        left = sale.left(of).quantity
        given = given % (left + 2) or 1  # one too many now and then
        back = min(given, left) if of.section_id == name else 0
        taken = self.free(name) + back - spare  # down to what is there, and one too many
        if taken < 1:
            return
        self.load_expired()
        self.stock.sales.load(sale.sale_id, sale)
        part, wanted = PartRequest(of.number, given), LineRequest(name, None, taken)
        request = ExchangeRequest("exchange", sale.sale_id, (part,), (wanted,), {}, Act("staff"))
        error = refusal(lambda: exchange(self.stock, sale, request))
        good = given <= left and spare >= 0
        assert (error is None) == good
        self.commit()
        now = self.sales[sale.sale_id]
        assert sold([now], name) == sold([sale], name) + (taken - back if good else 0)
        assert now.customer_id == sale.customer_id

    @precondition(lambda self: self.holds)
    @rule(which=WHICH)
    def reacquire(self, *, which: int) -> None:
        hold = self.drawn(which)
        if hold.seen(self.now, ()).state is not HoldState.EXPIRED or hold.hold_id in self.replaced:
            return
        self.load_expired()
        fits = all(quantity <= self.free(name) for name, quantity in wanted_places(hold.lines).items())
        names = f"late-{hold.hold_id}", f"sale-late-{hold.hold_id}"
        error = refusal(lambda: reacquire(self.stock, hold, Confirmation(names[1], replacement_id=names[0])))
        assert (error is None) == fits
        assert error is None or error.reason is Reason.HOLD_EXPIRED
        self.commit()
        assert self.holds[hold.hold_id].seen(self.now, ()).state is HoldState.EXPIRED
        if fits:
            self.replaced.add(hold.hold_id)
            assert self.holds[names[0]].state is HoldState.CONFIRMED
            assert self.holds[names[0]].lines == hold.lines

    @rule(seconds=st.integers(1, 10))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.stock = committed(self.stock, at=self.now)

    @invariant()
    def counters_are_sums_of_claims(self) -> None:
        live = [hold for hold in self.holds.values() if hold.state in LIVE]
        assert self.stock.live_holds == len(live)
        for name, each in self.stock.sections.items():
            counters = each.counters
            assert (counters.total, counters.held, counters.pending, counters.sold) == (
                TOTALS[name],
                places([hold for hold in live if hold.state is HoldState.ACTIVE], name),
                places([hold for hold in live if hold.state is HoldState.PENDING], name),
                sold(self.sales.values(), name),
            )
            assert counters.available >= 0
        assert self.stock.counters.held == sum(each.counters.held for each in self.stock.sections.values())
        assert self.stock.counters.pending == sum(each.counters.pending for each in self.stock.sections.values())
        assert self.stock.counters.sold == sum(each.counters.sold for each in self.stock.sections.values())


def places(holds: list[Hold], name: str) -> int:
    return sum(line.quantity for hold in holds for line in hold.lines if line.section_id == name)


def sold(sales: Iterable[Sale], name: str) -> int:
    return sum(sale.left(line).quantity for sale in sales for line in sale.lines if line.section_id == name)


def same(one: Hold, other: Hold) -> bool:
    """Whether two holds are of the same sections, so that the older must go first."""
    return {line.section_id for line in one.lines} == {line.section_id for line in other.lines}


TestSelling = Selling.TestCase
TestSelling.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
