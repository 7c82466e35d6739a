"""The development token issuer: an ES256 key, its JWKS, and tokens signed with it.

It stands in for the identity provider that a real mesh has. The gateway reads the JWKS and knows nothing of this.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey

from holdfast.local.settings import AUDIENCE, ISSUER
from holdfast.local.state import write_private

ALGORITHM = "ES256"
MINUTES_MAX = 60 * 24 * 30


@dataclass(frozen=True, slots=True)
class Bearer:
    """On whose behalf a token speaks. `organization_id` is empty only for platform administrators."""

    subject: str
    organization_id: str
    roles: Sequence[str]


def ensure_issuer(directory: Path) -> None:
    """Make `key.json` (private, for the owner only) and `jwks.json` in a directory, unless they are there."""
    private = directory / "key.json"
    if not private.exists():
        key = ECKey.generate_key("P-256", {"use": "sig", "alg": ALGORITHM, "kid": secrets.token_hex(8)})
        write_private(private, json.dumps(key.as_dict(private=True)) + "\n")
    public = _key(directory).as_dict(private=False)
    write_private(directory / "jwks.json", json.dumps({"keys": [public]}, indent=2) + "\n")


def mint(directory: Path, bearer: Bearer, *, now: datetime, minutes: int) -> str:
    """Return a signed token. Raises FileNotFoundError without an issuer, ValueError for a lifetime out of range."""
    if not 1 <= minutes <= MINUTES_MAX:
        raise ValueError(f"a token lives 1 to {MINUTES_MAX} minutes")
    key = _key(directory)
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": bearer.subject,
        "roles": list(bearer.roles),
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(minutes=minutes)).timestamp()),
        "jti": secrets.token_hex(16),
    }
    if bearer.organization_id:
        claims["organization_id"] = bearer.organization_id
    return jwt.encode({"alg": ALGORITHM, "kid": key.kid}, claims, key, algorithms=[ALGORITHM])


def _key(directory: Path) -> ECKey:
    return ECKey.import_key(json.loads((directory / "key.json").read_text()))
