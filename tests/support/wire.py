"""As much of PostgreSQL's wire protocol (version 3) as it takes to see transactions pass by, in either direction."""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

HEAD_BYTES = 5
LENGTH_BYTES = 4
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
STATEMENTS_MAX = 1_000
"""Statements of one transaction that are remembered."""

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104
ENCRYPTION_REQUESTS = frozenset({SSL_REQUEST, GSS_REQUEST})

BEGINNINGS = ("BEGIN", "START TRANSACTION")
COMMITS = ("COMMIT", "END")
ROLLBACKS = ("ROLLBACK", "ABORT")


@dataclass(frozen=True)
class Message:
    """One message. `kind` is its first byte, empty before the connection is set up; `raw` is all of it."""

    kind: bytes
    body: bytes
    raw: bytes


async def read_startup(reader: asyncio.StreamReader) -> Message:
    """Read what a client sends before anything else; asyncio.IncompleteReadError at the end of the stream."""
    head = await reader.readexactly(LENGTH_BYTES)
    body = await reader.readexactly(_length(head) - LENGTH_BYTES)
    return Message(b"", body, head + body)


async def read_message(reader: asyncio.StreamReader) -> Message:
    """Read one message; asyncio.IncompleteReadError at the end of the stream."""
    head = await reader.readexactly(HEAD_BYTES)
    body = await reader.readexactly(_length(head[1:]) - LENGTH_BYTES)
    return Message(head[:1], body, head + body)


def _length(four: bytes) -> int:
    length: int = struct.unpack("!I", four)[0]
    if not LENGTH_BYTES <= length <= MESSAGE_BYTES_MAX:
        raise ValueError(f"a message of {length} bytes")
    return length


def startup_code(message: Message) -> int:
    """Return the version asked for, or the code of a request that comes before it."""
    code: int = struct.unpack("!I", message.body[:4])[0]
    return code


def statements_of(query: str) -> list[str]:
    """Split a simple query at its semicolons. Strings are not looked at: nobody names a customer `; COMMIT`."""
    return [part.strip() for part in query.split(";") if part.strip()]


def begins_with(statement: str, words: tuple[str, ...]) -> bool:
    """Tell whether a statement begins with one of some words, whatever its case."""
    head = statement.lstrip().upper()
    return any(head == word or head.startswith((f"{word} ", f"{word}\n")) for word in words)


def is_commit(statement: str) -> bool:
    """Tell whether a statement commits a transaction."""
    return begins_with(statement, COMMITS)


@dataclass
class Conversation:
    """What a connection has said so far: its prepared statements, its transaction, and what the server owes it."""

    _prepared: dict[bytes, str] = field(default_factory=dict)
    _portals: dict[bytes, str] = field(default_factory=dict)
    _statements: list[str] = field(default_factory=list)
    _owed: deque[list[str] | None] = field(default_factory=deque)
    """The statements of each transaction whose COMMIT is under way; None for the end of a round trip."""

    def said(self, message: Message) -> list[str] | None:
        """Take a client's message down; return the statements of the transaction that it commits; None: it does not."""
        committed: list[str] | None = None
        for statement in self._executed(message):
            if is_commit(statement):
                committed, self._statements = self._statements, []
                self._owed.append(committed)
            elif begins_with(statement, (*BEGINNINGS, *ROLLBACKS)):
                self._statements = [statement]
            elif len(self._statements) < STATEMENTS_MAX:
                self._statements.append(statement)
        if message.kind in (b"Q", b"S"):
            self._owed.append(None)
        return committed

    def _executed(self, message: Message) -> list[str]:
        match message.kind:
            case b"Q":
                return statements_of(_text(message.body))
            case b"P":
                name, _, rest = message.body.partition(b"\0")
                self._prepared[name] = _text(rest)
            case b"B":
                portal, statement = message.body.split(b"\0", 2)[:2]
                self._portals[portal] = self._prepared.get(statement, "")
            case b"E":
                return [self._portals.get(message.body.partition(b"\0")[0], "")]
            case b"C":
                kept = self._prepared if message.body[:1] == b"S" else self._portals
                kept.pop(message.body[1:].partition(b"\0")[0], None)
        return []

    def left_open(self, message: Message) -> list[str] | None:
        """Return the statements so far of the transaction in which, a server's message says, it waits for the next."""
        return self._statements if message.kind == b"Z" and message.body == b"T" else None

    def answered(self, message: Message) -> list[str] | None:
        """Take a server's message down; return the statements of the transaction that it tells to be committed."""
        if message.kind == b"C" and _text(message.body) == "COMMIT":
            return self._owed.popleft() if self._owed else None
        if message.kind == b"Z":
            while self._owed and self._owed.popleft() is not None:
                continue  # a COMMIT that was skipped, or found its transaction failed
        return None


def _text(body: bytes) -> str:
    return body.partition(b"\0")[0].decode(errors="replace")
