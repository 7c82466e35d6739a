"""The token issuer's keys over HTTP: fetched rarely, bounded, followed nowhere."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from joserfc.jwk import ECKey

from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from holdfast.gateway import keys
from holdfast.gateway.auth import Authenticator
from holdfast.gateway.keys import KeySource
from tests.support.tokens import AUDIENCE, ISSUER, Issuer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class KeyServer:
    """An issuer's web server that can misbehave."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.fetched = 0
        self.behaviour = "good"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.fetched += 1
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if self.behaviour == "garbage":
            handler.wfile.write(b"220 mail.example ESMTP\r\n\r\n")
            return
        handler.send_response({"redirect": 302, "error": 500}.get(self.behaviour, 200))
        if self.behaviour == "redirect":
            handler.send_header("Location", self.url + "/elsewhere")
        handler.end_headers()
        if self.behaviour == "huge":
            handler.wfile.write(b" " * (keys.JWKS_BYTES_MAX + 10))
        if self.behaviour == "slow":
            handler.wfile.write(b"{")
            handler.wfile.flush()
            time.sleep(1)
        if self.behaviour in {"good", "huge"} or (self.behaviour == "redirect" and handler.path.endswith("elsewhere")):
            handler.wfile.write(self.issuer.jwks.read_bytes())


@contextmanager
def serving(server: KeyServer) -> Iterator[None]:
    thread = threading.Thread(target=server.server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.server.shutdown()
        thread.join()
        server.server.server_close()


@pytest.fixture
def key_server(tmp_path: Path) -> Iterator[KeyServer]:
    server = KeyServer(Issuer(tmp_path / "jwks.json"))
    with serving(server):
        yield server


async def test_keys_come_from_a_url_and_unknown_ones_fetch_once_in_a_while(key_server: KeyServer) -> None:
    now = [1000.0]
    source = KeySource(key_server.url, monotonic=lambda: now[0])
    await source.start()
    judge = Authenticator(keys=source, issuer=ISSUER, audience=AUDIENCE)
    token = key_server.issuer.token("buyer", organization_id=new_id())
    assert (await judge.authenticate(b"Bearer " + token.encode())).subject == "buyer-1"
    assert key_server.fetched == 1
    stranger = ECKey.generate_key("P-256", {"kid": "new"})
    fresh = key_server.issuer.token(
        "buyer", organization_id=new_id(), key=stranger, header={"alg": "ES256", "kid": "new"}
    )
    for _ in range(20):
        with pytest.raises(DomainError):
            await judge.authenticate(b"Bearer " + fresh.encode())
    assert key_server.fetched == 1, "not for every unknown key"
    key_server.issuer.publish(key_server.issuer.key, stranger)
    now[0] += 3
    assert (await judge.authenticate(b"Bearer " + fresh.encode())).subject == "buyer-1"
    assert key_server.fetched == 2


@pytest.mark.parametrize("behaviour", ["redirect", "error", "huge", "slow", "garbage"])
async def test_an_answer_that_cannot_be_used_leaves_no_keys_and_is_503(
    key_server: KeyServer, monkeypatch: pytest.MonkeyPatch, behaviour: str
) -> None:
    monkeypatch.setattr(keys, "FETCH_SECONDS_MAX", 0.3)
    key_server.behaviour = behaviour
    now = [1000.0]
    source = KeySource(key_server.url, monotonic=lambda: now[0])
    await source.start()
    assert not source.ready
    judge = Authenticator(keys=source, issuer=ISSUER, audience=AUDIENCE)
    header = b"Bearer " + key_server.issuer.token("buyer", organization_id=new_id()).encode()
    with pytest.raises(DomainError) as caught:
        await judge.authenticate(header)
    assert caught.value.reason is Reason.DEPENDENCY_UNAVAILABLE
    assert caught.value.metadata == {"dependency": "token-issuer"}
    key_server.behaviour = "good"
    now[0] += 3
    assert (await judge.authenticate(header)).subject == "buyer-1", "it recovers by itself"


async def test_an_issuer_that_is_gone_keeps_its_known_keys(key_server: KeyServer) -> None:
    now = [1000.0]
    source = KeySource(key_server.url, monotonic=lambda: now[0])
    await source.start()
    key_server.behaviour = "error"
    now[0] += 3600
    assert await source.find("test-1", "ES256") is not None
    assert json.loads(key_server.issuer.jwks.read_text())["keys"]
