"""NATS for tests: one server a session; a module that kills it or wipes its storage takes one of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from holdfast.local.nats import EmbeddedNats

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedNats]:
    """A running server that all modules share; use organizations of your own in it."""
    server = EmbeddedNats(tmp_path_factory.mktemp("nats"))
    server.start()
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module")
def own_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedNats]:
    """A running server of this module alone, to be killed, frozen and wiped."""
    server = EmbeddedNats(tmp_path_factory.mktemp("own-nats"))
    server.start()
    try:
        yield server
    finally:
        server.remove()
