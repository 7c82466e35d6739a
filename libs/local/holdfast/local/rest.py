"""A small HTTP client for the mesh on this machine: health of processes, calls of the public API."""

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

HEALTH_SECONDS = 3.0
CALL_SECONDS = 15.0
ANSWER_BYTES_MAX = 4 * 1024 * 1024
OK = 200
FIRST_ERROR = 400
UNAVAILABLE = 503
PATIENCE_SECONDS = 20.0
PAUSE_SECONDS_MIN = 0.1
PAUSE_SECONDS_MAX = 2.0


class CallFailedError(Exception):
    """The API refused a call or could not be reached. `status` 0 when there was no answer; `code` is the reason.

    `retry_after_seconds` is what the answer said, None when it said nothing.
    """

    def __init__(
        self, message: str, *, status: int = 0, code: str = "", retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_seconds = retry_after_seconds


def answers_ok(url: str) -> bool:
    """Tell whether a GET is answered with 200 within HEALTH_SECONDS, and not by a gateway that misses services."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=HEALTH_SECONDS)
    try:
        connection.request("GET", parts.path)
        response = connection.getresponse()
        return response.status == OK and b'"degraded"' not in response.read(ANSWER_BYTES_MAX)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class Api:
    """The gateway, as one caller sees it.

    What is answered with 503 and the advice to try again is tried again, for PATIENCE_SECONDS at most: a service that
    just came up may be away for another moment. Every call may be repeated, by its method or by its key.
    """

    base_url: str
    token: str

    def get(self, path: str) -> dict[str, Any]:
        """GET a resource. Raises CallFailedError."""
        return self._patiently("GET", path, None, {})

    def post(self, path: str, body: Mapping[str, Any], *, request_id: str) -> dict[str, Any]:
        """POST with an idempotency key. Raises CallFailedError."""
        return self._patiently("POST", path, json.dumps(body).encode(), {"Idempotency-Key": request_id})

    def _patiently(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self._call(method, path, body, headers)
            except CallFailedError as error:
                advice = error.retry_after_seconds
                if error.status != UNAVAILABLE or advice is None or time.monotonic() + advice > deadline:
                    raise
                time.sleep(min(max(advice, PAUSE_SECONDS_MIN), PAUSE_SECONDS_MAX))

    def _call(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> dict[str, Any]:
        parts = urlsplit(self.base_url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=CALL_SECONDS)
        every = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, body, every | dict(headers))
            response = connection.getresponse()
            text = response.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise CallFailedError(f"{method} {path}: no answer: {error}") from error
        finally:
            connection.close()
        try:
            answer = json.loads(text) if text else {}
        except ValueError as error:
            raise CallFailedError(f"{method} {path}: not JSON", status=response.status) from error
        if response.status >= FIRST_ERROR:
            told = f"{answer.get('code', '')}: {answer.get('detail', '')} {answer.get('errors', '')}"
            advice = response.getheader("Retry-After", "")
            raise CallFailedError(
                f"{method} {path}: {response.status} {told}",
                status=response.status,
                code=str(answer.get("code", "")),
                retry_after_seconds=float(advice) if advice.isdigit() else None,
            )
        return dict(answer)
