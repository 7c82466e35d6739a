"""Starts units stage by stage, restarts what ends by itself, stops everything in reverse."""

import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from holdfast.local.backoff import MOST_SECONDS, Backoff
from holdfast.local.ports import PortTakenError
from holdfast.local.programs import ProgramMissingError
from holdfast.local.runtime import ProcessRecord
from holdfast.local.servers import ServerFailedError
from holdfast.local.units import Unit

READY_POLL_SECONDS = 0.05
WATCH_SECONDS = 0.5
LOG_BYTES_MAX = 16 * 1024 * 1024
LOG_CHECK_SECONDS = 5.0
STOP_SECONDS = 40.0

UNSTARTABLE = (OSError, ServerFailedError, PortTakenError, ProgramMissingError)


class StartFailedError(Exception):
    """A unit did not start; the message says which, how it ended, and the end of its log."""


class InterruptedStartError(Exception):
    """Somebody asked to stop while units were being started."""


@dataclass(slots=True)
class _Watched:
    """What the supervisor knows of a unit."""

    unit: Unit
    backoff: Backoff
    state: str = "stopped"
    restarts: int = 0
    started: float = 0.0
    thread: threading.Thread | None = None


def how_it_ended(exit_code: int | None) -> str:
    """Say in words how a process ended: `exited with 1`, `was killed by SIGKILL`."""
    if exit_code is None:
        return "ended"
    if exit_code < 0:
        try:
            return f"was killed by {signal.Signals(-exit_code).name}"
        except ValueError:
            return f"was killed by signal {-exit_code}"
    return f"exited with {exit_code}"


class Supervisor:
    """Looks after units, a thread for each. `report` gets one line for whoever looks on, from any thread."""

    def __init__(
        self,
        *,
        report: Callable[[str], None],
        on_change: Callable[[], None],
        interrupted: threading.Event,
        restart_seconds_max: float = MOST_SECONDS,
    ) -> None:
        """`on_change` is called after a process came or went; `interrupted` ends `start` early when it is set.

        `restart_seconds_max` is how long a process that ends again and again waits for its restart at most.
        """
        self._restart_seconds_max = restart_seconds_max
        self._report = report
        self._on_change = on_change
        self._interrupted = interrupted
        self._stopping = threading.Event()
        self._stages: list[list[_Watched]] = []
        self._log_check = 0.0

    @property
    def processes(self) -> Sequence[ProcessRecord]:
        """The units in the order of their start, as they are now."""
        return [self._record(watched) for stage in self._stages for watched in stage]

    def start_stage(self, units: Iterable[Unit], *, ready_seconds: float) -> None:
        """Start units beside each other and return when all are ready; each is looked after from then on.

        Raises StartFailedError when one ends or is not ready in time, InterruptedStartError. Call `stop` then, too.
        """
        stage = [_Watched(unit, Backoff(self._restart_seconds_max)) for unit in units]
        self._stages.append(stage)
        for watched in stage:
            if self._interrupted.is_set():
                raise InterruptedStartError
            watched.state = "starting"
            watched.started = time.monotonic()
            try:
                watched.unit.start()
            except UNSTARTABLE as error:
                watched.state = "failed"
                raise StartFailedError(str(error)) from error
            self._on_change()
        deadline = time.monotonic() + ready_seconds
        waiting = list(stage)
        while waiting:
            waiting = [watched for watched in waiting if not self._became_ready(watched)]
            if self._interrupted.wait(READY_POLL_SECONDS if waiting else 0):
                raise InterruptedStartError
            if waiting and time.monotonic() > deadline:
                late = waiting[0]
                late.state = "failed"
                raise StartFailedError(
                    f"{late.unit.name} is not ready after {ready_seconds:.0f} s. {self._log_of(late.unit)}"
                )
        for watched in stage:
            watched.thread = threading.Thread(
                target=self._look_after, args=(watched,), name=f"watch-{watched.unit.name}", daemon=True
            )
            watched.thread.start()

    def watch(self) -> None:
        """Return when `interrupted` is set; meanwhile keep the logs bounded."""
        while not self._interrupted.wait(LOG_CHECK_SECONDS):
            self.bound_logs()

    def bound_logs(self, bytes_max: int = LOG_BYTES_MAX) -> None:
        """Cut logs that grew beyond a size: their last quarter stays as `<log>.1`, the log begins anew."""
        for stage in self._stages:
            for watched in stage:
                child = watched.unit.child
                if child is None or not child.log.exists() or child.log.stat().st_size <= bytes_max:
                    continue
                with child.log.open("r+b") as stream:
                    stream.seek(-(bytes_max // 4), 2)
                    child.log.with_name(child.log.name + ".1").write_bytes(stream.read(bytes_max))
                    stream.truncate(0)  # the process appends, so it goes on at the beginning

    def stop(self, *, in_a_hurry: threading.Event | None = None) -> None:
        """Stop everything, the last stage first, the units of a stage beside each other.

        Each unit bounds its own stop; `in_a_hurry` kills what still runs as soon as it is set.
        """
        self._stopping.set()
        for stage in reversed(self._stages):
            threads = []
            for watched in stage:
                if watched.thread is not None:
                    watched.thread.join(STOP_SECONDS)
                if watched.unit.child is not None and watched.unit.child.alive:
                    watched.state = "stopping"
                thread = threading.Thread(target=watched.unit.stop, name=f"stop-{watched.unit.name}", daemon=True)
                thread.start()
                threads.append(thread)
            deadline = time.monotonic() + STOP_SECONDS
            while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline:
                time.sleep(READY_POLL_SECONDS)
                if in_a_hurry is not None and in_a_hurry.is_set():
                    break
            for watched in stage:
                watched.unit.kill()
                watched.state = "stopped"
            self._on_change()

    def _became_ready(self, watched: _Watched) -> bool:
        child = watched.unit.child
        if child is None or not child.alive:
            watched.state = "failed"
            ending = how_it_ended(child.exit_code if child else None)
            raise StartFailedError(f"{watched.unit.name} {ending} while starting. {self._log_of(watched.unit)}")
        if not watched.unit.ready:
            return False
        watched.state = "running"
        self._report(f"{watched.unit.name} is ready after {time.monotonic() - watched.started:.1f} s")
        self._on_change()
        return True

    def _look_after(self, watched: _Watched) -> None:
        unit = watched.unit
        while not self._stopping.is_set():
            child = unit.child
            if child is not None and not child.wait(WATCH_SECONDS):
                if watched.state == "starting" and unit.ready:
                    watched.state = "running"
                    self._report(f"{unit.name} is back (pid {child.pid})")
                    self._on_change()
                continue
            if self._stopping.is_set():
                break
            pause = watched.backoff.after(time.monotonic() - watched.started)
            watched.state = "restarting"
            watched.restarts += 1
            ending = how_it_ended(child.exit_code if child else None)
            self._report(f"{unit.name} {ending}; restart {watched.restarts} in {pause:.1f} s")
            self._on_change()
            if self._stopping.wait(pause):
                break
            watched.started = time.monotonic()
            try:
                unit.start()
            except UNSTARTABLE as error:
                self._report(f"{unit.name} could not be restarted: {str(error).splitlines()[0]}")
            else:
                watched.state = "starting"
            self._on_change()

    @staticmethod
    def _log_of(unit: Unit) -> str:
        if unit.child is None:
            return ""
        return f"The end of its log {unit.child.log}:\n{unit.child.log_tail()}"

    @staticmethod
    def _record(watched: _Watched) -> ProcessRecord:
        child = watched.unit.child
        alive = child is not None and child.alive
        return ProcessRecord(
            name=watched.unit.name,
            pid=child.pid if child is not None and alive else 0,
            state=watched.state,
            restarts=watched.restarts,
            start_time=(child.start_time or 0.0) if child is not None and alive else 0.0,
            command=child.command if child is not None else [],
        )
