"""The inventory against a model so simple that it is plainly right: a list of claims."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from holdfast.capacity.domain.ending import Confirmation, confirm, release
from holdfast.capacity.domain.holds import LIVE, Hold, HoldState
from holdfast.capacity.domain.placing import LineRequest
from holdfast.common.errors import DomainError, Reason
from tests.unit.capacity.factories import NOW, committed, inventory, placed, section

if TYPE_CHECKING:
    from collections.abc import Callable

TOTALS = {"floor": 12, "balcony": 5}


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

    def commit(self) -> None:
        self.holds.update({hold.hold_id: hold for hold in (*self.stock.holds.made, *self.stock.holds.changed)})
        self.stock = committed(self.stock, at=self.now)

    def live(self) -> list[Hold]:
        """Give the holds that truly claim places, told without looking at counters or rows' states."""
        return [hold for hold in self.holds.values() if hold.state in LIVE and hold.expire_time > self.now]

    def free(self, name: str) -> int:
        sold = [hold for hold in self.holds.values() if hold.state is HoldState.CONFIRMED]
        return TOTALS[name] - sum(
            line.quantity for hold in (*self.live(), *sold) for line in hold.lines if line.section_id == name
        )

    @rule(
        quantities=st.dictionaries(st.sampled_from(sorted(TOTALS)), st.integers(1, 6), min_size=1),
        ttl=st.integers(1, 20),
    )
    def place(self, quantities: dict[str, int], ttl: int) -> None:
        lines = [LineRequest(name, None, quantity) for name, quantity in quantities.items()]
        over = [hold for hold in self.holds.values() if hold.state in LIVE and hold.expire_time <= self.now]
        self.stock.expired = sorted(over, key=lambda hold: hold.expire_time)
        for hold in over:
            self.stock.holds.load(hold.hold_id, hold)
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

    @rule(which=st.integers(0, 1_000), selling=st.booleans())
    def end(self, *, which: int, selling: bool) -> None:
        if not self.holds:
            return
        # By its place, not by its id: ids are new at each run, and what is drawn must not depend on them.
        hold = list(self.holds.values())[which % len(self.holds)]
        good = hold in self.live()
        if selling:
            error = refusal(lambda: confirm(self.stock, hold, Confirmation(f"sale-{hold.hold_id}")))
        else:
            error = refusal(lambda: release(self.stock, hold, etag="", manages=False))
        if error is None:
            assert good or not selling
        else:
            assert not good
            assert error.reason in {Reason.HOLD_EXPIRED, Reason.HOLD_NOT_ACTIVE}
        assert self.stock.dirty == good
        self.commit()

    @rule(seconds=st.integers(1, 10))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.stock = committed(self.stock, at=self.now)

    @invariant()
    def counters_are_sums_of_claims(self) -> None:
        live = [hold for hold in self.holds.values() if hold.state in LIVE]
        sold = [hold for hold in self.holds.values() if hold.state is HoldState.CONFIRMED]
        assert self.stock.live_holds == len(live)
        for name, each in self.stock.sections.items():
            counters = each.counters
            assert (counters.total, counters.held, counters.sold, counters.pending) == (
                TOTALS[name],
                places(live, name),
                places(sold, name),
                0,
            )
            assert counters.available >= 0
        assert self.stock.counters.held == sum(each.counters.held for each in self.stock.sections.values())
        assert self.stock.counters.sold == sum(each.counters.sold for each in self.stock.sections.values())


def places(holds: list[Hold], name: str) -> int:
    return sum(line.quantity for hold in holds for line in hold.lines if line.section_id == name)


def same(one: Hold, other: Hold) -> bool:
    """Whether two holds are of the same sections, so that the older must go first."""
    return {line.section_id for line in one.lines} == {line.section_id for line in other.lines}


TestSelling = Selling.TestCase
TestSelling.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
