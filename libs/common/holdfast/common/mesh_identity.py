"""Who talks: the certificates of the mesh's services, and the principal on whose behalf a call is made.

Every service has a certificate of the mesh's own authority. It names the service in a URI,
`spiffe://holdfast.internal/<name>`, by which servers know their callers, and as `<name>.holdfast.internal`, by
which clients check whom they reached.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from google.protobuf.message import DecodeError

from holdfast.api.common.v1 import principal_pb2
from holdfast.common.errors import StartRefused
from holdfast.common.ids import is_id
from holdfast.common.permissions import permissions_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TRUST_DOMAIN: Final = "holdfast.internal"
VARIABLE: Final = "HOLDFAST_IDENTITY_DIR"
"""Where the directory comes from, for those who read why a start was refused."""

SPIFFE_PREFIX: Final = f"spiffe://{TRUST_DOMAIN}/"
PRINCIPAL_KEY: Final = "holdfast-principal-bin"
SERVICE_ROLE: Final = "service"
SUBJECT_LENGTH_MAX: Final = 256
ROLES_MAX: Final = 16

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Principal:
    """On whose behalf a call is made. `organization_id` is empty only for platform administrators."""

    subject: str
    organization_id: str
    roles: frozenset[str]
    permissions: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "permissions", _permissions_of(self.roles))

    def can(self, permission: str) -> bool:
        """Tell whether the principal's roles include a permission."""
        return permission in self.permissions

    def to_metadata(self) -> tuple[str, bytes]:
        """Give the metadata pair that carries the principal to another service."""
        return PRINCIPAL_KEY, _encoded(self)


@lru_cache(maxsize=1024)
def _permissions_of(roles: frozenset[str]) -> frozenset[str]:
    return permissions_of(roles)


@lru_cache(maxsize=8192)
def _encoded(principal: Principal) -> bytes:
    message = principal_pb2.Principal(
        subject=principal.subject, organization_id=principal.organization_id, roles=sorted(principal.roles)
    )
    return message.SerializeToString(deterministic=True)


@lru_cache(maxsize=8192)
def decode_principal(value: bytes) -> Principal | None:
    """Read a principal from its metadata value; None when it is not a valid one."""
    message = principal_pb2.Principal()
    try:
        message.ParseFromString(value)
    except DecodeError:
        return None
    if not message.subject or len(message.subject) > SUBJECT_LENGTH_MAX or len(message.roles) > ROLES_MAX:
        return None
    if message.organization_id and not is_id(message.organization_id):
        return None
    return Principal(subject=message.subject, organization_id=message.organization_id, roles=frozenset(message.roles))


def service_principal(name: str, organization_id: str) -> Principal:
    """Give the principal of a service that acts for itself, on one organization's data."""
    return Principal(subject=f"service:{name}", organization_id=organization_id, roles=frozenset({SERVICE_ROLE}))


def peer_name(auth_context: Mapping[str, Sequence[bytes]]) -> str | None:
    """Give the mesh name in a peer's certificate, None when it shows none of the mesh."""
    for name in auth_context.get("x509_subject_alternative_name", ()):
        if name.startswith(_SPIFFE_BYTES):
            return _name_of(name)
    return None


_SPIFFE_BYTES: Final = SPIFFE_PREFIX.encode()


@lru_cache(maxsize=256)
def _name_of(uri: bytes) -> str | None:
    name = uri.removeprefix(_SPIFFE_BYTES).decode("ascii", "replace")
    return name if name.replace("-", "").replace("_", "").isalnum() else None


def server_name(name: str) -> str:
    """Give the DNS name by which clients check that they reached a service."""
    return f"{name}.{TRUST_DOMAIN}"


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the files of an identity hold, PEM."""

    authority: bytes
    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class MeshIdentity:
    """A service's certificate files. They may be replaced while it runs; new connections use the new ones."""

    directory: Path
    name: str

    @classmethod
    def load(cls, directory: Path, name: str) -> MeshIdentity:
        """Check that a service's files are there and belong together; StartRefused names the variable that is wrong."""
        identity = cls(directory=directory, name=name)
        try:
            identity.certificates()
        except OSError as error:
            missing = Path(str(error.filename)).name
            raise StartRefused(f"{VARIABLE}: {missing}: {error.strerror}; {name} needs its certificate there") from None
        except ValueError as error:
            raise StartRefused(f"{VARIABLE}: the certificate of {name} cannot be used: {error}") from None
        return identity

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """The authority's certificate, the service's certificate and its key."""
        return (
            self.directory / "ca.crt",
            self.directory / f"{self.name}.crt",
            self.directory / f"{self.name}.key",
        )

    def certificates(self) -> Certificates:
        """Read the files; OSError when one is missing, ValueError when key and certificates do not belong together."""
        authority, certificate, key = (path.read_bytes() for path in self.files)
        parsed = x509.load_pem_x509_certificate(certificate)
        private = serialization.load_pem_private_key(key, password=None)
        if private.public_key() != parsed.public_key():
            raise ValueError("the key is not the certificate's")
        if not x509.load_pem_x509_certificates(authority):
            raise ValueError("ca.crt holds no certificate")
        uris = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
            x509.UniformResourceIdentifier
        )
        if f"{SPIFFE_PREFIX}{self.name}" not in uris:
            raise ValueError(f"the certificate is not of {SPIFFE_PREFIX}{self.name}")
        return Certificates(authority=authority, certificate=certificate, key=key)

    def version(self) -> tuple[int, ...]:
        """Give what changes when a file does; empty while one is missing."""
        try:
            return tuple(path.stat().st_mtime_ns for path in self.files)
        except OSError:
            return ()

    def server_credentials(self) -> grpc.ServerCredentials:
        """Give credentials that demand a client certificate of the mesh and read the files anew when they change."""
        current = self.version()

        def changed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal current
            version = self.version()
            if version == current or not version:
                return None
            try:
                configuration = _configuration(self.certificates())
            except (OSError, ValueError) as error:
                # A rotation that is half done: the next connection looks again.
                logger.warning("mesh certificate not taken over", service=self.name, cause=str(error))
                return None
            current = version
            logger.info("mesh certificate taken over", service=self.name)
            return configuration

        return grpc.dynamic_ssl_server_credentials(
            _configuration(self.certificates()),
            changed,  # type: ignore[arg-type] # None means no change; the stubs do not know
            require_client_authentication=True,
        )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Give credentials of the files as they are now."""
        files = self.certificates()
        return grpc.ssl_channel_credentials(
            root_certificates=files.authority, private_key=files.key, certificate_chain=files.certificate
        )


def _configuration(files: Certificates) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(files.key, files.certificate)], root_certificates=files.authority
    )
