"""Who did what, as rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from holdfast.capacity.domain.audits import AuditEntry, Author, ResourceType
from holdfast.capacity.store.arrays import lists, plain, texts
from holdfast.capacity.store.tables import audit_entries
from holdfast.common.database import Statement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Row

    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.common.database import Transaction

CHANGES_BYTES_MAX: Final = 32_768
"""What the changes of one entry take as JSON at most; the largest ones beyond are only named."""

_ENTRIES: Final = """
INSERT INTO capacity.audit_entries (organization_id, event_id, create_time, id, actor, actor_roles, action,
  resource_type, resource_id, note, changes, omitted, request_id, trace_id)
SELECT $1, $2, $3, a.id, a.actor, a.actor_roles::text[], a.action, a.resource_type, a.resource_id, a.note,
  a.changes::jsonb, a.omitted::text[], a.request_id, a.trace_id
FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
  $12::text[], $13::text[], $14::text[])
  AS a (id, actor, actor_roles, action, resource_type, resource_id, note, changes, omitted, request_id, trace_id)"""

Cursor = tuple["datetime", str]


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry, and when it was made."""

    entry: AuditEntry
    create_time: datetime


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which entries a list shows; empty texts and None do not limit."""

    resource_type: str = ""
    resource_id: str = ""
    actor: str = ""
    action: str = ""
    from_time: datetime | None = None
    to_time: datetime | None = None


def written(inventory: Inventory, entries: Sequence[AuditEntry]) -> list[Statement]:
    """Write what was done to an event's inventory, at the time of the commit."""
    if not entries:
        return []
    fitting = [_fitting(each) for each in entries]
    authors = [each.author for each, _ in fitting]
    return [
        Statement(
            _ENTRIES,
            (
                inventory.organization_id,
                inventory.event_id,
                inventory.at,
                plain(each.entry_id for each, _ in fitting),
                texts([each.actor for each in authors]),
                lists(texts(each.roles) for each in authors),
                texts([each.action for each in authors]),
                texts([each.resource_type for each, _ in fitting]),
                texts([each.resource_id for each, _ in fitting]),
                texts([each.note for each in authors]),
                lists(changes for _, changes in fitting),
                lists(texts(each.omitted) for each, _ in fitting),
                texts([each.request_id for each in authors]),
                texts([each.trace_id for each in authors]),
            ),
        )
    ]


def _fitting(entry: AuditEntry) -> tuple[AuditEntry, str]:
    """Give an entry and its changes as JSON, without the largest ones as long as they are too much."""
    changes = json.dumps(entry.changes)
    while len(changes) > CHANGES_BYTES_MAX:
        sizes = {name: len(json.dumps(value)) for name, value in entry.changes.items()}
        entry = entry.without(max(sizes, key=sizes.__getitem__))
        changes = json.dumps(entry.changes)
    return entry, changes


async def changes_of(transaction: Transaction, entry_id: str) -> dict[str, Any] | None:
    """Return what an entry says was changed; None when there is no such entry."""
    result = await transaction.execute(
        select(audit_entries.c.changes).where(
            audit_entries.c.organization_id == transaction.organization_id, audit_entries.c.id == entry_id
        )
    )
    return result.scalar_one_or_none()


def _filtered(transaction: Transaction, wanted: EntryFilter) -> list[ColumnElement[bool]]:
    columns = audit_entries.c
    found = [columns.organization_id == transaction.organization_id]
    named = {
        columns.resource_type: wanted.resource_type,
        columns.resource_id: wanted.resource_id,
        columns.actor: wanted.actor,
        columns.action: wanted.action,
    }
    found += [column == value for column, value in named.items() if value]
    if wanted.from_time is not None:
        found.append(columns.create_time >= wanted.from_time)
    if wanted.to_time is not None:
        found.append(columns.create_time < wanted.to_time)
    return found


async def page(transaction: Transaction, wanted: EntryFilter, *, limit: int, after: Cursor | None) -> list[StoredEntry]:
    """Return a page of the organization's entries, newest first."""
    columns = audit_entries.c
    query = select(audit_entries).where(*_filtered(transaction, wanted))
    if after is not None:
        create_time, entry_id = after
        query = query.where(
            (columns.create_time < create_time) | ((columns.create_time == create_time) & (columns.id < entry_id))
        )
    result = await transaction.execute(query.order_by(columns.create_time.desc(), columns.id.desc()).limit(limit))
    return [_entry(row) for row in result]


def _entry(row: Row[Any]) -> StoredEntry:
    author = Author(
        actor=row.actor,
        action=row.action,
        roles=tuple(row.actor_roles),
        note=row.note,
        request_id=row.request_id,
        trace_id=row.trace_id,
    )
    resource_type = ResourceType(row.resource_type)
    return StoredEntry(
        AuditEntry(row.id, author, resource_type, row.resource_id, row.changes, tuple(row.omitted)), row.create_time
    )


async def count(transaction: Transaction, wanted: EntryFilter) -> int:
    """Count the organization's entries."""
    result = await transaction.execute(
        select(func.count()).select_from(audit_entries).where(*_filtered(transaction, wanted))
    )
    return int(result.scalar_one())
