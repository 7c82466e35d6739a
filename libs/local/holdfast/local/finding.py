"""What a check found."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's outcome. `advice` says what to do; empty when there is nothing to do."""

    check: str
    verdict: Literal["ok", "warn", "FAIL"]
    detail: str
    advice: str = ""


def good(check: str, detail: str) -> Finding:
    """Return a finding that needs nothing."""
    return Finding(check=check, verdict="ok", detail=detail)


def warn(check: str, detail: str, advice: str) -> Finding:
    """Return a finding that will need something."""
    return Finding(check=check, verdict="warn", detail=detail, advice=advice)


def bad(check: str, detail: str, advice: str) -> Finding:
    """Return a finding that keeps the mesh from working."""
    return Finding(check=check, verdict="FAIL", detail=detail, advice=advice)
