"""Being a server that a benchmark starts: the port is written to a file as soon as there is one."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping


def serve(start: Callable[[Mapping[str, Any]], Awaitable[int]]) -> None:
    """Read the job that the first argument names, start, write the port to the second; end with SIGTERM."""
    job_file, port_file = Path(sys.argv[1]), Path(sys.argv[2])
    job = json.loads(job_file.read_text())

    async def serving() -> None:
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        port = await start(job)
        fresh = port_file.with_suffix(".fresh")
        fresh.write_text(str(port))
        fresh.replace(port_file)
        await told.wait()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving())
