# ruff: noqa: INP001 - a script beside what it writes, not a module
"""Writes docs/configuration.md from the settings classes; with `--check`, fails if the file says anything else.

`.venv/bin/python docs/generate_configuration.py [--check]`. Also fails, naming them, for variables that no code reads.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from holdfast.capacity.settings import CapacitySettings
from holdfast.common.settings import MeshSettings, variable
from holdfast.common.settings_reference import render
from holdfast.events.settings import EventsSettings
from holdfast.gateway.settings import GatewaySettings
from holdfast.local.settings import LocalSettings
from holdfast.pricing.settings import PricingSettings

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

ROOT: Final = Path(__file__).resolve().parent.parent
REFERENCE: Final = ROOT / "docs" / "configuration.md"
SECTIONS: Final[tuple[tuple[str, type[BaseSettings]], ...]] = (
    ("Shared by all processes", MeshSettings),
    ("Gateway", GatewaySettings),
    ("Events", EventsSettings),
    ("Capacity", CapacitySettings),
    ("Pricing", PricingSettings),
    ("Local stack (`holdfast up`)", LocalSettings),
)


def main() -> int:
    """Write or check; give the exit code."""
    idle = unread()
    if idle:
        sys.stderr.write("".join(f"{name}: no code reads it\n" for name in idle))
        return 1
    text = render(SECTIONS)
    if "--check" not in sys.argv[1:]:
        REFERENCE.write_text(text, encoding="utf-8")
        return 0
    if not REFERENCE.exists() or REFERENCE.read_text(encoding="utf-8") != text:
        sys.stderr.write(
            "docs/configuration.md is not what the settings say; run .venv/bin/python docs/generate_configuration.py\n"
        )
        return 1
    return 0


def unread() -> list[str]:
    """Name the variables whose field is read nowhere in the code as an attribute."""
    code = "".join(
        path.read_text(encoding="utf-8")
        for top in ("libs/common/holdfast", "libs/local/holdfast", "services")
        for path in sorted((ROOT / top).rglob("*.py"))
    )
    read = set(re.findall(r"\.([a-z_]+)\b", code))
    return [
        variable(settings, field) for _, settings in SECTIONS for field in settings.model_fields if field not in read
    ]


if __name__ == "__main__":
    sys.exit(main())
