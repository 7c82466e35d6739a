"""As much HTTP/1.1 as a load needs: messages with a Content-Length, on connections that stay open."""

from __future__ import annotations

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length:"


class NotUnderstoodError(Exception):
    """The message is not one that is understood here: its body has no length."""


def split(data: bytes) -> tuple[bytes, bytes] | None:
    """Give head and body of a message; None while it is not complete. What follows the body must be empty.

    Raises NotUnderstoodError.
    """
    end = data.find(HEAD_END)
    if end < 0:
        return None
    head = data[:end].lower()
    at = head.find(LENGTH)
    body_start = end + len(HEAD_END)
    if at < 0:
        if head.startswith((b"get ", b"http/1.1 204")):
            return head, b""
        raise NotUnderstoodError("no content-length")
    stop = head.find(b"\r\n", at)
    missing = int(head[at + len(LENGTH) : stop if stop >= 0 else end]) - (len(data) - body_start)
    if missing > 0:
        return None
    if missing < 0:
        raise NotUnderstoodError("more than one message")
    return head, data[body_start:]
