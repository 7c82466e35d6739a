"""An HTTP answer before it is sent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Answer:
    """Status, headers (lower-case names) and the whole body; answers of the gateway are never streamed here."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
