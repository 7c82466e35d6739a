"""How long to wait before a process that ended is started again."""

FIRST_SECONDS = 0.2
MOST_SECONDS = 10.0
STEADY_SECONDS = 30.0


class Backoff:
    """Doubles from FIRST_SECONDS to `most_seconds`; begins anew once a process ran for STEADY_SECONDS."""

    def __init__(self, most_seconds: float = MOST_SECONDS) -> None:
        self._most_seconds = most_seconds
        self._failures = 0

    def after(self, ran_seconds: float) -> float:
        """Return the pause, in seconds, after a process ended that had run so long."""
        if ran_seconds >= STEADY_SECONDS:
            self._failures = 0
        pause: float = min(FIRST_SECONDS * 2**self._failures, self._most_seconds)
        self._failures = min(self._failures + 1, 30)
        return pause
