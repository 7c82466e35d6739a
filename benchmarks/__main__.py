"""`make bench`: start a mesh, measure every case, print what was found, remove the mesh."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks import facts, report, results, usage
from benchmarks.bench import Bench, TimeIsUpError
from benchmarks.cases import ALONE, CASES
from benchmarks.children import LoadFailedError
from benchmarks.options import parse
from benchmarks.results import AbsentError, WrongError
from benchmarks.stack import running_stack
from holdfast.local.operator import OperatorError
from holdfast.local.rest import CallFailedError
from holdfast.local.runtime import AlreadyRunningError
from holdfast.local.supervisor import StartFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.options import Options
    from benchmarks.results import Result
    from holdfast.local.mesh import LocalMesh

SAME_SIGNAL_SECONDS = 1.0
REST_SECONDS = 2.0
INTERRUPTED = 130
CASE_FAULTS = (CallFailedError, LoadFailedError, OperatorError, WrongError, psycopg.Error)
"""What ends one case; the others are measured all the same."""

FAULTS = (AlreadyRunningError, CallFailedError, FileNotFoundError, StartFailedError, TimeIsUpError, psycopg.Error)
"""What ends the measurement."""


class StoppedError(Exception):
    """Somebody asked to stop."""


class Stopping:
    """Ctrl-C, SIGTERM and a closed terminal end the measurement in order; a second one, at once."""

    def __init__(self) -> None:
        self._mesh: LocalMesh | None = None
        self._asked = 0.0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def watch(self, mesh: LocalMesh) -> None:
        """Let signals reach the mesh that is started now."""
        self._mesh = mesh

    def no_more(self) -> None:
        """From now on a signal only hurries what ends anyway."""
        self._asked = self._asked or time.monotonic()

    def _on_signal(self, _number: int, _frame: Any) -> None:
        now = time.monotonic()
        if self._asked:
            # Under make, a terminal's Ctrl-C comes twice.
            if now - self._asked > SAME_SIGNAL_SECONDS and self._mesh is not None:
                self._mesh.in_a_hurry.set()
            return
        self._asked = now
        raise StoppedError


def main() -> int:
    """Measure; 1 when an answer or a counter was wrong, or something failed; 130 when stopped."""
    options = parse(sys.argv[1:], tuple(CASES))
    stopping = Stopping()
    measured: list[Result] = []
    wrong: list[str] = []
    say(facts.machine())
    alone = [[case] for case in options.cases if case in ALONE]
    together = [case for case in options.cases if case not in ALONE]
    deadline = time.monotonic() + options.minutes_max * 60
    try:
        for cases in ([together] if together else []) + alone:
            wrong += measure(cases, options, stopping, measured, deadline=deadline)
    except StoppedError:
        say("stopped; the mesh is removed")
        return INTERRUPTED
    except FAULTS as error:
        wrong.append(f"{type(error).__name__}: {error}")
    stopping.no_more()
    if measured:
        results.write(options.output, measured)
        say(f"\n{report.figures(measured)}\n\n{report.cpu(measured)}\n\n{report.targets(measured)}\n")
        say(f"figures: {options.output}")
    wrong += [f"{result.case}: {report.told(result.errors)}" for result in measured if result.errors]
    for fault in wrong:
        say(f"WRONG {fault}")
    return 1 if wrong else 0


def measure(
    cases: Sequence[str], options: Options, stopping: Stopping, measured: list[Result], *, deadline: float
) -> list[str]:
    """Measure cases in one mesh, adding to `measured`; give what was wrong. Raises one of FAULTS, StoppedError."""
    wrong = []
    with running_stack(options.state_dir, report=lambda _: None, hurry=stopping.watch) as stack:
        say(facts.database(stack))
        say(f"the disk makes a written block durable in {facts.sync_milliseconds(options.state_dir):.1f} ms")
        say(f"mesh: {', '.join(f'{name}={value}' for name, value in sorted(stack.tuned().items()))}")
        bench = Bench(stack, options, deadline=deadline, say=say)
        say(f"{options.principals} principals; {options.connections} connections; a run: {options.seconds:g} s")
        say(f"at rest, of a processor: {report.at_rest(usage.shares(stack.pids(), REST_SECONDS))}")
        for case in cases:
            say(f"\n{case}: {CASES[case].__doc__}")
            try:
                result = CASES[case](bench)
            except AbsentError as error:
                say(f"  absent: {error}")
            except CASE_FAULTS as error:
                wrong.append(f"{case}: {error}")
                say(f"  {type(error).__name__}: {error}")
            else:
                measured.append(result)
                for remark in result.remarks:
                    say(f"  {remark}")
        for sample in facts.engine_metrics(stack):
            say(f"  capacity: {sample}")
    return wrong


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
