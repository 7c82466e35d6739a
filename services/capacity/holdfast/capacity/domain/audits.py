"""Who did something to an event's inventory, what, and why: what the journal does not tell."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Author:
    """A caller, what they asked for and in which words; `entry_id` is given before the first attempt."""

    entry_id: str
    actor: str
    roles: tuple[str, ...]
    action: str
    note: str = ""
    request_id: str = ""
    trace_id: str = ""

    def did(self, resource_type: str, resource_id: str, changes: Mapping[str, Any] | None = None) -> AuditEntry:
        """Give the entry of something that was done."""
        return AuditEntry(self, resource_type, resource_id, changes or {})


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that was done. `changes` are plain JSON by what changed: `{"name": {"from": …, "to": …}}`."""

    author: Author
    resource_type: str
    resource_id: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    omitted: tuple[str, ...] = ()

    def without(self, name: str) -> AuditEntry:
        """Give the entry with a change that is too large only named."""
        kept = {key: value for key, value in self.changes.items() if key != name}
        return replace(self, changes=kept, omitted=(*self.omitted, name))
