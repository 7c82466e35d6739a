"""Runs a service as a process: event loop, signals, exit codes."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, Final, Protocol

import structlog
import uvloop

from holdfast.common.errors import DomainError, StartRefused

if TYPE_CHECKING:
    from collections.abc import Callable

STOP_SECONDS_MAX: Final = 60.0
GC_THRESHOLDS: Final = (20_000, 20, 20)
EXIT_REFUSED: Final = 3
EXIT_FAILED: Final = 1

logger = structlog.get_logger(__name__)


class App(Protocol):
    """A service's composition root."""

    @property
    def ready(self) -> bool:
        """Whether the service takes work."""
        ...

    async def start(self) -> None:
        """Open everything, in order; StartRefused says why it must not run."""
        ...

    async def stop(self) -> None:
        """Drain and close everything that `start` opened, in reverse; also after a start that failed half-way."""
        ...


def run(app: App | Callable[[], App]) -> None:
    """Run an app until SIGTERM or SIGINT, then stop it; a second signal ends the process at once.

    Takes the app, or what makes it inside the loop. Returns after an orderly stop. Otherwise one line on stderr says
    why, and SystemExit carries the code: 3 when the start was refused, 1 for anything else.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_main(app))
        except StartRefused as refused:
            _last_words(f"start refused: {refused}")
            raise SystemExit(EXIT_REFUSED) from None
        except DomainError as error:
            details = ", ".join(f"{key}={value}" for key, value in error.metadata.items())
            _last_words(f"start failed: {error.reason}: {error.message}{f' ({details})' if details else ''}")
            raise SystemExit(EXIT_FAILED) from None
        except TimeoutError:
            _last_words(f"did not stop within {STOP_SECONDS_MAX:.0f} s")
            raise SystemExit(EXIT_FAILED) from None
        except Exception as error:
            logger.exception("service failed")
            _last_words(f"failed: {type(error).__name__}")
            raise SystemExit(EXIT_FAILED) from None


async def _main(app: App | Callable[[], App]) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    root: App = app() if callable(app) else app

    def on_signal(number: signal.Signals) -> None:
        if stopping.is_set():
            _last_words(f"second {number.name}: ending at once")
            os._exit(128 + number)
        logger.info("stopping", signal=number.name)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    try:
        if await _started(root, stopping):
            _leave_alone_what_stays()
            await stopping.wait()
    finally:
        async with asyncio.timeout(STOP_SECONDS_MAX):
            await root.stop()
    logger.info("stopped")


def _leave_alone_what_stays() -> None:
    """Keep the garbage collector from going through what the start made, and from looking at every batch.

    Requests make no cycles to speak of: what they leave is freed by reference counts.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def _started(app: App, stopping: asyncio.Event) -> bool:
    """Start the app; give up if a signal comes meanwhile."""
    start = asyncio.ensure_future(app.start())
    signalled = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({start, signalled}, return_when=asyncio.FIRST_COMPLETED)
        if start.done():
            start.result()
            return True
        return False
    finally:
        for task in (start, signalled):
            task.cancel()
        await asyncio.gather(start, signalled, return_exceptions=True)


def _last_words(line: str) -> None:
    sys.stderr.write(f"holdfast: {line}\n")
    sys.stderr.flush()
