"""A service as a process: signals and exit codes."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from asyncio.subprocess import Process

SCRIPT = Path(__file__).with_name("service_process.py")
SECONDS_MAX = 20.0


async def launched(behaviour: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), behaviour, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


async def heard(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def ended(process: Process) -> tuple[int | None, list[str], list[str]]:
    """Exit code, lines left on stdout, lines of stderr that are not log lines."""
    out, err = await process.communicate()
    return (
        process.returncode,
        out.decode().splitlines(),
        [line for line in err.decode().splitlines() if line.startswith("holdfast: ")],
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_in_order(number: signal.Signals) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        process = await launched("works")
        assert await heard(process) == "started"
        process.send_signal(number)
        code, out, words = await ended(process)
    assert (code, words) == (0, [])
    assert "stopped" in out


async def test_a_signal_during_the_start_stops_it_too() -> None:
    async with asyncio.timeout(SECONDS_MAX):
        process = await launched("starts-slowly")
        assert await heard(process) == "starting"
        process.send_signal(signal.SIGTERM)
        code, out, _ = await ended(process)
    assert code == 0
    assert "stopped" in out


async def test_a_second_signal_ends_it_at_once() -> None:
    async with asyncio.timeout(SECONDS_MAX):
        process = await launched("stops-slowly")
        assert await heard(process) == "started"
        process.send_signal(signal.SIGTERM)
        while await heard(process) != "stopping":
            pass
        process.send_signal(signal.SIGINT)
        code, _, words = await ended(process)
    assert code == 128 + signal.SIGINT
    assert words == ["holdfast: second SIGINT: ending at once"]


@pytest.mark.parametrize(
    ("behaviour", "code", "said"),
    [
        ("refuses", 3, "holdfast: start refused: HOLDFAST_CAPACITY_DATABASE_DSN: the role is a superuser"),
        ("fails", 1, "holdfast: start failed: DEPENDENCY_UNAVAILABLE: no answer (dependency=database)"),
        ("breaks", 1, "holdfast: failed: RuntimeError"),
    ],
)
async def test_a_start_that_does_not_succeed_says_why_in_one_line(behaviour: str, code: int, said: str) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        process = await launched(behaviour)
        exit_code, out, words = await ended(process)
    assert (exit_code, words) == (code, [said])
    assert out[-1] == "stopped"
