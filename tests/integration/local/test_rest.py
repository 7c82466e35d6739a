"""The local stack's HTTP client, against a real HTTP server that answers as it is told."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from holdfast.local.rest import Api, CallFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Answer = tuple[int, dict[str, str], dict[str, str]]
AWAY: Answer = (503, {"Retry-After": "0"}, {"code": "DEPENDENCY_UNAVAILABLE", "detail": "capacity does not answer"})
REFUSED: Answer = (503, {}, {"code": "DEPENDENCY_UNAVAILABLE"})
FINE: Answer = (200, {}, {"id": "1"})


@contextmanager
def answering(answers: Sequence[Answer]) -> Iterator[tuple[str, list[str]]]:
    """Serve answers in their order; give the address, and the keys of the requests that came."""
    waiting, keys = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            keys.append(self.headers["Idempotency-Key"])
            self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, document = waiting.pop(0)
            body = json.dumps(document).encode()
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class's name
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", keys
        finally:
            server.shutdown()
            thread.join()


def test_a_call_is_repeated_under_its_key_while_a_service_is_away_for_a_moment() -> None:
    with answering([AWAY, AWAY, FINE]) as (address, keys):
        assert Api(address, "token").post("/things", {}, request_id="k") == {"id": "1"}
    assert keys == ["k", "k", "k"]


def test_what_is_refused_without_the_advice_to_try_again_is_not_repeated() -> None:
    with answering([REFUSED, FINE]) as (address, keys), pytest.raises(CallFailedError) as caught:
        Api(address, "token").post("/things", {}, request_id="k")
    assert (caught.value.status, caught.value.code, keys) == (503, "DEPENDENCY_UNAVAILABLE", ["k"])
