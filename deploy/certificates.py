# ruff: noqa: INP001 - a script that a container runs by its path
"""Makes the certificates of a mesh that runs in containers: an authority, and for each service a directory of its own.

`python certificates.py AUTHORITY_DIRECTORY IDENTITIES_DIRECTORY SERVICE…`. What exists and is good for another thirty
days stays. Services take over renewed files while they run. No service sees the authority's key, or another's.
"""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from holdfast.common.authority import create_authority, issue

RENEW_BEFORE: Final = timedelta(days=30)


def main() -> None:
    """Do what the command line says."""
    authority, identities = Path(sys.argv[1]), Path(sys.argv[2])
    create_authority(authority)
    for name in sys.argv[3:]:
        directory = identities / name
        if not _good(directory / f"{name}.crt"):
            issue(authority, name)
            _hand_over(authority / f"{name}.key", directory)
            _hand_over(authority / f"{name}.crt", directory)
        _copy(authority / "ca.crt", directory / "ca.crt")


def _good(certificate: Path) -> bool:
    if not certificate.exists():
        return False
    return (
        x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc > datetime.now(UTC) + RENEW_BEFORE
    )


def _hand_over(file: Path, directory: Path) -> None:
    _copy(file, directory / file.name)
    file.unlink()


def _copy(source: Path, target: Path) -> None:
    """Copy so that the target appears whole, with the source's mode: the directories are on different volumes."""
    fresh = target.with_name(f".{target.name}")
    shutil.copy(source, fresh)
    fresh.replace(target)


if __name__ == "__main__":
    main()
