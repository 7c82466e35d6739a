"""The event's lifecycle as the rules have it, every state by every transition."""

from __future__ import annotations

import pytest

from holdfast.common.errors import DomainError, Reason
from holdfast.events.domain.lifecycle import (
    LISTED_STATES,
    POLICIES,
    TERMINAL_STATES,
    TRANSITION_NAMES,
    TRANSITIONS,
    Confirm,
    EventState,
    allowed_transitions,
    check_deletable,
    check_editable,
    check_reason,
    check_requirements,
    sales_allowed,
    state_named,
    target,
)

# Written out by hand from the rules, not from the code.
RULES = {
    "DRAFT": "submit REVIEW, publish PUBLISHED, cancel CANCELLED",
    "REVIEW": "approve APPROVED, reject DRAFT, cancel CANCELLED",
    "APPROVED": "publish PUBLISHED, cancel CANCELLED",
    "PUBLISHED": "start_sales ON_SALE, begin IN_PROGRESS, postpone POSTPONED, cancel CANCELLED",
    "ON_SALE": "pause_sales SALES_PAUSED, sell_out SOLD_OUT, begin IN_PROGRESS, postpone POSTPONED, cancel CANCELLED",
    "SALES_PAUSED": "resume_sales ON_SALE, begin IN_PROGRESS, postpone POSTPONED, cancel CANCELLED",
    "SOLD_OUT": "reopen_sales ON_SALE, begin IN_PROGRESS, postpone POSTPONED, cancel CANCELLED",
    "IN_PROGRESS": "complete COMPLETED, cancel CANCELLED",
    "POSTPONED": "reschedule RESCHEDULED, cancel CANCELLED",
    "RESCHEDULED": "publish PUBLISHED, start_sales ON_SALE, begin IN_PROGRESS, postpone POSTPONED, cancel CANCELLED",
    "COMPLETED": "",
    "CANCELLED": "",
}
EXPECTED = {state: dict(step.split() for step in steps.split(", ") if step) for state, steps in RULES.items()}
EVERY_STEP = [(state, name) for state in RULES for name in sorted({n for moves in EXPECTED.values() for n in moves})]

# state: new holds, new holds with door sales, confirm, listed, scanning, editable
POLICY_RULES = {
    "DRAFT": (False, False, "NONE", False, False, True),
    "REVIEW": (False, False, "NONE", False, False, True),
    "APPROVED": (False, False, "NONE", False, False, True),
    "PUBLISHED": (False, False, "NONE", True, False, True),
    "RESCHEDULED": (False, False, "ALL", True, False, True),
    "ON_SALE": (True, True, "ALL", True, True, True),
    "SALES_PAUSED": (False, False, "ALL", True, True, True),
    "SOLD_OUT": (True, True, "ALL", True, True, True),
    "IN_PROGRESS": (False, True, "ALL", True, True, False),
    "POSTPONED": (False, False, "PENDING_ONLY", True, False, True),
    "COMPLETED": (False, False, "NONE", False, False, False),
    "CANCELLED": (False, False, "NONE", False, False, False),
}


def test_the_table_has_every_state_and_no_other_transition() -> None:
    assert set(RULES) == {state.value for state in EventState} == {state.value for state in TRANSITIONS}
    assert set(TRANSITION_NAMES) == {name for moves in EXPECTED.values() for name in moves}


@pytest.mark.parametrize(("state", "name"), EVERY_STEP)
def test_each_transition_from_each_state(state: str, name: str) -> None:
    if name in EXPECTED[state]:
        assert target(EventState(state), name).value == EXPECTED[state][name]
        return
    with pytest.raises(DomainError) as caught:
        target(EventState(state), name)
    assert caught.value.reason is Reason.INVALID_TRANSITION
    assert caught.value.metadata["state"] == state
    assert caught.value.metadata["transition"] == name
    assert set(filter(None, caught.value.metadata["allowed"].split(","))) == set(EXPECTED[state])


@pytest.mark.parametrize("state", RULES)
def test_what_is_allowed_is_what_can_be_done(state: str) -> None:
    assert set(allowed_transitions(EventState(state))) == set(EXPECTED[state])


def test_cancel_is_possible_from_everywhere_but_the_ends() -> None:
    assert {state.value for state in TERMINAL_STATES} == {"COMPLETED", "CANCELLED"}
    assert all("cancel" in TRANSITIONS[state] for state in EventState if state not in TERMINAL_STATES)


@pytest.mark.parametrize("state", POLICY_RULES)
def test_what_a_state_permits(state: str) -> None:
    here, policy = EventState(state), POLICIES[EventState(state)]
    sells, sells_at_the_door, confirm, listed, scanning, editable = POLICY_RULES[state]
    assert sales_allowed(here, door_sales=False) is sells
    assert sales_allowed(here, door_sales=True) is sells_at_the_door
    assert policy.confirm is Confirm(confirm)
    assert policy.listed is listed
    assert policy.scanning is scanning
    assert (here in LISTED_STATES) is listed
    if editable:
        check_editable(here)
    else:
        with pytest.raises(DomainError) as caught:
            check_editable(here)
        assert caught.value.reason is Reason.NOT_EDITABLE


@pytest.mark.parametrize("state", RULES)
def test_only_drafts_and_cancelled_events_can_be_deleted(state: str) -> None:
    if state in {"DRAFT", "CANCELLED"}:
        check_deletable(EventState(state))
    else:
        with pytest.raises(DomainError, match="cannot be deleted"):
            check_deletable(EventState(state))


@pytest.mark.parametrize("name", sorted({name for moves in EXPECTED.values() for name in moves}))
def test_who_needs_a_reason(name: str) -> None:
    check_reason(name, "rain")
    if name in {"cancel", "postpone", "reject"}:
        with pytest.raises(DomainError) as caught:
            check_reason(name, "  ")
        assert [one.field for one in caught.value.violations] == ["reason"]
    else:
        check_reason(name, "")


@pytest.mark.parametrize(
    ("name", "state"),
    [("paused", "SALES_PAUSED"), ("available", "ON_SALE"), ("closed", "COMPLETED"), ("ended", "COMPLETED")]
    + [(state.lower(), state) for state in RULES],
)
def test_other_vocabularies(name: str, state: str) -> None:
    assert state_named(name).value == state


def test_an_unknown_state_is_refused() -> None:
    with pytest.raises(DomainError, match="not a state"):
        state_named("sleeping")


def test_all_that_is_missing_is_listed() -> None:
    check_requirements([])
    with pytest.raises(DomainError) as caught:
        check_requirements(["active_section", "active_price_tier"])
    assert caught.value.reason is Reason.REQUIREMENT_MISSING
    assert caught.value.metadata == {"missing": "active_section,active_price_tier"}
