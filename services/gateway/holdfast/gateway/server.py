"""The HTTP server: uvicorn with httptools, started and stopped from here. Signals are the service runner's."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

import uvicorn

from holdfast.common.errors import StartRefused
from holdfast.common.settings import host_port
from holdfast.gateway.protocol import connection_class

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from holdfast.gateway.exchange import Exchange


class HttpServer:
    """Serves the API on `listen` (host:port; port 0 lets the system choose, see `port`).

    The paths beside it go to an ASGI application.
    """

    def __init__(  # noqa: PLR0913 - the composition root names each of them
        self,
        serve: Callable[[Exchange], Coroutine[Any, Any, None]],
        *,
        beside: Any,
        paths_beside: frozenset[bytes],
        listen: str,
        read_seconds_max: float,
        idle_seconds_max: int,
        connections_max: int,
        drain_seconds: float,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        self.port = 0
        self._host, self._listen_port = host_port(listen)
        protocol = connection_class(
            serve, asgi_paths=paths_beside, read_seconds_max=read_seconds_max, connections_max=connections_max
        )
        self._config = uvicorn.Config(
            beside,
            http=protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=idle_seconds_max,
            timeout_graceful_shutdown=max(1, round(drain_seconds)),
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        self._server: uvicorn.Server | None = None
        self._listener: socket.socket | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen and serve. StartRefused when the address or the certificate cannot be had."""
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        listener = self._listen()
        self.port = listener.getsockname()[1]
        try:
            self._config.load()
        except OSError as error:  # ssl.SSLError is one
            listener.close()
            raise StartRefused(
                f"the TLS certificate cannot be used: {error.strerror or type(error).__name__}"
            ) from None
        server = uvicorn.Server(self._config)
        server.lifespan = self._config.lifespan_class(self._config)
        await server.startup(sockets=[listener])
        self._listener = listener
        self._server = server
        self._serving = asyncio.create_task(server.main_loop(), name="http")

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self._host, self._listen_port))
        except OSError as error:
            listener.close()
            raise StartRefused(f"cannot listen on {self._host}:{self._listen_port}: {error.strerror}") from None
        listener.setblocking(False)
        return listener

    async def stop(self) -> None:
        """Stop listening, let requests in flight end within the drain time, close. Safe to call twice."""
        server, serving, listener = self._server, self._serving, self._listener
        if server is None or serving is None or listener is None:
            return
        self._server = self._serving = self._listener = None
        server.should_exit = True
        await serving
        await server.shutdown(sockets=[listener])
