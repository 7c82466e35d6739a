"""The event's lifecycle: one transition table and one table of what a state permits.

Nothing else in the mesh decides whether an event may move. Transitions that people call and transitions that
the clock or the inventory causes stand in the same table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from holdfast.common.errors import DomainError, Reason, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class EventState(StrEnum):
    """Where an event stands; the names of `Event.State`."""

    DRAFT = "DRAFT"
    REVIEW = "REVIEW"
    APPROVED = "APPROVED"
    PUBLISHED = "PUBLISHED"
    ON_SALE = "ON_SALE"
    SALES_PAUSED = "SALES_PAUSED"
    SOLD_OUT = "SOLD_OUT"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    POSTPONED = "POSTPONED"
    RESCHEDULED = "RESCHEDULED"


_DRAFT, _REVIEW, _APPROVED = EventState.DRAFT, EventState.REVIEW, EventState.APPROVED
_PUBLISHED, _ON_SALE, _PAUSED = EventState.PUBLISHED, EventState.ON_SALE, EventState.SALES_PAUSED
_SOLD_OUT, _RUNNING, _COMPLETED = EventState.SOLD_OUT, EventState.IN_PROGRESS, EventState.COMPLETED
_CANCELLED, _POSTPONED, _RESCHEDULED = EventState.CANCELLED, EventState.POSTPONED, EventState.RESCHEDULED

TRANSITIONS: Final[Mapping[EventState, Mapping[str, EventState]]] = {
    _DRAFT: {"submit": _REVIEW, "publish": _PUBLISHED, "cancel": _CANCELLED},
    _REVIEW: {"approve": _APPROVED, "reject": _DRAFT, "cancel": _CANCELLED},
    _APPROVED: {"publish": _PUBLISHED, "cancel": _CANCELLED},
    _PUBLISHED: {"start_sales": _ON_SALE, "begin": _RUNNING, "postpone": _POSTPONED, "cancel": _CANCELLED},
    _ON_SALE: {
        "pause_sales": _PAUSED,
        "sell_out": _SOLD_OUT,
        "begin": _RUNNING,
        "postpone": _POSTPONED,
        "cancel": _CANCELLED,
    },
    _PAUSED: {"resume_sales": _ON_SALE, "begin": _RUNNING, "postpone": _POSTPONED, "cancel": _CANCELLED},
    _SOLD_OUT: {"reopen_sales": _ON_SALE, "begin": _RUNNING, "postpone": _POSTPONED, "cancel": _CANCELLED},
    _RUNNING: {"complete": _COMPLETED, "cancel": _CANCELLED},
    _POSTPONED: {"reschedule": _RESCHEDULED, "cancel": _CANCELLED},
    _RESCHEDULED: {
        "publish": _PUBLISHED,
        "start_sales": _ON_SALE,
        "begin": _RUNNING,
        "postpone": _POSTPONED,
        "cancel": _CANCELLED,
    },
    _COMPLETED: {},
    _CANCELLED: {},
}

TRANSITION_NAMES: Final = tuple(dict.fromkeys(name for moves in TRANSITIONS.values() for name in moves))
REASON_REQUIRED: Final = frozenset({"reject", "cancel", "postpone"})

ALIASES: Final[Mapping[str, EventState]] = {
    "PAUSED": _PAUSED,
    "AVAILABLE": _ON_SALE,
    "CLOSED": _COMPLETED,
    "ENDED": _COMPLETED,
}
"""What other vocabularies call our states."""


def state_named(name: str) -> EventState:
    """Give the state of a name or alias, in any case; VALIDATION_FAILED for an unknown one."""
    upper = name.upper()
    if upper in ALIASES:
        return ALIASES[upper]
    try:
        return EventState(upper)
    except ValueError:
        raise invalid("state", f"{name!r} is not a state of an event") from None


def allowed_transitions(state: EventState) -> tuple[str, ...]:
    """List the names of the transitions that exist from a state."""
    return tuple(TRANSITIONS[state])


def target(state: EventState, name: str) -> EventState:
    """Give the state that a transition leads to, or INVALID_TRANSITION naming what is allowed."""
    moves = TRANSITIONS[state]
    if name not in moves:
        raise DomainError(
            Reason.INVALID_TRANSITION,
            f"an event in {state.value} cannot {name.replace('_', ' ')}",
            metadata={"state": state.value, "transition": name, "allowed": ",".join(moves)},
        )
    return moves[name]


def check_reason(name: str, reason: str) -> None:
    """Refuse a transition that needs a reason and has none."""
    if name in REASON_REQUIRED and not reason.strip():
        raise invalid("reason", f"{name.replace('_', ' ')} needs a reason")


@dataclass(frozen=True, slots=True)
class Transition:
    """One step of an event's history; `version` is the event's version that it made."""

    version: int
    name: str
    from_state: EventState
    to_state: EventState
    actor: str
    reason: str
    create_time: datetime


class Confirm(StrEnum):
    """Which existing holds may be confirmed."""

    NONE = "NONE"
    ALL = "ALL"
    PENDING_ONLY = "PENDING_ONLY"


class Sell(StrEnum):
    """Whether new holds may be placed."""

    NO = "NO"
    YES = "YES"
    AT_THE_DOOR = "AT_THE_DOOR"
    """Only with a sales end later than the start."""


@dataclass(frozen=True, slots=True)
class StatePolicy:
    """What a state permits, whatever else may refuse."""

    sell: Sell
    confirm: Confirm
    listed: bool
    scanning: bool
    editable: bool


_HIDDEN: Final = StatePolicy(sell=Sell.NO, confirm=Confirm.NONE, listed=False, scanning=False, editable=True)
_ENDED: Final = StatePolicy(sell=Sell.NO, confirm=Confirm.NONE, listed=False, scanning=False, editable=False)
_SELLING: Final = StatePolicy(sell=Sell.YES, confirm=Confirm.ALL, listed=True, scanning=True, editable=True)

POLICIES: Final[Mapping[EventState, StatePolicy]] = {
    _DRAFT: _HIDDEN,
    _REVIEW: _HIDDEN,
    _APPROVED: _HIDDEN,
    _PUBLISHED: StatePolicy(sell=Sell.NO, confirm=Confirm.NONE, listed=True, scanning=False, editable=True),
    _RESCHEDULED: StatePolicy(sell=Sell.NO, confirm=Confirm.ALL, listed=True, scanning=False, editable=True),
    _ON_SALE: _SELLING,
    _PAUSED: StatePolicy(sell=Sell.NO, confirm=Confirm.ALL, listed=True, scanning=True, editable=True),
    _SOLD_OUT: _SELLING,  # the counters refuse, and places that come back are sold before the state follows
    _RUNNING: StatePolicy(sell=Sell.AT_THE_DOOR, confirm=Confirm.ALL, listed=True, scanning=True, editable=False),
    _POSTPONED: StatePolicy(sell=Sell.NO, confirm=Confirm.PENDING_ONLY, listed=True, scanning=False, editable=True),
    _COMPLETED: _ENDED,
    _CANCELLED: _ENDED,
}

LISTED_STATES: Final = frozenset(state for state, policy in POLICIES.items() if policy.listed)
TERMINAL_STATES: Final = frozenset(state for state, moves in TRANSITIONS.items() if not moves)
NEVER_SOLD_STATES: Final = frozenset({_DRAFT, _REVIEW, _APPROVED})
"""No event comes back to these once it was on sale, so nothing of it can be held or sold."""
DELETABLE_STATES: Final = frozenset({_DRAFT, _CANCELLED})


def sales_allowed(state: EventState, *, door_sales: bool) -> bool:
    """Tell whether the state by itself allows new holds; `door_sales` = sales end after the last date's start."""
    sell = POLICIES[state].sell
    return sell is Sell.YES or (sell is Sell.AT_THE_DOOR and door_sales)


def check_editable(state: EventState) -> None:
    """Refuse changes of ordinary fields in a state that does not allow them."""
    if not POLICIES[state].editable:
        raise DomainError(
            Reason.NOT_EDITABLE,
            f"an event in {state.value} cannot be changed",
            metadata={"state": state.value},
        )


def check_deletable(state: EventState) -> None:
    """Refuse to delete an event that is neither a draft nor cancelled."""
    if state not in DELETABLE_STATES:
        raise DomainError(
            Reason.NOT_EDITABLE,
            f"an event in {state.value} cannot be deleted; cancel it first",
            metadata={"state": state.value},
        )


def check_requirements(missing: list[str]) -> None:
    """Refuse a transition whose requirements are missing, listing all of them."""
    if missing:
        raise DomainError(
            Reason.REQUIREMENT_MISSING,
            f"missing: {', '.join(name.replace('_', ' ') for name in missing)}",
            metadata={"missing": ",".join(missing)},
        )
