"""Writes docs/configuration.md from the settings themselves, so that it cannot say anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.common.settings import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_settings import BaseSettings

_HEAD = """\
# Configuration

<!-- Generated from the settings classes; edit those. -->

Every setting is an environment variable. A missing, malformed or unknown one stops the start with exit code 2 and a
line that names the variable, never its value. An empty variable counts as absent. Durations carry their unit in the
name. Secrets are marked; they never appear in logs or messages.
"""


def render(sections: Sequence[tuple[str, type[BaseSettings]]]) -> str:
    """Give the reference as Markdown: a heading and a table for each (title, settings class)."""
    parts = [_HEAD]
    for title, settings in sections:
        parts.append(f"\n## {title}\n\n| Variable | Type | Default | Meaning |\n|---|---|---|---|\n")
        for each in describe(settings):
            default = "*required*" if each.required else f"`{each.default}`" if each.default is not None else "none"
            row = " | ".join((f"`{each.name}`", each.type, default, each.description))
            parts.append(f"| {row} |\n")
    return "".join(parts)
