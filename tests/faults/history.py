"""What clients did and what they were told, recorded while something breaks."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Outcome = Literal["ok", "fail", "unknown"]


@dataclass(frozen=True)
class Target:
    """What is claimed: one seat of a section, `seat` is its label, or places of a section without seats."""

    section_id: str
    seat: str = ""

    def selector(self, quantity: int) -> dict[str, Any]:
        """Return the fields of a request that select it."""
        return selector([self], quantity)


def selector(targets: Sequence[Target], quantity: int) -> dict[str, Any]:
    """Return the fields of a request that select seats of one section, or so many places of it."""
    labels = [target.seat for target in targets if target.seat]
    return {"seats": {"labels": labels}} if labels else {"quantity": quantity}


@dataclass(frozen=True)
class Operation:
    """One call, with all its retries under the same key. Times are seconds of a monotonic clock.

    `ok`: acknowledged. `fail`: refused for a reason of the business. `unknown`: never answered.
    `answers` are the distinct bodies of the acknowledgements, reduced to what a replay must repeat; `refusals` what
    attempts that were repeated had met: status and code, or the name of a transport's error. `state` is what the first
    acknowledgement said of the hold, `lines` what it said that the hold claims, with the numbers of the lines.
    `targets` is what was asked for or, of a hold that exists, what it claimed before; a change gives some of it back
    and takes others. `named` are the seats that a refusal named as taken.
    """

    seed: int
    op: str
    key: str
    organization: str
    invoke: float
    complete: float
    outcome: Outcome
    hold_id: str
    quantity: int
    code: str
    attempts: int
    answers: tuple[str, ...]
    priced: bool = False
    refusals: tuple[str, ...] = ()
    targets: tuple[Target, ...] = ()
    gives: tuple[Target, ...] = ()
    takes: tuple[Target, ...] = ()
    named: tuple[str, ...] = ()
    lines: tuple[tuple[int, Target], ...] = ()
    ttl_seconds: float = 0.0
    state: str = ""

    @property
    def claims(self) -> tuple[Target, ...]:
        """What the hold claims afterwards."""
        if self.outcome != "ok":
            return self.targets
        return (*(target for target in self.targets if target not in self.gives), *self.takes)

    @property
    def hold(self) -> str:
        """The hold that it is about; of one that nobody was told of, the key that it was asked for with."""
        return self.hold_id or self.key


class Recorder:
    """Collects operations; writes them as JSON lines so that a failure can be studied."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.operations: list[Operation] = []
        self.statuses: dict[int, int] = {}
        self.enough = asyncio.Event()
        """Set it to let the clients end after what they are doing."""
        self._changed = asyncio.Event()

    def add(self, operation: Operation) -> None:
        """Take an operation down."""
        self.operations.append(operation)
        self._changed.set()

    def acknowledged(self, *, since: float = 0.0, where: Callable[[Operation], bool] | None = None) -> int:
        """Count acknowledged operations that began at or after a moment."""
        return sum(o.outcome == "ok" and o.invoke >= since and (where is None or where(o)) for o in self.operations)

    async def wait_acknowledged(self, count: int, *, since: float = 0.0, seconds: float = 60) -> None:
        """Wait until so many operations that began since a moment are acknowledged. For one waiter; TimeoutError."""
        async with asyncio.timeout(seconds):
            while self.acknowledged(since=since) < count:
                self._changed.clear()
                await self._changed.wait()

    def write(self, path: Path) -> None:
        """Write the history as JSON lines."""
        path.write_text("".join(json.dumps(asdict(operation)) + "\n" for operation in self.operations))
