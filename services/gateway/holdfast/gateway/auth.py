"""Bearer tokens → principals.

JWTs signed with ES256, RS256 or EdDSA by the configured issuer for the configured audience. Symmetric algorithms
and `none` are refused, and so is every header that would let a token bring its own key or rules (`jwk`, `jku`,
`x5u`, `x5c`, `crit`, `b64`). A verified token is remembered by its hash until it expires, at most 60 s.

Claims: `sub`; `organization_id` (or `tenant_id`), which only platform administrators may lack; `roles`, a list.
Roles that the mesh does not know are passed over: issuers serve other systems too, and an unknown role permits
nothing here.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64decode

from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import is_id
from holdfast.common.mesh_identity import SUBJECT_LENGTH_MAX, Principal
from holdfast.common.permissions import ROLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.gateway.keys import KeySource

ALGORITHMS: Final = ("ES256", "RS256", "EdDSA", "Ed25519")
LEEWAY_SECONDS: Final = 60
REMEMBERED_SECONDS_MAX: Final = 60.0
REMEMBERED_TOKENS_MAX: Final = 10_000
TOKEN_BYTES_MAX: Final = 8192
ROLES_CLAIMED_MAX: Final = 100

_FORBIDDEN_HEADERS: Final = frozenset({"crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc"})
_SEGMENTS: Final = 3


class _PinnedAlgorithms(JWSRegistry):
    """Only the algorithms above; without the library's advice on EdDSA's name, which issuers choose and we cannot."""

    def get_alg(self, name: str) -> Any:
        """Give an algorithm by its name in the token's header."""
        if name not in ALGORITHMS:
            raise JoseError
        return self.algorithms[name]


class Authenticator:
    """Turns Authorization headers into principals. `now` gives seconds since 1970."""

    def __init__(self, *, keys: KeySource, issuer: str, audience: str, now: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._now = now
        self._registry = _PinnedAlgorithms(algorithms=list(ALGORITHMS), strict_check_header=False)
        self._claims = jwt.JWTClaimsRegistry(
            now=lambda: int(now()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
            sub={"essential": True},
        )
        self._remembered: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    def remembered(self, header: bytes) -> Principal | None:
        """Give the principal of a header that was verified lately; None if it was not, or its token expired since."""
        digest = hashlib.sha256(header).digest()
        known = self._remembered.get(digest)
        if known is None:
            return None
        if self._now() >= known[1]:
            del self._remembered[digest]
            return None
        self._remembered.move_to_end(digest)
        return known[0]

    async def authenticate(self, header: bytes) -> Principal:
        """Verify an Authorization header. TOKEN_INVALID without a cause, or TOKEN_EXPIRED.

        DEPENDENCY_UNAVAILABLE while the issuer's keys could never be read: then nothing can be said of any token.
        """
        principal = self.remembered(header)
        if principal is not None:
            return principal
        scheme, _, token = header.partition(b" ")
        token = token.strip()
        if scheme.lower() != b"bearer" or not token or len(token) > TOKEN_BYTES_MAX:
            raise token_invalid()
        try:
            claims = await self._verified_claims(token)
        except DomainError:
            raise
        # Whatever a forged token makes the libraries say, the caller learns that it is invalid and no more.
        except (JoseError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            raise token_invalid() from None
        principal = _principal(claims)
        self._remember(header, principal, float(claims["exp"]))
        return principal

    async def _verified_claims(self, token: bytes) -> dict[str, Any]:
        segments = token.split(b".")
        header = json.loads(urlsafe_b64decode(segments[0])) if len(segments) == _SEGMENTS else None
        if not isinstance(header, dict) or _FORBIDDEN_HEADERS & header.keys() or header.get("alg") not in ALGORITHMS:
            raise token_invalid()
        kid = header.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise token_invalid()
        key = await self._keys.find(kid, header["alg"])
        if key is None:
            if not self._keys.ready:
                raise DomainError(
                    Reason.DEPENDENCY_UNAVAILABLE,
                    "the token issuer's keys cannot be read",
                    metadata={"dependency": "token-issuer"},
                    retry_after_seconds=2,
                )
            raise token_invalid()
        claims = jwt.decode(token, key, algorithms=list(ALGORITHMS), registry=self._registry).claims
        try:
            self._claims.validate(claims)
        except ExpiredTokenError:
            raise _token_expired() from None
        if claims["exp"] <= self._now():  # the leeway is for clocks that are ahead, not for tokens that are over
            raise _token_expired()
        return claims

    def _remember(self, header: bytes, principal: Principal, expire: float) -> None:
        self._remembered[hashlib.sha256(header).digest()] = (
            principal,
            min(expire, self._now() + REMEMBERED_SECONDS_MAX),
        )
        while len(self._remembered) > REMEMBERED_TOKENS_MAX:
            self._remembered.popitem(last=False)


def token_invalid() -> DomainError:
    """Give the refusal of a token; it never says why."""
    return DomainError(Reason.TOKEN_INVALID, "a valid bearer token is needed")


def _token_expired() -> DomainError:
    return DomainError(Reason.TOKEN_EXPIRED, "the token's time is over")


def _principal(claims: dict[str, Any]) -> Principal:
    roles = claims.get("roles", [])
    if not isinstance(roles, list) or len(roles) > ROLES_CLAIMED_MAX or not all(isinstance(r, str) for r in roles):
        raise token_invalid()
    known = frozenset(role for role in roles if role in ROLES)
    organization_id = _organization_id(claims)
    if not organization_id and "platform_admin" not in known:
        raise token_invalid()
    return Principal(subject=_subject(claims["sub"]), organization_id=organization_id, roles=known)


def _subject(subject: Any) -> str:
    if not isinstance(subject, str) or not subject.strip() or len(subject) > SUBJECT_LENGTH_MAX:
        raise token_invalid()
    if not subject.isprintable():  # control characters, lone surrogates
        raise token_invalid()
    return subject


def _organization_id(claims: dict[str, Any]) -> str:
    """Give the organization by either of its names; both must agree, empty is absent."""
    named = [claims[name] for name in ("organization_id", "tenant_id") if claims.get(name) not in (None, "")]
    if not named:
        return ""
    if not all(isinstance(each, str) and is_id(each) and each == named[0] for each in named):
        raise token_invalid()
    return str(named[0])
