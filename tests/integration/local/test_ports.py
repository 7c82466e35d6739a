"""Two meshes that start at the same time never choose the same port, and no connection takes one that is kept."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import closing

import pytest

from holdfast.local.ports import Reservations, choose


def test_a_port_shared_with_its_process_is_still_kept_from_another_mesh() -> None:
    mine, theirs = Reservations(), Reservations()
    port = choose()
    assert mine.keep(port)
    mine.share(port)
    assert not theirs.keep(port)
    mine.let_go_all()
    assert theirs.keep(port)
    theirs.let_go_all()


def test_a_shared_port_is_its_servers_and_no_outgoing_connections() -> None:
    mine = Reservations()
    port = choose()
    assert mine.keep(port)
    mine.share(port)
    with closing(socket.socket()) as outgoing, pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
        outgoing.bind(("127.0.0.1", port))  # as a connection does, without SO_REUSEADDR
    for _ in range(2):  # and once more after a restart
        address = ("127.0.0.1", port)
        with socket.create_server(address) as server, socket.create_connection(address) as client:
            accepted, _ = server.accept()
            accepted.close()
            assert client.recv(1) == b""
    mine.let_go_all()
