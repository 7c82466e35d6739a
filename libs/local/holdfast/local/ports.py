"""TCP ports of 127.0.0.1: which are free, and who has one that is not."""

import random
import socket
import sys
from collections.abc import Container
from contextlib import closing

import psutil

# Below the range from which systems take the local ports of outgoing connections (32768 on Linux): a port chosen here
# is still there when a server that was stopped or killed wants it back.
FIRST_CHOICE = 20_000
LAST_CHOICE = 32_000
ATTEMPTS = 200


class PortTakenError(Exception):
    """A port that was asked for explicitly is in use; the message names the port, the holder and the variable."""


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port now."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no hindrance
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def choose(excluding: Container[int] = ()) -> int:
    """Return a free port at random; raises PortTakenError when none is found in ATTEMPTS tries."""
    generator = random.SystemRandom()
    for _ in range(ATTEMPTS):
        port = generator.randint(FIRST_CHOICE, LAST_CHOICE)
        if port not in excluding and is_free(port):
            return port
    raise PortTakenError(f"no free port found between {FIRST_CHOICE} and {LAST_CHOICE}")


def holder(port: int) -> str | None:
    """Tell who listens on the port, `valkey-server (pid 4711)`; None if that cannot be seen."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return None
    for connection in connections:
        listening = connection.status == psutil.CONN_LISTEN
        if listening and connection.laddr and connection.laddr.port == port and connection.pid is not None:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.NoSuchProcess:
                return None
    return None


def taken(*, name: str, port: int, variable: str) -> PortTakenError:
    """Return the error for a port that was asked for and is in use."""
    who = holder(port)
    by = f" by {who}" if who else ""
    return PortTakenError(f"port {port} for {name} is in use{by}; stop that, or choose another port with {variable}")


class Reservations:
    """Ports kept for processes that are about to start, so that a mesh that starts beside this one takes others.

    A bound socket that never listens keeps a port. Right before the process that wants it starts, the port is shared:
    that process may listen there, and still no outgoing connection is given the port before it does, nor while it is
    restarted. Another mesh is kept away by a claim: a name that the kernel gives to one process at a time and takes
    back when it dies.
    """

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._claims: dict[int, socket.socket] = {}

    def keep(self, port: int) -> bool:
        """Keep a port; False if it is not to be had."""
        if port in self._sockets or not is_free(port) or not self._claim(port):
            return False
        keeper = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            keeper.bind(("127.0.0.1", port))  # without SO_REUSEADDR: with it, another one could bind beside us
        except OSError:
            keeper.close()
            return is_free(port)  # only old connections in TIME_WAIT are in the way; they are in no server's
        self._sockets[port] = keeper
        return True

    def _claim(self, port: int) -> bool:
        if port in self._claims or sys.platform != "linux":  # only Linux has names without a file
            return True
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0holdfast-port-{port}")
        except OSError:
            claim.close()
            return False
        self._claims[port] = claim
        return True

    def share(self, port: int) -> None:
        """Let a server that sets SO_REUSEADDR, as all do, listen on a port; nothing happens if it is not kept."""
        keeper = self._sockets.get(port)
        if keeper is not None:
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def let_go_all(self) -> None:
        """Stop keeping anything, claims included."""
        while self._sockets:
            self._sockets.popitem()[1].close()
        while self._claims:
            self._claims.popitem()[1].close()
