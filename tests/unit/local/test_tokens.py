"""Development tokens: what they claim, and that anybody with the JWKS can check them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from holdfast.local import tokens
from holdfast.local.settings import AUDIENCE, ISSUER
from holdfast.local.tokens import Bearer

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
BEARER = Bearer(subject="olga", organization_id="019a9b1e-0000-7000-8000-000000000000", roles=("organizer", "analyst"))


def test_a_token_is_verified_by_the_published_keys_alone(tmp_path: Path) -> None:
    tokens.ensure_issuer(tmp_path)
    text = tokens.mint(tmp_path, BEARER, now=NOW, minutes=5)
    published = json.loads((tmp_path / "jwks.json").read_text())
    assert "d" not in published["keys"][0]
    token = jwt.decode(text, KeySet.import_key_set(published), algorithms=["ES256"])
    assert token.header["kid"] == published["keys"][0]["kid"]
    claims = token.claims
    assert claims["sub"] == "olga"
    assert claims["organization_id"] == BEARER.organization_id
    assert claims["roles"] == ["organizer", "analyst"]
    assert (claims["iss"], claims["aud"]) == (ISSUER, AUDIENCE)
    assert claims["exp"] - claims["iat"] == 300
    assert claims["jti"]


def test_two_tokens_are_never_the_same(tmp_path: Path) -> None:
    tokens.ensure_issuer(tmp_path)
    assert len({tokens.mint(tmp_path, BEARER, now=NOW, minutes=5) for _ in range(3)}) == 3


def test_a_platform_administrators_token_names_no_organization(tmp_path: Path) -> None:
    tokens.ensure_issuer(tmp_path)
    bearer = Bearer(subject="root", organization_id="", roles=("platform_admin",))
    text = tokens.mint(tmp_path, bearer, now=NOW, minutes=5)
    keys = KeySet.import_key_set(json.loads((tmp_path / "jwks.json").read_text()))
    assert "organization_id" not in jwt.decode(text, keys, algorithms=["ES256"]).claims


def test_keys_stay_the_same_and_private(tmp_path: Path) -> None:
    tokens.ensure_issuer(tmp_path)
    first = (tmp_path / "jwks.json").read_text()
    tokens.ensure_issuer(tmp_path)
    assert (tmp_path / "jwks.json").read_text() == first
    assert (tmp_path / "key.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("minutes", [0, -1, tokens.MINUTES_MAX + 1])
def test_lifetimes_out_of_range_are_refused(tmp_path: Path, minutes: int) -> None:
    tokens.ensure_issuer(tmp_path)
    with pytest.raises(ValueError, match="a token lives"):
        tokens.mint(tmp_path, BEARER, now=NOW, minutes=minutes)
