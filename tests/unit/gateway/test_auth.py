"""Tokens: what is believed, and the attacks that are not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from holdfast.common.errors import DomainError, Reason, StartRefused
from holdfast.common.ids import new_id
from holdfast.gateway.auth import REMEMBERED_TOKENS_MAX, Authenticator
from holdfast.gateway.keys import KeySource, parse_jwks
from tests.support.tokens import AUDIENCE, ISSUER, Issuer

if TYPE_CHECKING:
    from pathlib import Path

ORGANIZATION = new_id()


class Clock:
    def __init__(self) -> None:
        self.seconds = time.time()

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path / "jwks.json")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def authenticator(issuer: Issuer, clock: Clock) -> Authenticator:
    keys = KeySource(str(issuer.jwks), monotonic=clock)
    await keys.start()
    return Authenticator(keys=keys, issuer=ISSUER, audience=AUDIENCE, now=clock)


def mint(issuer: Issuer, **changes: Any) -> bytes:
    roles = changes.pop("roles", ["buyer"])
    return b"Bearer " + issuer.token(**{"organization_id": ORGANIZATION, "roles": roles, **changes}).encode()


async def refused(authenticator: Authenticator, header: bytes) -> Reason:
    with pytest.raises(DomainError) as caught:
        await authenticator.authenticate(header)
    assert caught.value.metadata == {}
    assert caught.value.violations == ()
    return caught.value.reason


def encode(part: Any) -> bytes:
    text = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=")


async def test_a_good_token_is_a_principal(authenticator: Authenticator, issuer: Issuer) -> None:
    principal = await authenticator.authenticate(mint(issuer, roles=["organizer", "plumber"], subject="anna"))
    assert (principal.subject, principal.organization_id) == ("anna", ORGANIZATION)
    assert principal.roles == {"organizer"}, "a role that the mesh does not know permits nothing and is no fault"


async def test_the_old_claim_names_the_organization_too(authenticator: Authenticator, issuer: Issuer) -> None:
    principal = await authenticator.authenticate(mint(issuer, organization_id="", tenant_id=ORGANIZATION))
    assert principal.organization_id == ORGANIZATION


async def test_a_platform_administrator_needs_no_organization(authenticator: Authenticator, issuer: Issuer) -> None:
    principal = await authenticator.authenticate(mint(issuer, organization_id="", roles=["platform_admin"]))
    assert principal.organization_id == ""


CLAIMS: list[tuple[str, dict[str, Any]]] = [
    ("no issuer", {"iss": None}),
    ("another issuer", {"iss": "https://evil.test"}),
    ("no audience", {"aud": None}),
    ("another audience", {"aud": "other"}),
    ("no expiry", {"exp": None}),
    ("expiry as text", {"exp": "2999-01-01"}),
    ("expiry true", {"exp": True}),
    ("expiry NaN", {"exp": float("nan")}),
    ("expiry infinite", {"exp": float("inf")}),
    ("not before, ahead of leeway", {"nbf": int(time.time()) + 86_400}),
    ("issued ahead of leeway", {"iat": int(time.time()) + 86_400}),
    ("no subject", {"sub": None}),
    ("empty subject", {"sub": " "}),
    ("long subject", {"sub": "x" * 257}),
    ("subject with a control character", {"sub": "a\x00b"}),
    ("subject is a number", {"sub": 5}),
    ("no organization", {"organization_id": ""}),
    ("organization is no id", {"organization_id": "acme"}),
    ("organization is a list", {"organization_id": [ORGANIZATION]}),
    ("two organizations", {"tenant_id": new_id()}),
    ("roles as text", {"roles": "buyer"}),
    ("roles of numbers", {"roles": [1]}),
    ("very many roles", {"roles": ["buyer"] * 101}),
]


@pytest.mark.parametrize("changes", [row[1] for row in CLAIMS], ids=[row[0] for row in CLAIMS])
async def test_claims_that_do_not_fit_are_refused(
    authenticator: Authenticator, issuer: Issuer, changes: dict[str, Any]
) -> None:
    assert await refused(authenticator, mint(issuer, **changes)) is Reason.TOKEN_INVALID


async def test_a_subject_with_a_lone_surrogate_is_refused(
    authenticator: Authenticator, issuer: Issuer, clock: Clock
) -> None:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "a\ud800", "exp": clock() + 60, "organization_id": ORGANIZATION}
    signing = encode({"alg": "ES256", "kid": "test-1"}) + b"." + encode(claims)
    token = signing + b"." + encode(_sign(issuer.key, signing))
    assert await refused(authenticator, b"Bearer " + token) is Reason.TOKEN_INVALID


async def test_an_old_token_is_expired_without_leeway(
    authenticator: Authenticator, issuer: Issuer, clock: Clock
) -> None:
    assert await refused(authenticator, mint(issuer, exp=int(clock()) - 1)) is Reason.TOKEN_EXPIRED
    header = mint(issuer, exp=int(clock()) + 10)
    await authenticator.authenticate(header)
    clock.seconds += 11
    assert await refused(authenticator, header) is Reason.TOKEN_EXPIRED, "remembering does not outlive the token"


async def test_clocks_may_differ_by_a_minute(authenticator: Authenticator, issuer: Issuer, clock: Clock) -> None:
    ahead = int(clock()) + 55
    assert (await authenticator.authenticate(mint(issuer, nbf=ahead, iat=ahead))).subject == "buyer-1"


HEADERS: list[tuple[str, dict[str, Any]]] = [
    ("unknown crit", {"crit": ["x"], "x": 1}),
    ("known crit", {"crit": ["b64"], "b64": True}),
    ("embedded key", {"jwk": {}}),
    ("key address", {"jku": "https://evil.test/jwks"}),
    ("certificate address", {"x5u": "https://evil.test/cert"}),
    ("certificate chain", {"x5c": ["MIIB"]}),
    ("algorithm as list", {"alg": ["ES256"]}),
    ("algorithm none", {"alg": "none"}),
    ("algorithm nOnE", {"alg": "nOnE"}),
    ("algorithm ES512", {"alg": "ES512"}),
    ("algorithm RS256 with an EC key", {"alg": "RS256"}),
    ("no algorithm", {"alg": None}),
    ("key id as number", {"kid": 1}),
    ("key id of nobody", {"kid": "other"}),
]


@pytest.mark.parametrize("changes", [row[1] for row in HEADERS], ids=[row[0] for row in HEADERS])
async def test_headers_that_would_change_the_rules_are_refused(
    authenticator: Authenticator, issuer: Issuer, changes: dict[str, Any]
) -> None:
    header, payload, _ = mint(issuer).removeprefix(b"Bearer ").split(b".")
    changed = {**json.loads(base64.urlsafe_b64decode(header + b"==")), **changes}
    if "jwk" in changes:
        changed["jwk"] = ECKey.generate_key("P-256").as_dict(private=False)
    signing = encode({k: v for k, v in changed.items() if v is not None}) + b"." + payload
    signature = encode(_sign(issuer.key, signing))
    assert await refused(authenticator, b"Bearer " + signing + b"." + signature) is Reason.TOKEN_INVALID
    assert await refused(authenticator, b"Bearer " + signing + b".") is Reason.TOKEN_INVALID


def _sign(key: ECKey, signing: bytes) -> bytes:
    """Sign with ES256 whatever the header says: the signature itself is good."""
    private = key.private_key
    assert private is not None
    r, s = utils.decode_dss_signature(private.sign(signing, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)


async def test_a_symmetric_signature_with_the_public_key_is_refused(
    authenticator: Authenticator, issuer: Issuer
) -> None:
    _, payload, _ = mint(issuer).removeprefix(b"Bearer ").split(b".")
    for secret in (issuer.key.as_pem(private=False), json.dumps(issuer.key.as_dict(private=False)).encode()):
        signing = encode({"alg": "HS256", "kid": "test-1"}) + b"." + payload
        signature = encode(hmac.new(secret, signing, hashlib.sha256).digest())
        assert await refused(authenticator, b"Bearer " + signing + b"." + signature) is Reason.TOKEN_INVALID


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic YTpi",
        b"Bearer x",
        b"Bearer x.y",
        b"Bearer x.y.z",
        b"Bearer ...",
        b"Bearer a.b.c.d.e",
        b"Bearer " + b"x" * 9000,
        b"Bearer \xff.\xff.\xff",
        b"Bearer " + b"W10.W10.W10",
        b"Bearer " + base64.urlsafe_b64encode(b'{"alg":' * 500) + b".e30.x",
    ],
)
async def test_what_is_no_token_is_refused(authenticator: Authenticator, header: bytes) -> None:
    assert await refused(authenticator, header) is Reason.TOKEN_INVALID


async def test_a_changed_payload_or_signature_is_refused(authenticator: Authenticator, issuer: Issuer) -> None:
    header, payload, signature = mint(issuer).removeprefix(b"Bearer ").split(b".")
    admin = encode({**json.loads(base64.urlsafe_b64decode(payload + b"==")), "roles": ["platform_admin"]})
    for parts in ((header, admin, signature), (header, payload, signature[::-1]), (header, payload, encode(bytes(64)))):
        assert await refused(authenticator, b"Bearer " + b".".join(parts)) is Reason.TOKEN_INVALID


async def test_another_issuers_key_is_refused(authenticator: Authenticator, issuer: Issuer) -> None:
    stranger = ECKey.generate_key("P-256", {"kid": "test-1"})
    assert await refused(authenticator, mint(issuer, key=stranger)) is Reason.TOKEN_INVALID


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [("RS256", RSAKey.generate_key(2048, {"kid": "k"})), ("Ed25519", OKPKey.generate_key("Ed25519", {"kid": "k"}))],
)
async def test_rsa_and_edwards_keys_verify(
    authenticator: Authenticator, issuer: Issuer, clock: Clock, algorithm: str, key: Any
) -> None:
    issuer.publish(key)
    clock.seconds += 3
    now = int(clock())
    claims = {"iss": ISSUER, "aud": [AUDIENCE], "sub": "a", "exp": now + 60, "organization_id": ORGANIZATION}
    token = jwt.encode({"alg": algorithm, "kid": "k"}, claims, key, algorithms=[algorithm])
    assert (await authenticator.authenticate(b"Bearer " + token.encode())).roles == frozenset()
    if algorithm == "Ed25519":
        signing = encode({"alg": "EdDSA", "kid": "k"}) + b"." + encode(claims)
        old_name = signing + b"." + encode(key.private_key.sign(signing))
        principal = await authenticator.authenticate(b"bearer " + old_name)
        assert principal.subject == "a", "EdDSA is the same by its older name"


async def test_a_new_key_is_found_and_a_withdrawn_one_forgotten(
    authenticator: Authenticator, issuer: Issuer, clock: Clock
) -> None:
    old = mint(issuer)
    await authenticator.authenticate(old)
    new = ECKey.generate_key("P-256", {"kid": "test-2"})
    issuer.publish(new)
    fresh = mint(issuer, key=new, header={"alg": "ES256", "kid": "test-2"})
    assert await refused(authenticator, fresh) is Reason.TOKEN_INVALID, "the file is not looked at for each unknown key"
    clock.seconds += 3
    assert (await authenticator.authenticate(fresh)).organization_id == ORGANIZATION
    assert authenticator.remembered(old), "what was verified is remembered"
    clock.seconds += 61
    assert await refused(authenticator, old) is Reason.TOKEN_INVALID, "for a minute"


async def test_a_spoilt_key_file_keeps_the_last_good_keys(
    authenticator: Authenticator, issuer: Issuer, clock: Clock
) -> None:
    issuer.jwks.write_text("{")
    clock.seconds += 3
    assert (await authenticator.authenticate(mint(issuer))).subject == "buyer-1"
    issuer.jwks.unlink()
    clock.seconds += 3
    assert (await authenticator.authenticate(mint(issuer, subject="another"))).subject == "another"


async def test_remembered_tokens_are_bounded(
    authenticator: Authenticator, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert REMEMBERED_TOKENS_MAX == 10_000
    monkeypatch.setattr("holdfast.gateway.auth.REMEMBERED_TOKENS_MAX", 3)
    tokens = [mint(issuer, subject=str(number)) for number in range(5)]
    for token in tokens:
        await authenticator.authenticate(token)
    assert [authenticator.remembered(token) is not None for token in tokens] == [False, False, True, True, True]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"keys": []}',
        '{"keys": {}}',
        json.dumps({"keys": [OctKey.generate_key(256).as_dict()]}),
        json.dumps({"keys": [ECKey.generate_key("P-256", {"use": "enc"}).as_dict(private=False)]}),
        json.dumps({"keys": [ECKey.generate_key("P-384").as_dict(private=False)]}),
        json.dumps({"keys": [ECKey.generate_key("P-256", {"alg": "ES384"}).as_dict(private=False)]}),
        json.dumps({"keys": [{"kty": "EC"}, 5, {}]}),
    ],
    ids=["empty", "list", "no-keys", "none", "map", "secret", "for-encryption", "P-384", "ES384", "broken"],
)
async def test_a_key_file_without_a_usable_key_stops_the_start(tmp_path: Path, content: str) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(content)
    with pytest.raises(StartRefused):
        await KeySource(str(path)).start()


async def test_a_key_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="No such file"):
        await KeySource(str(tmp_path / os.devnull.strip("/"))).start()


def test_a_token_without_key_id_finds_the_only_key() -> None:
    one = ECKey.generate_key("P-256", {"kid": "a"})
    two = ECKey.generate_key("P-256", {"kid": "b"})
    assert (None, "ES256") in parse_jwks(json.dumps({"keys": [one.as_dict(private=False)]}).encode())
    both = json.dumps({"keys": [one.as_dict(private=False), two.as_dict(private=False)]}).encode()
    assert (None, "ES256") not in parse_jwks(both)
