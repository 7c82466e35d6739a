"""Changes that are only wanted of a thing as it was read."""

from __future__ import annotations

from holdfast.common.errors import DomainError, Reason


def check_etag(current: str, wanted: str, what: str) -> None:
    """Raise ETAG_MISMATCH unless a thing still has the etag that a caller read; an empty one asks for nothing."""
    if wanted and wanted != current:
        raise DomainError(Reason.ETAG_MISMATCH, f"the {what} changed since it was read", metadata={"etag": current})
