"""Keyset pages: signed tokens that carry where the last page ended, bound to the list they were made for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING, Final, Protocol

import orjson
from pydantic import SecretStr

from holdfast.common.errors import DomainError, Reason, invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

PAGE_SIZE_DEFAULT: Final = 20
PAGE_SIZE_MAX: Final = 200
TOKEN_LENGTH_MAX: Final = 1024
_SIGNATURE_BYTES: Final = 16
_FIELDS_OF_PAGING: Final = ("page_size", "page_token", "with_total")

CursorValue = str | int | bool | None


class Paged(Protocol):
    """A request that has a page size."""

    page_size: int


def page_size(request: Paged) -> int:
    """Give how many rows a page shall have: 20 when the request does not say, at most 200."""
    if request.page_size < 0 or request.page_size > PAGE_SIZE_MAX:
        raise invalid("page_size", f"must be from 1 to {PAGE_SIZE_MAX}")
    return request.page_size or PAGE_SIZE_DEFAULT


def filters_of(request: Message, *, organization_id: str) -> bytes:
    """Give what a page token is bound to: the whole request but its paging fields, and the organization."""
    filters = type(request)()
    filters.CopyFrom(request)
    for name in _FIELDS_OF_PAGING:
        if name in filters.DESCRIPTOR.fields_by_name:
            filters.ClearField(name)
    head = f"{request.DESCRIPTOR.full_name}\0{organization_id}\0".encode()
    return head + filters.SerializeToString(deterministic=True)


class PageTokens:
    """Makes and reads page tokens.

    A token is base64url of a signature and the cursor as JSON; the signature covers the filters too, so a
    token of another list, of other filters or of another organization is refused.
    """

    def __init__(self, key: SecretStr | str) -> None:
        text = key.get_secret_value() if isinstance(key, SecretStr) else key
        self._key = hashlib.sha256(b"holdfast page tokens\0" + text.encode()).digest()

    def encode(self, cursor: Sequence[CursorValue], filters: bytes) -> str:
        """Make the token of the page that begins after `cursor` (times as ISO 8601 text)."""
        payload = orjson.dumps(list(cursor))
        token = base64.urlsafe_b64encode(self._sign(payload, filters) + payload).decode().rstrip("=")
        if len(token) > TOKEN_LENGTH_MAX:
            raise ValueError("a cursor must stay short enough for a page token")
        return token

    def decode(self, token: str, filters: bytes) -> list[CursorValue] | None:
        """Read the cursor of a token; None for the empty token, which is the first page.

        A token that this list did not make raises PAGE_TOKEN_INVALID.
        """
        if not token:
            return None
        if len(token) > TOKEN_LENGTH_MAX:
            raise _refused()
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise _refused() from None
        signature, payload = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(payload, filters)):
            raise _refused()
        cursor: list[CursorValue] = orjson.loads(payload)
        return cursor

    def _sign(self, payload: bytes, filters: bytes) -> bytes:
        content = hashlib.sha256(filters).digest() + payload
        return hmac.digest(self._key, content, "sha256")[:_SIGNATURE_BYTES]


def _refused() -> DomainError:
    return DomainError(Reason.PAGE_TOKEN_INVALID, "this page token was not made for this list")
