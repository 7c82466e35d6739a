"""Making, changing and reading sections, each inside a given transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from holdfast.capacity.domain.controls import EventState
from holdfast.capacity.domain.inventory import TidyFirst
from holdfast.capacity.domain.planning import check_maxima
from holdfast.capacity.domain.sections import Counters, Section
from holdfast.capacity.engine.unit import close_inventory, open_inventory
from holdfast.capacity.operations.access import event_not_found, section_not_found
from holdfast.capacity.operations.reclaiming import load_expired
from holdfast.capacity.store import sections as store
from holdfast.capacity.store import snapshots
from holdfast.common import idempotency
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.capacity.store.snapshots import Cursor, Snapshot
    from holdfast.common.database import Transaction
    from holdfast.common.idempotency import RequestKey


@dataclass(frozen=True, slots=True)
class SectionsRead:
    """Sections as they stood at a version. `total` counts the whole list, if asked for."""

    snapshot: Snapshot
    total: int | None = None
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over an event's sections."""

    snapshot: Snapshot
    counters: Counters
    active: int


async def create_section(  # noqa: PLR0913 (an operation's parts)
    transaction: Transaction,
    event_id: str,
    *,
    section_id: str,
    settings: Mapping[str, Any],
    total: int,
    key: RequestKey | None,
) -> SectionsRead:
    """Make a section under the event's lock."""
    inventory = await open_inventory(transaction, event_id)
    if inventory is None or inventory.controls.deleted:
        raise event_not_found(event_id)
    known = await idempotency.replayed(transaction, key)
    if known is not None:
        return await get_section(transaction, known, hidden=True, replayed=True)
    if inventory.controls.state is EventState.CANCELLED:
        raise DomainError(Reason.EVENT_CANCELLED, "the event is cancelled", metadata={"event_id": event_id})
    settings = {"schedule_id": None, **settings}
    schedule_id = settings["schedule_id"]
    if schedule_id is not None and inventory.controls.schedule(schedule_id) is None:
        raise DomainError(
            Reason.SCHEDULE_NOT_FOUND, "the event has no such date", metadata={"schedule_id": schedule_id}
        )
    section = Section(
        section_id=section_id,
        event_id=event_id,
        counters=Counters(total=total),
        create_time=inventory.at,
        update_time=inventory.at,
        **settings,
    ).checked()
    _check_name(inventory.sections, section)
    inventory.put_section(section, new=True)
    check_maxima(inventory, section)
    await idempotency.record(transaction, key, section_id)
    await close_inventory(transaction, inventory)
    return await get_section(transaction, section_id, hidden=True)


async def update_section(  # noqa: PLR0913 (an operation's parts)
    transaction: Transaction,
    section_id: str,
    *,
    settings: Mapping[str, Any],
    total: int | None,
    etag: str,
    key: RequestKey | None,
) -> SectionsRead:
    """Change a section's settings or total under the event's lock. Raises TidyFirst."""
    event_id = await store.find_event(transaction, section_id)
    inventory = None if event_id is None else await open_inventory(transaction, event_id)
    if inventory is None:
        raise section_not_found(section_id)
    if await idempotency.replayed(transaction, key) is not None:
        return await get_section(transaction, section_id, hidden=True, replayed=True)
    section = inventory.section(section_id)
    if etag and etag != section.etag:
        raise DomainError(
            Reason.ETAG_MISMATCH, "the section changed since it was read", metadata={"etag": section.etag}
        )
    counters = section.counters if total is None else replace(section.counters, total=total)
    changed = replace(section, counters=counters, revision=section.revision + 1, update_time=inventory.at, **settings)
    _check_name(inventory.sections, changed)
    inventory.put_section(changed)
    if counters.available < 0:
        # Places of holds whose time is over are not committed, whether or not they were tidied up.
        await load_expired(transaction, inventory, {section_id: 0})
        inventory.reclaim(section_id, 0)
        if inventory.sections[section_id].counters.available < 0 and inventory.untidied(section_id):
            raise TidyFirst(inventory.event_id)
    inventory.sections[section_id].checked()
    if counters.total > section.counters.total:
        # A venue that became smaller binds what grows, not what is there.
        check_maxima(inventory, changed)
    await idempotency.record(transaction, key, section_id)
    await close_inventory(transaction, inventory)
    return await get_section(transaction, section_id, hidden=True)


def _check_name(sections: Mapping[str, Section], wanted: Section) -> None:
    """Raise SECTION_EXISTS for a name that is taken. The event's lock is held; a unique index stands behind it."""
    for section in sections.values():
        same = (section.schedule_id, section.name, section.subsection) == (
            wanted.schedule_id,
            wanted.name,
            wanted.subsection,
        )
        if same and section.section_id != wanted.section_id:
            raise DomainError(
                Reason.SECTION_EXISTS,
                "the event has a section of this name, schedule and subsection",
                metadata={"section_id": section.section_id},
            )


async def get_section(
    transaction: Transaction, section_id: str, *, hidden: bool, replayed: bool = False
) -> SectionsRead:
    """Read a section; one that is not visible only if `hidden` ones may be seen."""
    snapshot = await snapshots.of_section(transaction, section_id)
    if snapshot is None or not (hidden or snapshot.views[0].section.visible):
        raise section_not_found(section_id)
    return SectionsRead(snapshot, replayed=replayed)


async def list_sections(  # noqa: PLR0913 (an operation's parts)
    transaction: Transaction, event_id: str, *, limit: int, after: Cursor | None, hidden: bool, with_total: bool
) -> SectionsRead:
    """Read a page of an event's sections."""
    snapshot = await snapshots.page(transaction, event_id, limit=limit, after=after, hidden=hidden)
    if snapshot is None:
        raise event_not_found(event_id)
    total = await store.count(transaction, event_id, hidden=hidden) if with_total else None
    return SectionsRead(snapshot, total=total)


async def get_totals(transaction: Transaction, event_id: str) -> Totals:
    """Add up an event's sections."""
    snapshot = await snapshots.of_event(transaction, event_id)
    if snapshot is None:
        raise event_not_found(event_id)
    counters = Counters()
    for view in snapshot.views:
        (held, pending), known = view.untidied, view.section.counters
        counters = counters.plus(replace(known, held=known.held - held, pending=known.pending - pending))
    return Totals(snapshot, counters, active=sum(view.section.active for view in snapshot.views))
