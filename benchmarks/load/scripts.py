"""What a connection says, and how every answer is checked."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

CREATED = b"201"
OK = b"200"


class WrongAnswerError(Exception):
    """The answer is not what it must be; the message says in which way, without ids, so that equal ones add up."""


class ExhaustedError(Exception):
    """There is nothing left to ask for."""


class Script(Protocol):
    """One connection's part: an operation is one request or several, one after the other."""

    held: int
    sold: int

    def begin(self) -> bytes:
        """Give an operation's first request. Raises ExhaustedError."""

    def proceed(self, status: bytes, body: bytes) -> bytes | None:
        """Check an answer; give the operation's next request, None when it is complete. Raises WrongAnswerError."""


class Requests:
    """Encodes requests: everything but the key is ready before the first one is sent.

    Each request is another principal's; targets take turns. Keys are unique: `<run>-<number>`.
    """

    def __init__(self, job: Mapping[str, Any]) -> None:
        """`job`: `host`, `run`, `tokens` (a file with a JSON list), `targets` (`path`, `body`), `once`."""
        host = str(job["host"]).encode()
        tokens = json.loads(Path(job["tokens"]).read_text())
        self._run = str(job["run"])
        self._numbers = itertools.count()
        self._heads = itertools.cycle(
            [b" HTTP/1.1\r\nHost: %b\r\nAuthorization: Bearer %b\r\n" % (host, token.encode()) for token in tokens]
        )
        targets = [(target["path"].encode(), target.get("body", "").encode()) for target in job["targets"]]
        self._targets: Iterator[tuple[bytes, bytes]] = iter(targets) if job.get("once") else itertools.cycle(targets)
        self.seen: set[str] = set()

    def post(self) -> tuple[bytes, bytes]:
        """Give the next target's POST, and the principal's head for requests that follow it. Raises ExhaustedError."""
        try:
            path, body = next(self._targets)
        except StopIteration:
            raise ExhaustedError from None
        head = next(self._heads)
        return self.encode(path, head, body), head

    def get(self) -> bytes:
        """Give the next target's GET."""
        path, _ = next(self._targets)
        return b"GET %b%b\r\n" % (path, next(self._heads))

    def encode(self, path: bytes, head: bytes, body: bytes) -> bytes:
        """Encode a POST with a key that nobody used before."""
        return b"POST %b%bContent-Type: application/json\r\nIdempotency-Key: %b-%d\r\nContent-Length: %d\r\n\r\n%b" % (
            path,
            head,
            self._run.encode(),
            next(self._numbers),
            len(body),
            body,
        )


def parse(status: bytes, body: bytes, wanted: bytes) -> Any:
    """Read an answer's JSON. Raises WrongAnswerError for another status, with the problem's code."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise WrongAnswerError(f"{status.decode()} not JSON") from None
    if status != wanted:
        queue = answer.get("metadata", {}).get("queue", "")  # which one was full
        raise WrongAnswerError(" ".join(filter(None, (status.decode(), answer.get("code", ""), queue))))
    return answer


def placed(requests: Requests, answer: Any) -> tuple[str, int]:
    """Check a hold that was placed; give its id and its places."""
    hold = answer["hold"]
    if hold["state"] != "ACTIVE":
        raise WrongAnswerError(f"hold {hold['state']}")
    hold_id = hold["id"]
    if hold_id in requests.seen:
        raise WrongAnswerError("the same hold for two keys")
    requests.seen.add(hold_id)
    return hold_id, sum(line["quantity"] for line in hold["lines"])


class HoldScript:
    """Places holds."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self.held = self.sold = 0

    def begin(self) -> bytes:
        """Give the next hold's request."""
        return self._requests.post()[0]

    def proceed(self, status: bytes, body: bytes) -> bytes | None:
        """Check the hold."""
        _, self.held = placed(self._requests, parse(status, body, CREATED))
        return None


class LifecycleScript:
    """Places a hold and confirms it: one operation."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._head = b""
        self._hold_id = ""
        self._places = 0
        self.held = self.sold = 0

    def begin(self) -> bytes:
        """Give the next hold's request."""
        self._hold_id = ""
        request, self._head = self._requests.post()
        return request

    def proceed(self, status: bytes, body: bytes) -> bytes | None:
        """Check the hold and ask to confirm it; then check the sale."""
        if not self._hold_id:
            self._hold_id, self._places = placed(self._requests, parse(status, body, CREATED))
            return self._requests.encode(b"/api/v1/holds/%b/confirm" % self._hold_id.encode(), self._head, b"{}")
        answer = parse(status, body, OK)
        if answer["hold"]["id"] != self._hold_id or answer["hold"]["state"] != "CONFIRMED":
            raise WrongAnswerError(f"confirmed hold {answer['hold']['state']}")
        if answer["sale"]["state"] != "SOLD":
            raise WrongAnswerError(f"sale {answer['sale']['state']}")
        self.sold = self._places
        return None


class AvailabilityScript:
    """Reads an event's availability; its version must never go back on one connection."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._version = 0
        self.held = self.sold = 0

    def begin(self) -> bytes:
        """Give the next GET."""
        return self._requests.get()

    def proceed(self, status: bytes, body: bytes) -> bytes | None:
        """Check the answer."""
        answer = parse(status, body, OK)["availability"]
        version = int(answer["inventory_version"])
        if version < self._version:
            raise WrongAnswerError("the version went back")
        self._version = version
        if not answer["sections"]:
            raise WrongAnswerError("no sections")
        return None


SCRIPTS: Mapping[str, Callable[[Requests], Script]] = {
    "hold": HoldScript,
    "lifecycle": LifecycleScript,
    "availability": AvailabilityScript,
}
