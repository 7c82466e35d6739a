"""Who did what, as rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from holdfast.capacity.store.arrays import lists, plain, texts
from holdfast.capacity.store.tables import audit_entries
from holdfast.common.database import Statement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Row

    from holdfast.capacity.domain.audits import AuditEntry
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
                plain(each.entry_id for each in authors),
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


def filters(  # noqa: PLR0913 (what a list can be limited by)
    *,
    resource_type: str,
    resource_id: str,
    actor: str,
    action: str,
    from_time: datetime | None,
    to_time: datetime | None,
) -> list[ColumnElement[bool]]:
    """Say in SQL which entries a list shows; empty texts and None do not limit."""
    columns = audit_entries.c
    found: list[ColumnElement[bool]] = [
        column == value
        for column, value in (
            (columns.resource_type, resource_type),
            (columns.resource_id, resource_id),
            (columns.actor, actor),
            (columns.action, action),
        )
        if value
    ]
    if from_time is not None:
        found.append(columns.create_time >= from_time)
    if to_time is not None:
        found.append(columns.create_time < to_time)
    return found


async def page(
    transaction: Transaction, wanted: Sequence[ColumnElement[bool]], *, limit: int, after: Cursor | None
) -> Sequence[Row[Any]]:
    """Return a page of the organization's entries, newest first."""
    columns = audit_entries.c
    query = select(audit_entries).where(columns.organization_id == transaction.organization_id, *wanted)
    if after is not None:
        create_time, entry_id = after
        query = query.where(
            (columns.create_time < create_time) | ((columns.create_time == create_time) & (columns.id < entry_id))
        )
    result = await transaction.execute(query.order_by(columns.create_time.desc(), columns.id.desc()).limit(limit))
    return result.all()


async def count(transaction: Transaction, wanted: Sequence[ColumnElement[bool]]) -> int:
    """Count the organization's entries."""
    result = await transaction.execute(
        select(func.count())
        .select_from(audit_entries)
        .where(audit_entries.c.organization_id == transaction.organization_id, *wanted)
    )
    return int(result.scalar_one())
