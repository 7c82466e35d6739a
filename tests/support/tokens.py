"""A token issuer for tests: a key, its JWKS file, and tokens signed with it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from joserfc import jwt
from joserfc.jwk import ECKey

if TYPE_CHECKING:
    from pathlib import Path

ISSUER = "https://issuer.test"
AUDIENCE = "holdfast"


class Issuer:
    """Mints tokens as an identity provider would."""

    def __init__(self, jwks: Path) -> None:
        self.jwks = jwks
        self.key = ECKey.generate_key("P-256", {"kid": "test-1"})
        self.publish(self.key)

    def publish(self, *keys: Any) -> None:
        """Write the JWKS with the public halves of these keys."""
        self.jwks.write_text(json.dumps({"keys": [key.as_dict(private=False) for key in keys]}))

    def token(
        self,
        *roles: str,
        subject: str = "buyer-1",
        organization_id: str = "",
        key: Any = None,
        header: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Mint a token of an hour; `claims` add to it, a claim of None is left out."""
        now = int(time.time())
        content: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "iat": now,
            "exp": now + 3600,
            "roles": list(roles),
        }
        if organization_id:
            content["organization_id"] = organization_id
        content = {name: value for name, value in (content | claims).items() if value is not None}
        return jwt.encode(header or {"alg": "ES256", "kid": "test-1"}, content, key or self.key, algorithms=["ES256"])
