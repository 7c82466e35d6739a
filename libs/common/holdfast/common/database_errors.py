"""What a database error means: try again, tell the caller to come back, or a fault of ours."""

from enum import Enum

import psycopg
from sqlalchemy.exc import DBAPIError

from holdfast.common.errors import DomainError, Reason, StartRefused

__all__ = [
    "RETRY_AFTER_SECONDS",
    "CommitTimeoutError",
    "Failure",
    "StartRefused",
    "classify",
    "is_retryable",
    "login_refused",
    "overloaded",
    "translated",
    "unavailable",
]

RETRY_AFTER_SECONDS = 1.0

_CONFLICTS = frozenset({"40001", "40P01"})
_SHUTDOWNS = frozenset({"57P01", "57P02", "57P03", "25P03", "25P04"})
_WAITED_TOO_LONG = frozenset({"55P03", "57014"})
_READ_ONLY = "25006"
_LOGIN_REFUSED = ("28", "3D", "42501")


class Failure(Enum):
    """Kinds of database errors that are nobody's fault."""

    CONFLICT = "conflict"
    """Serialization failure or deadlock: nothing was done, running it again may succeed."""
    LOST = "lost"
    """The connection is gone or cannot be had. Whether a COMMIT under way took effect is not known."""
    BUSY = "busy"
    """Waited for a lock, or ran, longer than allowed."""
    EXHAUSTED = "exhausted"
    """The server has no disk, memory or connections left, or is a standby that takes no writes."""


class CommitTimeoutError(Exception):
    """The server did not answer a COMMIT in time."""


def classify(error: BaseException) -> Failure | None:
    """Tell the kind of `error`; None for everything else, such as a violated constraint or a mistake in SQL."""
    if isinstance(error, CommitTimeoutError):
        return Failure.LOST
    if isinstance(error, DBAPIError):
        cause: BaseException | None = error.orig
        disconnected = error.connection_invalidated
    else:
        cause, disconnected = error, False
    if not isinstance(cause, psycopg.Error):
        return Failure.LOST if disconnected else None
    state = cause.sqlstate
    if state is None:
        # Without a state the server never said anything: a lost socket, a refused connection.
        lost = disconnected or isinstance(cause, psycopg.OperationalError)
        return Failure.LOST if lost else None
    return _by_state(state, disconnected=disconnected)


def _by_state(state: str, *, disconnected: bool) -> Failure | None:
    if state in _CONFLICTS:
        return Failure.CONFLICT
    if state in _SHUTDOWNS or state.startswith("08"):
        return Failure.LOST
    if state in _WAITED_TOO_LONG:
        return Failure.BUSY
    if state.startswith("53") or state == _READ_ONLY:
        return Failure.EXHAUSTED
    return Failure.LOST if disconnected else None


def is_retryable(error: BaseException) -> bool:
    """Tell whether the whole transaction may be run again; a COMMIT that timed out is not, its time is over."""
    return not isinstance(error, CommitTimeoutError) and classify(error) in {Failure.CONFLICT, Failure.LOST}


def unavailable() -> DomainError:
    """Say that the database does not answer."""
    return DomainError(
        Reason.DEPENDENCY_UNAVAILABLE,
        "the database does not answer; the same request_id tells what became of the request",
        metadata={"dependency": "database"},
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )


def overloaded() -> DomainError:
    """Say that the database has more to do than it can."""
    return DomainError(
        Reason.OVERLOADED,
        "too much is waiting for the same data",
        metadata={"queue": "database"},
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )


def translated(error: BaseException) -> DomainError | None:
    """Return what callers are told about `error`, None when it is not theirs to know."""
    match classify(error):
        case Failure.CONFLICT | Failure.BUSY:
            return overloaded()
        case Failure.LOST | Failure.EXHAUSTED:
            return unavailable()
        case None:
            return None


def login_refused(error: DBAPIError, state: str | None) -> str | None:
    """Tell why a login failed for good. libpq gives no SQLSTATE for a failed connection, only the server's words."""
    if state is not None:
        return f"SQLSTATE {state}" if state.startswith(_LOGIN_REFUSED) else None
    words = str(error.orig)
    for sign in ("password authentication failed", "no pg_hba.conf entry", "does not exist", "no password supplied"):
        if sign in words:
            return sign
    return None
