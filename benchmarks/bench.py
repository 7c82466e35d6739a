"""A measurement in progress: the mesh, what is sold in it, and how a case is run."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks import facts, report, usage
from benchmarks.children import Children
from benchmarks.profile import Profile
from benchmarks.results import Run, WrongError, summarize
from benchmarks.shows import Shows
from benchmarks.verification import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.load.outcome import Outcome
    from benchmarks.options import Options
    from benchmarks.results import Result
    from benchmarks.shows import Show
    from benchmarks.stack import Stack

PUBLISH_SECONDS_MAX = 60.0
PUBLISH_POLL_SECONDS = 0.2


class TimeIsUpError(Exception):
    """The measurement took longer than it may."""


class Bench:
    """Runs cases against one mesh."""

    def __init__(self, stack: Stack, options: Options, *, deadline: float, say: Callable[[str], None]) -> None:
        """`deadline` is of `time.monotonic`."""
        self.stack = stack
        self.options = options
        self.shows = Shows(stack, principals=options.principals)
        self.children = Children(stack.layout.root / "loads")
        self.ceiling = 0.0
        """Operations a second of the generator with nothing behind it; 0 while it was not measured."""
        self.say = say
        self._deadline = deadline
        self._numbers = itertools.count(1)

    def repeat(
        self,
        case: str,
        unit: str,
        jobs: Callable[[str], Sequence[tuple[str, Mapping[str, Any]]]],
        *,
        extra_pids: Mapping[str, int] | None = None,
    ) -> Result:
        """Run a case as often as asked for and summarize. `jobs` gives each run's loads; the first is the one measured.

        `extra_pids` are processes to account for besides the mesh's. What the other loads of a run did is added to its
        counts, not to its figures. Raises TimeIsUpError, LoadFailedError.
        """

        def loaded(_number: int) -> Outcome:
            measured, *beside = self.children.loads(jobs(f"{case}-{next(self._numbers)}"))
            for other in beside:
                measured = with_counts_of(measured, other)
            return measured

        return self.repeat_here(case, unit, loaded, extra_pids=extra_pids)

    def repeat_here(
        self, case: str, unit: str, run: Callable[[int], Outcome], *, extra_pids: Mapping[str, int] | None = None
    ) -> Result:
        """Like `repeat`, of something that this process does: `run` gets the number of the run, from 0 on."""
        runs = []
        for number in range(self.options.runs):
            self.settle()
            last = number == self.options.runs - 1
            pids = {**self.stack.pids(), **(extra_pids or {})}
            with Profile(pids, self.options.output.parent / "profiles" / case, on=self.options.profile and last):
                runs.append(self._run(partial(run, number), pids))
            self.say(report.run_line(number + 1, unit, runs[-1]))
        return summarize(case, unit, runs)

    def _run(self, run: Callable[[], Outcome], pids: Mapping[str, int]) -> Run:
        if time.monotonic() > self._deadline:
            raise TimeIsUpError(f"more than {self.options.minutes_max:.0f} minutes; --minutes-max allows more")
        before = usage.cpu_seconds(pids)
        outcome = run()
        return Run(outcome=outcome, cpu_seconds=usage.difference(usage.cpu_seconds(pids), before))

    def timing(self) -> dict[str, float]:
        """Give the part of a job that says how long it runs."""
        return {"warm_seconds": self.options.warm_seconds, "seconds": self.options.seconds}

    def http_job(  # noqa: PLR0913 (what a load is made of)
        self,
        run: str,
        script: str,
        targets: Sequence[Mapping[str, str]],
        *,
        connections: int = 0,
        once: bool = False,
        measured: bool = True,
        port: int = 0,
    ) -> tuple[str, dict[str, Any]]:
        """Give a REST load; without `port` on the gateway. One that is not `measured` keeps to its seconds."""
        host = self.stack.plan.gateway.removeprefix("http://")
        return "http", {
            **self.timing(),
            "run": run,
            "script": script,
            "targets": list(targets),
            "once": once,
            "host": host,
            "port": port or int(host.rpartition(":")[2]),
            "connections": connections or self.options.connections,
            "tokens": str(self.shows.tokens),
            # Every token was seen: what is measured is not how fast signatures are verified.
            "warm_operations": len(self.shows.buyers) if measured else 0,
        }

    def settle(self) -> None:
        """Wait until the relay has published what the run before left, so that no run pays for another."""
        deadline = time.monotonic() + PUBLISH_SECONDS_MAX
        while (waiting := facts.unpublished(self.stack)) and time.monotonic() < deadline:
            time.sleep(PUBLISH_POLL_SECONDS)
        if waiting:
            self.say(f"  {waiting} changes of inventories are not published after {PUBLISH_SECONDS_MAX:.0f} s")

    def check(self, show: Show, result: Result, *, held_before: int = 0) -> Result:
        """Compare the counters with what was acknowledged, and let capacity verify itself. Raises WrongError."""
        held = held_before + sum(run.outcome.held for run in result.runs)
        sold = sum(run.outcome.sold for run in result.runs)
        totals = self.shows.totals(show)
        unknown = sum(result.errors.values())
        if not held <= totals["held"] <= held + unknown * 1000 or not sold <= totals["sold"] <= sold + unknown * 1000:
            raise WrongError(f"{result.case}: acknowledged {held} held, {sold} sold; counters say {totals}")
        begin = time.monotonic()
        version = verify(self.stack, show)
        how = f"verified at version {version} in {time.monotonic() - begin:.1f} s"
        batch = facts.largest_batch(self.stack, show.event_id)
        remark = f"counters = acknowledged ({held} held, {sold} sold), {how}"
        return replace(result, remarks=(*result.remarks, remark, f"largest batch {batch}"))


def with_counts_of(measured: Outcome, other: Outcome) -> Outcome:
    """Add what another load of the same run did to the counts of the one that is measured."""
    return replace(
        measured,
        held=measured.held + other.held,
        sold=measured.sold + other.sold,
        errors=dict(measured.errors) | {f"beside: {why}": times for why, times in other.errors.items()},
        cpu_seconds=measured.cpu_seconds + other.cpu_seconds,
    )
