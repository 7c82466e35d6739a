"""A gate between a client and a server: what the client sends passes while it is open, and waits while it is shut."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WAIT_SECONDS = 20
CHUNK_BYTES = 65_536


class Gate:
    """Stands before a server at `host`:`port`, open at first. It runs in the loop that starts it."""

    def __init__(self, host: str, port: int) -> None:
        self._behind = (host, port)
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._knocked = asyncio.Event()

    @property
    def address(self) -> str:
        """Host and port where it listens."""
        if self._server is None:
            raise RuntimeError("the gate does not stand")
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def shut(self) -> AsyncIterator[None]:
        """Let nothing that clients send pass for the length of a block."""
        self._knocked.clear()
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    async def knocked(self) -> None:
        """Wait until something waits before the shut gate; TimeoutError."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self._knocked.wait()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is answered in a task")
        self._links.add(task)
        try:
            with contextlib.suppress(OSError):
                await self._join(reader, writer)
        finally:
            self._links.discard(task)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes between both ends until one of them closes."""
        server_reader, server_writer = await asyncio.open_connection(*self._behind)
        pumps = [
            asyncio.create_task(self._pass(reader, server_writer, gated=True)),
            asyncio.create_task(self._pass(server_reader, writer, gated=False)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            server_writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, gated: bool) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if gated and not self._open.is_set():
                self._knocked.set()
                await self._open.wait()
            writer.write(data)
            await writer.drain()
