"""A proxy before PostgreSQL that knows transactions when it sees them, and can cut, freeze or hold them at a COMMIT.

It runs in a thread of its own, so that it works for code of any loop, for blocking tests and for other processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit, urlunsplit

from tests.support.wire import (
    ENCRYPTION_REQUESTS,
    Conversation,
    Message,
    read_message,
    read_startup,
    startup_code,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine

START_SECONDS = 10
WAIT_SECONDS = 20
SIZE_MAX = 64 * 1024
GONE = (asyncio.IncompleteReadError, ConnectionError, OSError)


class Moment(Enum):
    """When, seen from the server, a trap springs."""

    IN_TRANSACTION = "statements of a transaction are done, their ReadyForQuery has not reached the client"
    BEFORE_COMMIT = "the COMMIT has not reached the server"
    BEFORE_REPLY = "the COMMIT is done, and its CommandComplete has not reached the client"
    BEFORE_READY = "the CommandComplete has reached the client, the ReadyForQuery has not"


class Action(Enum):
    """What happens to the connection then."""

    CUT = "both its ends are closed"
    FREEZE = "whatever either end sends is swallowed, and neither is told"
    HOLD = "what comes next in this direction waits until the trap is released; the other direction flows"


@dataclass
class Trap:
    """What is to happen at a moment of a transaction. Made by `PostgresProxy.arm`."""

    moment: Moment
    action: Action
    touching: str
    backend_pid: int
    skip: int
    times: int
    sprung: int = 0
    """How often it sprang."""
    _loop: asyncio.AbstractEventLoop | None = None
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def fits(self, statements: list[str], backend_pid: int) -> bool:
        """Tell whether it springs in the transaction of these statements; counts."""
        if self.times <= 0 or self.backend_pid not in (0, backend_pid):
            return False
        if self.touching and not any(self.touching in statement for statement in statements):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True

    def spring(self) -> None:
        """Say that it happened."""
        with self._changed:
            self.sprung += 1
            self._changed.notify_all()

    def wait(self, *, times: int = 1, seconds: float = WAIT_SECONDS) -> None:
        """Wait until it sprang so often; TimeoutError. Blocks."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.sprung >= times, seconds):
                raise TimeoutError(f"{self.moment}: {self.sprung} of {times} times in {seconds} s")

    async def reached(self, *, times: int = 1, seconds: float = WAIT_SECONDS) -> None:
        """Wait until it sprang so often; TimeoutError."""
        await asyncio.to_thread(self.wait, times=times, seconds=seconds)

    def release(self) -> None:
        """Let go what it holds, and let it spring no more."""
        self.times = 0
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._released.set)

    async def held(self) -> None:
        """Wait for the release."""
        await self._released.wait()


class PostgresProxy:
    """Stands before the server of a DSN, a URL. Use it as a context; `dsn` is how to connect through it."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        parts = urlsplit(dsn)
        self.host, self.port = parts.hostname or "", parts.port or 5432
        self.delay_seconds = 0.0
        """The pause before each message, in either direction."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="postgres-proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._traps: list[Trap] = []
        self._frozen = False

    @property
    def address(self) -> tuple[str, int]:
        """Host and port where it listens."""
        if self._server is None:
            raise RuntimeError("the proxy does not run")
        host, port = self._server.sockets[0].getsockname()[:2]
        return str(host), int(port)

    def dsn(self, of: str | None = None) -> str:
        """Return the DSN, or another one of the same server, with the proxy's address in it."""
        parts = urlsplit(of or self._dsn)
        host, port = self.address
        user, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}{at}{host}:{port}"))

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_SECONDS)
        self._loop.close()

    def arm(  # noqa: PLR0913 (when, and what then)
        self,
        moment: Moment,
        action: Action = Action.CUT,
        *,
        touching: str = "",
        backend_pid: int = 0,
        skip: int = 0,
        times: int = 1,
    ) -> Trap:
        """Set a trap for `times` such moments after `skip` others.

        Only those count whose transaction has had a statement with the text `touching`, and, if a `backend_pid` is
        given, that come by this connection.
        """
        trap = Trap(moment, action, touching, backend_pid, skip, times, _loop=self._loop)
        self._traps.append(trap)
        return trap

    def disarm(self) -> None:
        """Take all traps away and let go what they hold."""
        traps, self._traps = self._traps, []
        for trap in traps:
            trap.release()

    def freeze(self) -> None:
        """Swallow everything, of new connections too, and tell nobody: a half-open network."""
        self._do(self._freeze(frozen=True))

    def thaw(self) -> None:
        """Forward new connections again; those of before are cut, because they have missed too much."""
        self._do(self._freeze(frozen=False))

    def cut(self) -> None:
        """Cut every connection there is."""
        self._do(self._cut())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(START_SECONDS)

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._cut()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _freeze(self, *, frozen: bool) -> None:
        self._frozen = frozen
        if not frozen:
            await self._cut(frozen_only=True)
        for link in self._links:
            link.frozen = frozen

    async def _cut(self, *, frozen_only: bool = False) -> None:
        for link in list(self._links):
            if link.frozen or not frozen_only:
                link.cut()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self, reader, writer)
        link.frozen = self._frozen
        self._links.add(link)
        try:
            await link.run()
        finally:
            link.cut()
            self._links.discard(link)

    def trap_for(self, moment: Moment, statements: list[str] | None, backend_pid: int) -> Trap | None:
        """Return the trap that springs now, if one does."""
        if statements is None:
            return None
        return next((t for t in self._traps if t.moment is moment and t.fits(statements, backend_pid)), None)


class _Link:
    """A client's connection, and the server's behind it."""

    def __init__(self, proxy: PostgresProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.frozen = False
        self._proxy = proxy
        self._client = (reader, writer)
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._conversation = Conversation()
        self._backend_pid = 0
        self._ended = asyncio.Event()
        self._before_ready: Trap | None = None

    def cut(self) -> None:
        """Close both ends at once."""
        self._ended.set()
        for _, writer in filter(None, (self._client, self._server)):
            writer.transport.abort()

    async def run(self) -> None:
        """Forward until either end closes or the link is cut; a frozen one stays, whatever its ends do."""
        forwarding = asyncio.create_task(self._forward())
        ended = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait((forwarding, ended), return_when=asyncio.FIRST_COMPLETED)
            if self.frozen:
                await ended
        finally:
            for task in (forwarding, ended):
                task.cancel()
            await asyncio.gather(forwarding, ended, return_exceptions=True)

    async def _forward(self) -> None:
        with contextlib.suppress(*GONE):
            start = await self._startup()
            reader, writer = self._server = await asyncio.open_connection(self._proxy.host, self._proxy.port)
            writer.write(start.raw)
            pumps = [asyncio.create_task(self._to_server(writer)), asyncio.create_task(self._to_client(reader))]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)

    async def _startup(self) -> Message:
        """Read the start; encryption is declined, so that what follows can be read."""
        reader, writer = self._client
        while True:
            message = await read_startup(reader)
            if startup_code(message) not in ENCRYPTION_REQUESTS:
                return message
            if not self.frozen:
                writer.write(b"N")

    async def _to_server(self, server: asyncio.StreamWriter) -> None:
        reader = self._client[0]
        while True:
            message = await read_message(reader)
            committed = self._conversation.said(message)
            await self._pass(message, server, self._proxy.trap_for(Moment.BEFORE_COMMIT, committed, self._backend_pid))

    async def _to_client(self, server: asyncio.StreamReader) -> None:
        writer = self._client[1]
        while True:
            message = await read_message(server)
            if message.kind == b"K":
                self._backend_pid = int.from_bytes(message.body[:4], "big")
            committed = self._conversation.answered(message)
            trap = self._proxy.trap_for(Moment.BEFORE_REPLY, committed, self._backend_pid) or self._proxy.trap_for(
                Moment.IN_TRANSACTION, self._conversation.left_open(message), self._backend_pid
            )
            if message.kind == b"Z" and self._before_ready is not None:
                trap, self._before_ready = self._before_ready, None
            self._before_ready = (
                self._proxy.trap_for(Moment.BEFORE_READY, committed, self._backend_pid) or self._before_ready
            )
            await self._pass(message, writer, trap)

    async def _pass(self, message: Message, writer: asyncio.StreamWriter, trap: Trap | None) -> None:
        """Pass a message on, unless the link is frozen or the trap before it says otherwise."""
        if trap is not None:
            if trap.action is Action.CUT:
                self.cut()
            elif trap.action is Action.FREEZE:
                self.frozen = True
            trap.spring()
            if trap.action is Action.HOLD:
                await trap.held()
        if self._proxy.delay_seconds > 0:
            await asyncio.sleep(self._proxy.delay_seconds)
        if not self.frozen and not self._ended.is_set():
            writer.write(message.raw)
            await writer.drain()
