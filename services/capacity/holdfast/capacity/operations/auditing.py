"""Noting who did what, in the commit that does it; and reading it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from holdfast.capacity.domain.audits import AuditEntry, changes_of, seen
from holdfast.capacity.store import audits as store
from holdfast.common import ids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.capacity.domain.audits import Author, ResourceType
    from holdfast.capacity.engine.needs import Needs
    from holdfast.capacity.engine.unit import Command, Unit
    from holdfast.capacity.store.audits import Cursor, EntryFilter, StoredEntry
    from holdfast.common.database import Transaction

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Audited(Generic[R]):
    """A command that leaves an entry for each of the resources that it changes or makes.

    A repetition, or what changes nothing, leaves none; neither does a refusal. `told` is what an entry tells besides
    what is seen of the resource.
    """

    command: Command[R]
    author: Author
    resource_type: ResourceType
    resource_ids: tuple[str, ...]
    told: Mapping[str, Any] = field(default_factory=dict)

    def need(self, needs: Needs) -> None:
        """Ask for what the command needs."""
        self.command.need(needs)

    def decide(self, unit: Unit) -> R:
        """Decide it."""
        before = [seen(unit.inventory, self.resource_type, each) for each in self.resource_ids]
        result = self.command.decide(unit)
        for resource_id, then in zip(self.resource_ids, before, strict=True):
            changes = changes_of(then, seen(unit.inventory, self.resource_type, resource_id))
            if changes:
                entry = AuditEntry(ids.new_id(), self.author, self.resource_type, resource_id, {**changes, **self.told})
                unit.audit.append(entry)
        return result


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Entries, and how many the whole list has, if asked for."""

    entries: Sequence[StoredEntry]
    total: int | None


async def list_entries(
    transaction: Transaction, wanted: EntryFilter, *, limit: int, after: Cursor | None, with_total: bool
) -> EntryPage:
    """Read a page of the organization's entries, newest first."""
    return EntryPage(
        entries=await store.page(transaction, wanted, limit=limit, after=after),
        total=await store.count(transaction, wanted) if with_total else None,
    )
