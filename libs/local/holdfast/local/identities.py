"""The certificates of a local mesh."""

import re
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from holdfast.common import authority
from holdfast.local.settings import SERVICES

OPERATOR = "operator"
NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
RENEW_BEFORE = timedelta(days=30)


def expiry(certificate: Path) -> datetime:
    """Return when a certificate ends to be valid."""
    return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc


def ensure(directory: Path) -> list[str]:
    """Make the authority and a certificate for each service and the operator; renew what ends soon.

    Returns the names that were issued. An authority that ends soon is replaced, and with it everything it signed.
    """
    authority.create_authority(directory)
    now = datetime.now(UTC)
    if expiry(directory / "ca.crt") - now < RENEW_BEFORE:
        for path in directory.glob("*.crt"):
            path.unlink()
        authority.create_authority(directory)
    issued = []
    for name in (*SERVICES, OPERATOR):
        certificate = directory / f"{name}.crt"
        whole = certificate.exists() and (directory / f"{name}.key").exists()
        if not whole or expiry(certificate) - now < RENEW_BEFORE:
            authority.issue(directory, name)
            issued.append(name)
    return issued


def issue_for(directory: Path, name: str, *, target: Path) -> None:
    """Issue a certificate for an internal service: `<name>.crt`, `<name>.key` and `ca.crt` in `target`.

    Raises ValueError for a name of the mesh's own services, whose certificates let them speak for any caller and are
    handed to nobody, and for what cannot stand in a host name.
    """
    if name in SERVICES:
        raise ValueError(f"{name} is a service of the mesh itself; its certificate is not for others")
    if NAME.fullmatch(name) is None:
        raise ValueError("a service's name is 1 to 40 lower-case letters, digits and hyphens, and starts with a letter")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as workplace:
        bench = Path(workplace)
        for part in ("ca.crt", "ca.key"):
            shutil.copy2(directory / part, bench / part)
        authority.issue(bench, name)
        for part in (f"{name}.key", f"{name}.crt", "ca.crt"):
            shutil.copy2(bench / part, target / part)
