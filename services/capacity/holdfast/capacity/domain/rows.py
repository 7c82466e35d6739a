"""Things of one kind as a commit will leave them, and which of them it makes or changes."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Rows(Generic[T]):
    """Things by id. `now` has all that were read, made or changed, as they are now; `before` what changed ones were."""

    __slots__ = ("_changed", "_made", "before", "now")

    def __init__(self) -> None:
        self.now: dict[str, T] = {}
        self.before: dict[str, T] = {}
        self._made: dict[str, None] = {}
        self._changed: dict[str, None] = {}

    def load(self, key: str, thing: T) -> None:
        """Take over what was read."""
        self.now[key] = thing

    def make(self, key: str, thing: T) -> None:
        """Add a new one."""
        self.now[key] = thing
        self._made[key] = None

    def change(self, key: str, thing: T, *, before: T) -> None:
        """Put another state in the place of the one before."""
        if key not in self._made and key not in self._changed:
            self._changed[key] = None
            self.before[key] = before
        self.now[key] = thing

    @property
    def made(self) -> list[T]:
        """What is new, in order."""
        return [self.now[key] for key in self._made]

    @property
    def changed(self) -> list[T]:
        """What was there and is different now, in the order of the first change."""
        return [self.now[key] for key in self._changed]

    @property
    def changes(self) -> int:
        """How many are new or changed."""
        return len(self._made) + len(self._changed)

    def touched(self, key: str) -> bool:
        """Whether one is new or changed."""
        return key in self._made or key in self._changed
