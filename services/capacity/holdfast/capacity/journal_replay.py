"""Counters as the journal tells them: from a checkpoint on, commit by commit; pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from holdfast.api.capacity.v1 import messages_pb2, section_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable


class Replay:
    """The counters of the sections after a commit. `version` is that of the last commit that was followed.

    `gaps` counts versions of which no row, or the row of another version, was found.
    """

    def __init__(self) -> None:
        self.version = 0
        self.sections: dict[str, section_pb2.SectionCounters] = {}
        self.last = messages_pb2.InventoryChanged()
        self.gaps = 0

    def begin(self, version: int, checkpoint: bytes) -> None:
        """Begin at a checkpoint instead of before the first commit."""
        self.version = version
        for section_id, schedule_id, total, held, pending, sold, blocked, buffer, active, *more in json.loads(
            checkpoint
        ):
            self.sections[section_id] = section_pb2.SectionCounters(
                section_id=section_id,
                schedule_id=schedule_id or "",
                total=total,
                held=held,
                pending=pending,
                sold=sold,
                blocked=blocked,
                buffer=buffer,
                active=active,
                revision=more[0] if more else 0,  # the first checkpoints did not tell
            )

    def follow(self, version: int, body: bytes) -> None:
        """Take over what the row of a version tells."""
        change = messages_pb2.InventoryChanged.FromString(body)
        self.gaps += version - self.version - 1 + (change.version != version)
        self.version = version
        self.last = change
        for told in change.sections:
            self.sections[told.section_id] = told

    def standing(self) -> Iterable[section_pb2.SectionCounters]:
        """Give the counters of the sections that there are, in the order of their ids."""
        return (told for _, told in sorted(self.sections.items()) if not told.deleted)
