"""The supervisor, with small processes of its own: stages, restarts, order of stopping, clearing up."""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from holdfast.local import runtime
from holdfast.local.children import Child, running
from holdfast.local.runtime import AlreadyRunningError, ProcessRecord, Runtime
from holdfast.local.state import Layout
from holdfast.local.supervisor import InterruptedStartError, StartFailedError, Supervisor
from holdfast.local.units import Program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SERVE = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: (Path(sys.argv[1]).open("a").write(f"{sys.argv[2]} stopped\\n"), sys.exit(0)))
Path(sys.argv[1]).open("a").write(f"{sys.argv[2]} started\\n")
time.sleep(300)
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(300)"


class Bench:
    """A supervisor, what it reported, and a place for its processes to leave traces."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.trace = directory / "trace"
        self.reports: list[str] = []
        self.interrupted = threading.Event()
        self.supervisor = Supervisor(report=self.reports.append, on_change=lambda: None, interrupted=self.interrupted)

    def program(
        self, name: str, source: str = SERVE, *, ready: Callable[[], bool] | None = None, grace_seconds: float = 5
    ) -> Program:
        return Program(
            name=name,
            command=[sys.executable, "-S", "-c", source, str(self.trace), name],
            environment={"PATH": os.defpath},
            log=self.directory / f"{name}.log",
            is_ready=ready or (lambda: f"{name} started" in self.lines()),
            grace_seconds=grace_seconds,
        )

    def lines(self) -> list[str]:
        return self.trace.read_text().splitlines() if self.trace.exists() else []

    def until(self, condition: Callable[[], bool], seconds: float = 15) -> bool:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)
        return condition()

    def record(self, name: str) -> ProcessRecord:
        return next(record for record in self.supervisor.processes if record.name == name)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.supervisor.stop()


def test_stages_start_in_order_and_stop_in_reverse(bench: Bench) -> None:
    bench.supervisor.start_stage([bench.program("one")], ready_seconds=20)
    bench.supervisor.start_stage([bench.program("two")], ready_seconds=20)
    pids = [record.pid for record in bench.supervisor.processes]
    assert [record.state for record in bench.supervisor.processes] == ["running", "running"]
    bench.supervisor.stop()
    assert bench.lines() == ["one started", "two started", "two stopped", "one stopped"]
    assert not any(running(pid) for pid in pids)
    assert [record.state for record in bench.supervisor.processes] == ["stopped", "stopped"]


def another_runs(bench: Bench, before: int) -> bool:
    return bench.record("one").pid not in (0, before)


def test_a_killed_process_is_restarted_and_reported_with_a_longer_pause_each_time(bench: Bench) -> None:
    bench.supervisor.start_stage([bench.program("one")], ready_seconds=20)
    for restart in (1, 2, 3):
        before = bench.record("one").pid
        os.kill(before, signal.SIGKILL)
        assert bench.until(functools.partial(another_runs, bench, before)), bench.reports
        assert bench.record("one").restarts == restart
        assert bench.until(lambda: bench.record("one").state == "running")
    pauses = [line for line in bench.reports if "was killed by SIGKILL; restart" in line]
    assert [line.rsplit(" in ", 1)[1] for line in pauses] == ["0.2 s", "0.4 s", "0.8 s"]


def test_a_process_that_ends_while_starting_fails_the_start_with_its_last_words(bench: Bench) -> None:
    broken = bench.program("broken", "raise SystemExit('HOLDFAST_X: missing')")
    with pytest.raises(StartFailedError) as caught:
        bench.supervisor.start_stage([broken], ready_seconds=20)
    assert "broken exited with 1" in str(caught.value)
    assert "HOLDFAST_X: missing" in str(caught.value)


def test_a_process_that_is_never_ready_fails_the_start_in_time(bench: Bench) -> None:
    begin = time.monotonic()
    with pytest.raises(StartFailedError, match="not ready after 1 s"):
        bench.supervisor.start_stage([bench.program("slow", ready=lambda: False)], ready_seconds=1)
    assert time.monotonic() - begin < 5


def test_a_program_that_does_not_exist_fails_the_start(bench: Bench) -> None:
    missing = Program(
        name="missing",
        command=["/nonexistent/program"],
        environment={},
        log=bench.directory / "missing.log",
        is_ready=lambda: False,
    )
    with pytest.raises(StartFailedError, match="No such file or directory"):
        bench.supervisor.start_stage([missing], ready_seconds=20)


def test_starting_ends_when_somebody_asks_to_stop(bench: Bench) -> None:
    threading.Timer(0.3, bench.interrupted.set).start()
    begin = time.monotonic()
    with pytest.raises(InterruptedStartError):
        bench.supervisor.start_stage([bench.program("slow", ready=lambda: False)], ready_seconds=60)
    assert time.monotonic() - begin < 10


def test_a_process_that_will_not_stop_is_killed_after_its_grace(bench: Bench) -> None:
    log = bench.directory / "deaf.log"
    deaf = bench.program("deaf", DEAF, ready=lambda: "deaf" in log.read_text(), grace_seconds=0.5)
    bench.supervisor.start_stage([deaf], ready_seconds=20)
    pid = bench.record("deaf").pid
    begin = time.monotonic()
    bench.supervisor.stop()
    assert time.monotonic() - begin < 5
    assert not running(pid)


def test_a_hurry_kills_at_once(bench: Bench) -> None:
    log = bench.directory / "deaf.log"
    deaf = bench.program("deaf", DEAF, ready=lambda: "deaf" in log.read_text(), grace_seconds=60)
    bench.supervisor.start_stage([deaf], ready_seconds=20)
    pid = bench.record("deaf").pid
    hurry = threading.Event()
    hurry.set()
    begin = time.monotonic()
    bench.supervisor.stop(in_a_hurry=hurry)
    assert time.monotonic() - begin < 5
    assert not running(pid)


def test_children_of_a_process_die_with_it(tmp_path: Path) -> None:
    source = (
        "import subprocess, sys, time; sleep = [sys.executable, '-c', 'import time; time.sleep(300)']; "
        "child = subprocess.Popen(sleep, start_new_session=True); print(child.pid, flush=True); time.sleep(300)"
    )
    parent = Child(
        name="parent",
        command=[sys.executable, "-c", source],
        environment={"PATH": os.defpath},
        log=tmp_path / "log",
    )
    parent.start()
    deadline = time.monotonic() + 10
    while not (tmp_path / "log").read_text().strip() and time.monotonic() < deadline:
        time.sleep(0.02)
    grandchild = int((tmp_path / "log").read_text())
    assert running(grandchild)
    parent.kill()
    assert not running(parent.pid)
    assert not running(grandchild)
    assert parent.exit_code == -signal.SIGKILL


def test_logs_stay_bounded_and_keep_their_end(bench: Bench) -> None:
    talk = "import sys, time\nfor n in range(20000): print('line', n)\nsys.stdout.flush()\ntime.sleep(300)"
    log = bench.directory / "talker.log"
    talker = bench.program("talker", talk, ready=lambda: "line 19999" in log.read_text())
    bench.supervisor.start_stage([talker], ready_seconds=20)
    bench.supervisor.bound_logs(bytes_max=40_000)
    assert log.stat().st_size == 0
    kept = log.with_name("talker.log.1")
    assert kept.stat().st_size == 10_000
    assert kept.read_text().endswith("line 19999\n")


def test_two_supervisors_never_share_a_state_directory(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "state").ready()
    assert runtime.held(layout) is None
    with runtime.only_one(layout):
        assert runtime.held(layout) == os.getpid()
        with pytest.raises(AlreadyRunningError, match=str(os.getpid())), runtime.only_one(layout):
            pass
    assert runtime.held(layout) is None


def left_over(layout: Layout, record: ProcessRecord) -> None:
    runtime.save(
        layout,
        Runtime(supervisor=runtime.myself(), phase="running", gateway="", grpc={}, metrics={}, processes=[record]),
    )


@pytest.fixture
def stray(tmp_path: Path) -> Iterator[Child]:
    child = Child(
        name="stray",
        command=[sys.executable, "-c", "import time; time.sleep(300)"],
        environment={"PATH": os.defpath},
        log=tmp_path / "stray.log",
    )
    child.start()
    deadline = time.monotonic() + 10
    record = record_of(child)
    while not record.is_it() and time.monotonic() < deadline:  # until the launcher has become the program
        time.sleep(0.02)
    assert record.is_it()
    yield child
    child.kill()


def record_of(child: Child, *, start_time: float | None = None, command: list[str] | None = None) -> ProcessRecord:
    return ProcessRecord(
        name=child.name,
        pid=child.pid,
        state="running",
        restarts=0,
        start_time=child.start_time or 0 if start_time is None else start_time,
        command=child.command if command is None else command,
    )


def test_what_a_crash_left_running_is_ended(tmp_path: Path, stray: Child) -> None:
    layout = Layout(tmp_path / "state").ready()
    left_over(layout, record_of(stray))
    assert [record.name for record in runtime.end_leftovers(layout)] == ["stray"]
    assert not running(stray.pid)
    assert runtime.load(layout) is None
    assert runtime.end_leftovers(layout) == []


def test_a_process_id_that_belongs_to_another_process_now_is_left_alone(tmp_path: Path, stray: Child) -> None:
    layout = Layout(tmp_path / "state").ready()
    for record in (record_of(stray, start_time=1.0), record_of(stray, command=["/usr/bin/other"])):
        left_over(layout, record)
        assert runtime.end_leftovers(layout) == []
        assert running(stray.pid)


@pytest.mark.parametrize("content", ["", "{}", "[]", "garbage"])
def test_an_unreadable_record_of_what_runs_is_no_record(tmp_path: Path, content: str) -> None:
    layout = Layout(tmp_path / "state").ready()
    layout.runtime.write_text(content)
    assert runtime.load(layout) is None
    assert runtime.end_leftovers(layout) == []
