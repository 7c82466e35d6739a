"""The token issuer's public keys: a JWKS from a file or a URL, read again when it changed or a key is missing.

Reading again is limited, so that tokens with invented key ids cost nothing: a file is looked at once in
`REREAD_SECONDS_MIN`, a URL is fetched at most that often and at least every `REFRESH_SECONDS`. Whatever goes wrong
with a later reading, the keys of the last good one stay.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey

from holdfast.common.errors import StartRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from joserfc.jwk import Key

REREAD_SECONDS_MIN: Final = 2.0
REFRESH_SECONDS: Final = 300.0
FETCH_SECONDS_MAX: Final = 3.0
JWKS_BYTES_MAX: Final = 256 * 1024
KEYS_MAX: Final = 100
RSA_BITS_MIN: Final = 2048
_CHUNK: Final = 16 * 1024

logger = structlog.get_logger(__name__)


class KeySource:
    """The keys that tokens may be signed with, by key id and algorithm."""

    def __init__(self, location: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._url = location if urlsplit(location).scheme in {"http", "https"} else None
        self._path = Path(location)
        self._monotonic = monotonic
        self._keys: Mapping[tuple[str | None, str], Key] = {}
        self._looked: float | None = None
        self._version: tuple[int, int] | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether there are keys; without any, no token can be judged."""
        return bool(self._keys)

    async def start(self) -> None:
        """Read the keys. A file that cannot be used is StartRefused; a URL may be tried again later."""
        if self._url is None:
            try:
                self._read_file()
            except (OSError, ValueError, RecursionError) as error:
                raise StartRefused(f"the JWKS file cannot be used: {_cause(error)}") from None
        else:
            await self._refresh()

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        """Give the key of a token's header, after a limited look for a newer set if it is not known."""
        if self._stale():
            await self._look()
        key = self._keys.get((kid, algorithm))
        if key is None and self._may_look():
            await self._look()
            key = self._keys.get((kid, algorithm))
        return key

    def _stale(self) -> bool:
        seconds = REREAD_SECONDS_MIN if self._url is None else REFRESH_SECONDS
        return self._looked is None or self._monotonic() - self._looked >= seconds

    def _may_look(self) -> bool:
        return self._looked is None or self._monotonic() - self._looked >= REREAD_SECONDS_MIN

    async def _look(self) -> None:
        """Read once for all who wait; nobody waits for somebody else's cancelled reading."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._refresh())
        await asyncio.shield(self._reading)

    async def _refresh(self) -> None:
        try:
            if self._url is None:
                self._read_file()
                return
            self._looked = self._monotonic()
            body = await asyncio.to_thread(_fetch, self._url)
            self._keys = parse_jwks(body)
        except (OSError, ValueError, HTTPException, RecursionError) as error:
            logger.warning("token keys not read", cause=_cause(error), kept=len(self._keys))

    def _read_file(self) -> None:
        self._looked = self._monotonic()
        status = self._path.stat()
        version = (status.st_mtime_ns, status.st_size)
        if version == self._version:
            return
        if status.st_size > JWKS_BYTES_MAX:
            raise ValueError(f"it is larger than {JWKS_BYTES_MAX} bytes")
        self._keys = parse_jwks(self._path.read_bytes())
        self._version = version


def parse_jwks(body: bytes) -> Mapping[tuple[str | None, str], Key]:
    """Read a JWKS: verifying keys by key id and algorithm. Keys of other kinds and uses are passed over.

    When there is one key for an algorithm, tokens without a key id find it too. ValueError when there is none at all.
    """
    document = json.loads(body)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > KEYS_MAX:
        raise ValueError(f"it is not a JWKS of at most {KEYS_MAX} keys")
    keys: dict[tuple[str | None, str], Key] = {}
    by_algorithm: dict[str, list[Key]] = {}
    for entry in entries:
        for algorithm, key in _verifying(entry):
            kid = entry.get("kid")
            if isinstance(kid, str):
                keys[kid, algorithm] = key
            by_algorithm.setdefault(algorithm, []).append(key)
    for algorithm, candidates in by_algorithm.items():
        if len(candidates) == 1:
            keys[None, algorithm] = candidates[0]
    if not keys:
        raise ValueError("it holds no key for ES256, RS256 or EdDSA")
    return keys


def _verifying(entry: Any) -> list[tuple[str, Key]]:
    if not isinstance(entry, dict) or entry.get("kty") == "oct" or entry.get("use", "sig") != "sig":
        return []  # a symmetric key would let whoever verifies mint
    try:
        key = JWKRegistry.import_key(entry)
    except (JoseError, ValueError, TypeError, KeyError):
        return []
    if isinstance(key, ECKey):
        algorithms = ["ES256"] if key.curve_name == "P-256" else []
    elif isinstance(key, RSAKey):
        algorithms = ["RS256"] if key.public_key.key_size >= RSA_BITS_MIN else []
    elif isinstance(key, OKPKey):
        algorithms = ["EdDSA", "Ed25519"] if key.curve_name == "Ed25519" else []
    else:
        algorithms = []
    only = entry.get("alg")
    return [(algorithm, key) for algorithm in algorithms if only in {None, algorithm} or _same(only, algorithm)]


def _same(declared: Any, algorithm: str) -> bool:
    """Ed25519 is EdDSA by its newer name."""
    return {declared, algorithm} == {"EdDSA", "Ed25519"}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could lead anywhere; the configured address is the only one trusted."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""
        return


def _fetch(url: str) -> bytes:
    """Get a URL within `FETCH_SECONDS_MAX`, at most `JWKS_BYTES_MAX` bytes, following nothing. Runs in a thread."""
    opener = urllib.request.build_opener(_NoRedirect())
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - http(s), see KeySource
    deadline = time.monotonic() + FETCH_SECONDS_MAX
    body = bytearray()
    with opener.open(request, timeout=FETCH_SECONDS_MAX) as response:
        while chunk := response.read1(_CHUNK):
            body += chunk
            if len(body) > JWKS_BYTES_MAX:
                raise ValueError(f"it is larger than {JWKS_BYTES_MAX} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError("it came too slowly")
    return bytes(body)


def _cause(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it is not JSON" if isinstance(error, json.JSONDecodeError) else str(error)
