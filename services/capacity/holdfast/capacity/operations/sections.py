"""Making, changing and reading sections."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from holdfast.capacity.domain.attributes import focused
from holdfast.capacity.domain.blocking import BLOCKS_MAX, delete, set_buffer
from holdfast.capacity.domain.controls import EventState
from holdfast.capacity.domain.etags import check_etag
from holdfast.capacity.domain.inventory import TidyFirst
from holdfast.capacity.domain.planning import check_maxima
from holdfast.capacity.domain.sections import Counters, Section, SectionKind
from holdfast.capacity.operations.access import event_not_found, section_not_found
from holdfast.capacity.operations.layouts import store_layout, with_layouts
from holdfast.capacity.store import sections as store
from holdfast.capacity.store import snapshots
from holdfast.common.errors import DomainError, FieldViolation, Reason, invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from holdfast.capacity.domain.blocks import Act
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.engine.layouts import Layouts
    from holdfast.capacity.engine.needs import Needs
    from holdfast.capacity.engine.reading import Reader
    from holdfast.capacity.engine.unit import Unit
    from holdfast.capacity.store.snapshots import Cursor, SectionView, Snapshot
    from holdfast.common.database import Pipeline, Transaction
    from holdfast.common.idempotency import RequestKey


@dataclass(frozen=True, slots=True)
class SectionsRead:
    """Sections as they stood at a version. `total` counts the whole list, if asked for."""

    snapshot: Snapshot
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over an event's sections."""

    snapshot: Snapshot
    counters: Counters
    active: int


@dataclass(frozen=True, slots=True)
class NewSection:
    """A section asked for: its settings by field name, and where the request has it."""

    section_id: str
    settings: Mapping[str, Any]
    total: int
    field: str = "section"


@dataclass(frozen=True, slots=True)
class SectionsMade:
    """Ids of sections that a request made, now or before."""

    section_ids: tuple[str, ...]
    version: int
    replayed: bool = False


def make_sections(
    unit: Unit, key: RequestKey | None, planned: Callable[[Inventory], Sequence[Section]]
) -> SectionsMade:
    """Make the sections that `planned` gives, all or none, or answer those that the same request made.

    Raises EVENT_NOT_FOUND, EVENT_CANCELLED, VENUE_CAPACITY_EXCEEDED, and what `planned` does.
    """
    known = find_made(unit, key)
    if known is not None:
        return known
    inventory = unit.inventory
    made = check_new(inventory, planned)
    for section in made:
        inventory.put_section(section, new=True)
    section_ids = tuple(section.section_id for section in made)
    unit.record(key, ",".join(section_ids))
    return SectionsMade(section_ids, inventory.next_version)


def find_made(unit: Unit, key: RequestKey | None) -> SectionsMade | None:
    """Give the sections that the same request made before; None if it is new. Raises EVENT_NOT_FOUND."""
    inventory = unit.inventory
    if inventory.controls.deleted:
        raise event_not_found(inventory.event_id)
    known = unit.replayed(key)
    return None if known is None else SectionsMade(tuple(known.split(",")), inventory.version, replayed=True)


def check_new(inventory: Inventory, planned: Callable[[Inventory], Sequence[Section]]) -> Sequence[Section]:
    """Give the sections that `planned` gives, if they may be made. Raises as `make_sections`."""
    if inventory.controls.state is EventState.CANCELLED:
        raise DomainError(Reason.EVENT_CANCELLED, "the event is cancelled", metadata={"event_id": inventory.event_id})
    made = planned(inventory)
    check_maxima(inventory, made)
    return made


@dataclass(frozen=True, slots=True)
class CreateSections:
    """Makes sections, all or none, checked together against the maxima."""

    sections: tuple[NewSection, ...]
    key: RequestKey | None

    def need(self, needs: Needs) -> None:
        """Ask for all sections: the maxima are sums over them."""
        needs.all_sections = True
        if self.key is not None:
            needs.keys.add(self.key)

    def decide(self, unit: Unit) -> SectionsMade:
        """Make them."""
        return make_sections(unit, self.key, self._made)

    def _made(self, inventory: Inventory) -> list[Section]:
        """Give the sections as they shall be; VALIDATION_FAILED tells what is wrong with each of them."""
        made: list[Section] = []
        faults: list[FieldViolation] = []
        for wanted in self.sections:
            try:
                section = _section(inventory, wanted)
                if any(_same_name(section, other) for other in made):
                    raise invalid(f"{wanted.field}.name", "another section of the request has this name")
            except DomainError as error:
                if error.reason is not Reason.VALIDATION_FAILED:
                    raise
                faults += error.violations
                continue
            check_name(inventory.standing_sections, section)
            made.append(section)
        if faults:
            raise DomainError(Reason.VALIDATION_FAILED, "sections cannot be made as asked for", violations=faults)
        return made


def _section(inventory: Inventory, wanted: NewSection) -> Section:
    settings = {"schedule_id": None, **wanted.settings}
    if settings.pop("focal_point", None) is not None:
        raise invalid(f"{wanted.field}.focal_point", "only a section with seats has one")
    check_date(inventory, settings["schedule_id"])
    if settings.get("kind") is SectionKind.SEATED:
        raise invalid(f"{wanted.field}.kind", "seated sections are made together with their seats")
    return Section(
        section_id=wanted.section_id,
        event_id=inventory.event_id,
        counters=Counters(total=wanted.total),
        create_time=inventory.at,
        update_time=inventory.at,
        **settings,
    ).checked(wanted.field)


@dataclass(frozen=True, slots=True)
class UpdateSection:
    """Changes a section's settings or total."""

    section_id: str
    settings: Mapping[str, Any]
    total: int | None
    etag: str
    key: RequestKey | None

    def need(self, needs: Needs) -> None:
        """Ask for all sections: names are unique, and the maxima are sums over them."""
        needs.all_sections = True
        if self.total is not None:
            needs.more.append(self._load)
        if self.key is not None:
            needs.keys.add(self.key)

    async def _load(self, unit: Unit, pipeline: Pipeline, reader: Reader) -> None:
        """Read expired holds if only they keep the total from being cut so far."""
        section = unit.inventory.sections.get(self.section_id)
        if section is not None and self.total is not None:
            missing = section.counters.committed - self.total
            if missing > 0:
                await reader.load_short(pipeline, unit.inventory, {self.section_id: missing})

    def decide(self, unit: Unit) -> SectionsMade:
        """Change it. Raises TidyFirst."""
        inventory = unit.inventory
        section = inventory.section(self.section_id)
        if unit.replayed(self.key) is not None:
            return SectionsMade((self.section_id,), inventory.version, replayed=True)
        check_etag(section.etag, self.etag, "section")
        before = section.counters.total
        total = before if self.total is None else self.total
        if section.seated and total != before:
            raise invalid("section.total", "is the number of seats")
        if total < section.counters.committed:
            # Places of holds whose time is over are not committed, whether or not they were tidied up.
            inventory.reclaim(self.section_id, before - total)
            if total < section.counters.committed and inventory.untidied(self.section_id):
                raise TidyFirst(inventory.event_id)
        settings = dict(self.settings)
        layout = None
        if "focal_point" in settings:
            layout = focused(inventory, section, settings.pop("focal_point"))
            settings["layout_revision"] = layout.revision if layout else section.layout_revision
        changed = replace(
            section,
            counters=replace(section.counters, total=total),
            revision=section.revision + 1,
            update_time=inventory.at,
            **settings,
        ).checked()
        check_name(inventory.standing_sections, changed)
        if total > before:
            # A venue that became smaller binds what grows, not what is there.
            check_maxima(inventory, [changed])
        inventory.put_section(changed)
        if layout is not None:
            inventory.seatings[self.section_id].layout = layout
            store_layout(unit, self.section_id)
        unit.record(self.key, self.section_id)
        return SectionsMade((self.section_id,), inventory.next_version)


def check_date(inventory: Inventory, schedule_id: str | None) -> None:
    """Raise SCHEDULE_NOT_FOUND unless the event has the date; None is every date."""
    if schedule_id is not None and inventory.controls.schedule(schedule_id) is None:
        raise DomainError(
            Reason.SCHEDULE_NOT_FOUND, "the event has no such date", metadata={"schedule_id": schedule_id}
        )


def check_name(sections: Iterable[Section], wanted: Section) -> None:
    """Raise SECTION_EXISTS for a name that is taken. The event's lock is held; a unique index stands behind it."""
    for section in sections:
        if _same_name(section, wanted) and section.section_id != wanted.section_id:
            raise DomainError(
                Reason.SECTION_EXISTS,
                "the event has a section of this name, schedule and subsection",
                metadata={"section_id": section.section_id},
            )


def _same_name(one: Section, other: Section) -> bool:
    return (one.schedule_id, one.name, one.subsection) == (other.schedule_id, other.name, other.subsection)


@dataclass(frozen=True, slots=True)
class DeleteSection:
    """Deletes a section; one that is deleted already stays as it is."""

    section_id: str
    etag: str
    act: Act
    key: RequestKey

    def need(self, needs: Needs) -> None:
        """Ask for the section, its blocks, and what of its holds is over."""
        needs.sections.add(self.section_id)
        needs.keys.add(self.key)
        needs.more.append(self._load)

    async def _load(self, unit: Unit, pipeline: Pipeline, reader: Reader) -> None:
        await reader.load_section(pipeline, unit.inventory, self.section_id, blocks_max=BLOCKS_MAX + 1)

    def decide(self, unit: Unit) -> bool:
        """Delete it; tells whether that is a repetition. Raises TidyFirst."""
        section = unit.inventory.sections.get(self.section_id)
        if section is None:
            raise section_not_found(self.section_id)
        if unit.replayed(self.key) is not None:
            return True
        delete(unit.inventory, section, etag=self.etag, act=self.act)
        unit.record(self.key, self.section_id)
        return False


@dataclass(frozen=True, slots=True)
class SetBuffer:
    """Keeps places of a section back."""

    section_id: str
    quantity: int
    etag: str
    key: RequestKey

    def need(self, needs: Needs) -> None:
        """Ask for the section, and for what is over if places are short."""
        needs.want(self.section_id, self.quantity)
        needs.keys.add(self.key)

    def decide(self, unit: Unit) -> SectionsMade:
        """Set it. Raises TidyFirst."""
        inventory = unit.inventory
        before = inventory.section(self.section_id)
        if unit.replayed(self.key) is not None:
            return SectionsMade((self.section_id,), inventory.version, replayed=True)
        changed = set_buffer(inventory, self.section_id, self.quantity, etag=self.etag)
        unit.record(self.key, self.section_id)
        version = inventory.version if changed is before else inventory.next_version
        return SectionsMade((self.section_id,), version)


async def get_section(transaction: Transaction, section_id: str, *, layouts: Layouts, hidden: bool) -> SectionsRead:
    """Read a section; one that is not visible only if `hidden` ones may be seen."""
    snapshot = await snapshots.of_section(transaction, section_id)
    if snapshot is None or not (hidden or snapshot.views[0].section.visible):
        raise section_not_found(section_id)
    return SectionsRead(await with_layouts(transaction, layouts, snapshot))


async def get_sections(
    transaction: Transaction, event_id: str, section_ids: Sequence[str], *, layouts: Layouts
) -> list[SectionView]:
    """Read sections that a request made, in its order; those that were deleted since are left out."""
    snapshot = await snapshots.of_sections(transaction, event_id, section_ids)
    if snapshot is None:
        return []
    found = await with_layouts(transaction, layouts, snapshot)
    views = {view.section.section_id: view for view in found.views}
    return [views[section_id] for section_id in section_ids if section_id in views]


async def list_sections(  # noqa: PLR0913 (an operation's parts)
    transaction: Transaction,
    event_id: str,
    *,
    layouts: Layouts,
    limit: int,
    after: Cursor | None,
    hidden: bool,
    with_total: bool,
) -> SectionsRead:
    """Read a page of an event's sections."""
    snapshot = await snapshots.page(transaction, event_id, limit=limit, after=after, hidden=hidden)
    if snapshot is None:
        raise event_not_found(event_id)
    total = await store.count(transaction, event_id, hidden=hidden) if with_total else None
    return SectionsRead(await with_layouts(transaction, layouts, snapshot), total=total)


async def get_totals(transaction: Transaction, event_id: str) -> Totals:
    """Add up an event's sections."""
    snapshot = await snapshots.of_event(transaction, event_id)
    if snapshot is None:
        raise event_not_found(event_id)
    counters = Counters()
    for view in snapshot.views:
        counters = counters.plus(view.counters)
    return Totals(snapshot, counters, active=sum(view.section.active for view in snapshot.views))
