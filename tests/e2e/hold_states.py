"""From which state a hold may become what, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.e2e.vectors import Call, Vector, becomes, cancel_event, expires, on_hold, place, postpone_event, reads, show

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.e2e.vectors import Step

STATES: Final[Mapping[str, tuple[Step, ...]]] = {
    "ACTIVE": (place("H", 2),),
    "PENDING": (place("H", 2), becomes("BeginPayment", "H", "PENDING")),
    "CONFIRMED": (place("H", 2), becomes("ConfirmHold", "H", "CONFIRMED")),
    "RELEASED": (place("H", 2), becomes("ReleaseHold", "H", "RELEASED")),
    "EXPIRED": (place("H", 2, hold_ttl_seconds=1), expires("H")),
    "VOIDED": (place("H", 2), cancel_event(), reads("H", state="VOIDED", void_cause="EVENT_CANCELLED")),
}

ACTIONS: Final[Mapping[str, Call]] = {
    "begin payment": on_hold("BeginPayment", "H"),
    "confirm": on_hold("ConfirmHold", "H"),
    "release": on_hold("ReleaseHold", "H"),
    "release by box": on_hold("ReleaseHold", "H", by="box"),
    "cancel event": cancel_event(),
    "postpone event": postpone_event(),
}

MAY_BECOME: Final = """
state     | begin payment   | confirm         | release         | release by box  | cancel event | postpone event
ACTIVE    | PENDING         | CONFIRMED       | RELEASED        | RELEASED        | VOIDED       | VOIDED
PENDING   | PENDING         | CONFIRMED       | HOLD_NOT_ACTIVE | RELEASED        | VOIDED       | PENDING
CONFIRMED | HOLD_NOT_ACTIVE | CONFIRMED       | HOLD_NOT_ACTIVE | HOLD_NOT_ACTIVE | CONFIRMED    | CONFIRMED
RELEASED  | HOLD_NOT_ACTIVE | HOLD_NOT_ACTIVE | RELEASED        | RELEASED        | RELEASED     | RELEASED
EXPIRED   | HOLD_EXPIRED    | HOLD_EXPIRED    | EXPIRED         | EXPIRED         | EXPIRED      | EXPIRED
VOIDED    | HOLD_VOIDED     | HOLD_VOIDED     | VOIDED          | VOIDED          | -            | -
"""
"""The state after the action, or the reason of the refusal, after which the state is what it was."""


def _transitions() -> Iterator[Vector]:
    header, *rows = [[cell.strip() for cell in line.split("|")] for line in MAY_BECOME.strip().splitlines()]
    for state, *outcomes in rows:
        for action, outcome in zip(header[1:], outcomes, strict=True):
            if outcome == "-":
                continue
            done, refused = ACTIONS[action], outcome not in STATES
            if refused:
                done = Call(done.rpc, done.fields, done.by, refused=outcome)
            steps = (*STATES[state], done, reads("H", state=state if refused else outcome))
            spoils = state == "VOIDED" or action.endswith("event")
            yield Vector(f"{state}: {action}", show(10 if spoils else 1000), steps, shared=not spoils)


TRANSITIONS: Final = tuple(_transitions())
