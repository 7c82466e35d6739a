"""What the database's clock says between two readings of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class DatabaseClock:
    """The database's clock between two readings of it: the last reading, and how much time passed here since.

    It never runs ahead of the database's by more than that one was set back, so that nothing ends too early.
    """

    def __init__(self) -> None:
        self._offset: timedelta | None = None
        self._origin = datetime(1970, 1, 1, tzinfo=UTC)

    def calibrate(self, at: datetime, *, before: float, after: float) -> None:
        """Take note that the database's clock was `at` at a moment between two of this process' monotonic clock."""
        earliest = at - self._moment(after)
        latest = at - self._moment(before)
        if self._offset is None:
            self._offset = earliest
        else:
            # What was known stays, unless the reading contradicts it.
            self._offset = min(max(self._offset, earliest), latest)

    def now(self, monotonic: float) -> datetime:
        """Give the database's time at a moment of this process' monotonic clock; RuntimeError before any reading."""
        if self._offset is None:
            raise RuntimeError("the database's clock was not read yet")
        return self._moment(monotonic) + self._offset

    def _moment(self, monotonic: float) -> datetime:
        return self._origin + timedelta(seconds=monotonic)
