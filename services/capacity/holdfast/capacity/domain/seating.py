"""A seating configuration → the sections that it makes, with all their rows and seats.

What cannot be built is refused with INVALID_SEATING_CONFIG and the path of the fault, `sections[1].name`, before
anything is laid out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.layouts import CATEGORIES_MAX, CATEGORY_LENGTH_MAX, FocalPoint, Layout
from holdfast.capacity.domain.numbering import DEFAULT, Numbering
from holdfast.capacity.domain.seat_rows import (
    PLAIN,
    AttributeChange,
    Row,
    Seat,
    SeatAttributes,
    SeatRun,
    compact,
    runs_of,
)
from holdfast.common.errors import DomainError, FieldViolation, Reason

if TYPE_CHECKING:
    from holdfast.common.money import Money

SEATS_MAX: Final = 100_000
SECTIONS_MAX: Final = 500
"""Sections of one configuration, subsections counted one by one."""
SUBSECTIONS_MAX: Final = 200
ROWS_MAX: Final = 1000
ROW_SEATS_MAX: Final = 1000
ROW_RUNS_MAX: Final = 200
OFFSET_MAX: Final = 1000
NAME_LENGTH_MAX: Final = 100
PRICE_MINOR_MAX: Final = 100_000_000_000
"""The highest price of a seat in minor units: what pricing takes."""

_LABEL: Final = re.compile(r"[^\W_]{1,8}")
_NOTHING: Final = AttributeChange()


@dataclass(frozen=True, slots=True)
class RunConfig:
    """`seats` adjacent seats, or a gap as wide as `gap` seats; exactly one of the two is not 0.

    `labels` are the seats' own, as many as there are seats; without them they get the next ones of the numbering, of
    which a label given by hand takes none. `numbered`, on a gap: the numbering goes on behind it as if it were seats.
    """

    seats: int = 0
    gap: int = 0
    labels: tuple[str, ...] = ()
    attributes: AttributeChange = _NOTHING
    numbered: bool = False


@dataclass(frozen=True, slots=True)
class RowConfig:
    """A row from left to right. Without a label it gets the next one of the numbering; `offset` as `Row` has it."""

    runs: tuple[RunConfig, ...]
    label: str = ""
    offset: int = 0


@dataclass(frozen=True, slots=True)
class SectionConfig:
    """One section: `rows` x `cols`, 0 = the configuration's, or rows of its own, the front row first.

    `subsections` equal parts, 0 = one without a number. `price` None = no price tier is wanted. `attributes` are what
    its seats are where their run does not say otherwise.
    """

    name: str
    price: Money | None = None
    subsections: int = 0
    rows: int = 0
    cols: int = 0
    row_layouts: tuple[RowConfig, ...] = ()
    numbering: Numbering | None = None
    focal_point: FocalPoint | None = None
    code: str | None = None
    tier: str | None = None
    attributes: AttributeChange = _NOTHING


@dataclass(frozen=True, slots=True)
class SeatingConfig:
    """Sections and all their seats; `rows`, `cols` and `numbering` are for sections that do not say otherwise."""

    sections: tuple[SectionConfig, ...]
    rows: int = 0
    cols: int = 0
    numbering: Numbering = DEFAULT


@dataclass(frozen=True, slots=True)
class PlannedSection:
    """A section to be made. `subsection` is its number of a split one; the parts of one share their layout."""

    name: str
    subsection: int | None
    layout: Layout
    price: Money | None = None
    code: str | None = None
    tier: str | None = None

    @property
    def title(self) -> str:
        """Its name with its number, `A-1`: the name of its price tier."""
        return title(self.name, self.subsection)


def title(name: str, subsection: int | None) -> str:
    """Give a section's name with its number: `A-1`, or `A` of one that is not split."""
    return name if subsection is None else f"{name}-{subsection}"


def refused(path: str, message: str) -> DomainError:
    """Give the error of a seating configuration that cannot be built."""
    return DomainError(
        Reason.INVALID_SEATING_CONFIG,
        f"{path}: {message}",
        metadata={"path": path},
        violations=(FieldViolation(field=path, message=message),),
    )


def grid(rows: int, cols: int, *, numbering: Numbering = DEFAULT) -> Layout:
    """Lay out `rows` equal rows of `cols` seats, each from 1 to 1,000."""
    runs = (SeatRun(place=1, labels=compact([str(number) for number in numbering.seat_numbers(cols)])),)
    return Layout(rows=tuple(Row(label=label, runs=runs) for label in numbering.row_labels(rows)))


def plan(config: SeatingConfig) -> tuple[PlannedSection, ...]:
    """Lay out all sections of a configuration, in its order, the parts of a split one by their number.

    Raises INVALID_SEATING_CONFIG with the path of the first fault.
    """
    if not config.sections:
        raise refused("sections", "there must be one at least")
    _check_size(config)
    _check_numbering(config.numbering, "numbering")
    planned: list[PlannedSection] = []
    titles: set[str] = set()
    for index, section in enumerate(config.sections):
        path = f"sections[{index}]"
        _check_section(section, path)
        layout = _layout(config, section, path)
        for number in range(1, section.subsections + 1) if section.subsections else (None,):
            name = title(section.name, number)
            if name in titles:
                raise refused(f"{path}.name", f"there is a section {name} already")
            titles.add(name)
            planned.append(
                PlannedSection(
                    name=section.name,
                    subsection=number,
                    layout=layout,
                    price=section.price,
                    code=section.code,
                    tier=section.tier,
                )
            )
    return tuple(planned)


def _check_size(config: SeatingConfig) -> None:
    """Refuse what is too large before anything of its size is made."""
    for name, value, limit in (("rows", config.rows, ROWS_MAX), ("cols", config.cols, ROW_SEATS_MAX)):
        if not 0 <= value <= limit:
            raise refused(name, f"must be from 0 to {limit}")
    seats = sections = 0
    for index, section in enumerate(config.sections):
        path = f"sections[{index}]"
        if not 0 <= section.subsections <= SUBSECTIONS_MAX:
            raise refused(f"{path}.subsections", f"must be from 0 to {SUBSECTIONS_MAX}")
        parts = section.subsections or 1
        sections += parts
        if sections > SECTIONS_MAX:
            raise refused(path, f"more than {SECTIONS_MAX} sections, subsections counted one by one")
        seats += parts * (_row_seats(section, path) if section.row_layouts else _grid_seats(config, section, path))
        if seats > SEATS_MAX:
            raise refused(path, f"more than {SEATS_MAX} seats")


def _grid_seats(config: SeatingConfig, section: SectionConfig, path: str) -> int:
    sides = (("rows", section.rows, config.rows, ROWS_MAX), ("cols", section.cols, config.cols, ROW_SEATS_MAX))
    for name, own, default, limit in sides:
        if not 0 <= own <= limit:
            raise refused(f"{path}.{name}", f"must be from 0 to {limit}")
        if not own and not default:
            raise refused(f"{path}.{name}", f"neither the section nor the configuration says how many {name}")
    return (section.rows or config.rows) * (section.cols or config.cols)


def _row_seats(section: SectionConfig, path: str) -> int:
    if section.rows or section.cols:
        raise refused(f"{path}.row_layouts", "cannot be combined with rows and cols")
    if len(section.row_layouts) > ROWS_MAX:
        raise refused(f"{path}.row_layouts", f"at most {ROWS_MAX} rows")
    seats = 0
    for index, row in enumerate(section.row_layouts):
        row_path = f"{path}.row_layouts[{index}]"
        if not 0 <= row.offset <= OFFSET_MAX:
            raise refused(f"{row_path}.offset", f"must be from 0 to {OFFSET_MAX}")
        if len(row.runs) > ROW_RUNS_MAX:
            raise refused(f"{row_path}.runs", f"at most {ROW_RUNS_MAX} runs")
        for place, run in enumerate(row.runs):
            _check_run(run, f"{row_path}.runs[{place}]")
        in_row = sum(run.seats for run in row.runs)
        if not 1 <= in_row <= ROW_SEATS_MAX:
            raise refused(f"{row_path}.runs", f"a row has from 1 to {ROW_SEATS_MAX} seats")
        seats += in_row
    return seats


def _check_run(run: RunConfig, path: str) -> None:
    if run.seats < 0 or run.gap < 0 or (run.seats > 0) == (run.gap > 0):
        raise refused(path, "must be either seats or a gap, of 1 at least")
    if run.gap > ROW_SEATS_MAX:
        raise refused(f"{path}.gap", f"must be from 1 to {ROW_SEATS_MAX}")
    if run.gap and run.attributes != _NOTHING:
        raise refused(f"{path}.attributes", "a gap has none")
    if run.seats and run.numbered:
        raise refused(f"{path}.numbered", "only a gap can be numbered")
    if run.labels and len(run.labels) != run.seats:
        raise refused(f"{path}.labels", "give as many labels as seats, or none")
    for index, label in enumerate(run.labels):
        if not _LABEL.fullmatch(label):
            raise refused(f"{path}.labels[{index}]", "must be 1 to 8 letters and digits")


def _check_section(section: SectionConfig, path: str) -> None:
    if not section.name.strip():
        raise refused(f"{path}.name", "must not be empty")
    if len(section.name) > NAME_LENGTH_MAX:
        raise refused(f"{path}.name", f"at most {NAME_LENGTH_MAX} characters")
    if section.price is not None:
        _check_price(section, section.price, path)
    if section.numbering is not None:
        _check_numbering(section.numbering, f"{path}.numbering")
    _attributes(PLAIN, section.attributes, f"{path}.attributes")


def _check_price(section: SectionConfig, price: Money, path: str) -> None:
    if price.minor < 0:
        raise refused(f"{path}.price", "must not be negative")
    if price.minor > PRICE_MINOR_MAX:
        raise refused(f"{path}.price", f"at most {PRICE_MINOR_MAX} of the currency's minor units")
    if len(title(section.name, section.subsections or None)) > NAME_LENGTH_MAX:
        raise refused(f"{path}.name", f"at most {NAME_LENGTH_MAX} characters with its number: its price is named so")


def _check_numbering(numbering: Numbering, path: str) -> None:
    for name, message in numbering.faults():
        raise refused(f"{path}.{name}", message)


def _layout(config: SeatingConfig, section: SectionConfig, path: str) -> Layout:
    numbering = section.numbering or config.numbering
    base = section.attributes.applied(PLAIN)
    if section.row_layouts:
        rows = _own_rows(section, numbering, base, path)
    else:
        shape = grid(section.rows or config.rows, section.cols or config.cols, numbering=numbering).rows
        runs = (SeatRun(place=1, labels=shape[0].runs[0].labels, attributes=base),)
        rows = tuple(Row(label=row.label, runs=runs) for row in shape)
    layout = Layout(rows=rows, focal_point=section.focal_point)
    if len(layout.categories) > CATEGORIES_MAX:
        raise refused(path, f"a section has at most {CATEGORIES_MAX} categories")
    return layout


def _own_rows(section: SectionConfig, numbering: Numbering, base: SeatAttributes, path: str) -> tuple[Row, ...]:
    labels = iter(_row_labels(section, numbering, path))
    alike: dict[tuple[int, tuple[RunConfig, ...]], tuple[SeatRun, ...]] = {}
    rows: list[Row] = []
    for index, config in enumerate(section.row_layouts):
        key = (config.offset, config.runs)
        if key not in alike:
            alike[key] = _row_runs(config, numbering, base, f"{path}.row_layouts[{index}]")
        rows.append(Row(label=next(labels), runs=alike[key], offset=config.offset))
    return tuple(rows)


def _row_labels(section: SectionConfig, numbering: Numbering, path: str) -> list[str]:
    """Name the rows: those without a label get the numbering's, of which a label given by hand takes none."""
    unnamed = sum(1 for row in section.row_layouts if not row.label)
    following = iter(numbering.row_labels(unnamed))
    labels: list[str] = []
    seen: set[str] = set()
    for index, row in enumerate(section.row_layouts):
        row_path = f"{path}.row_layouts[{index}].label"
        if row.label and not _LABEL.fullmatch(row.label):
            raise refused(row_path, "must be 1 to 8 letters and digits")
        label = row.label or next(following)
        if label in seen:
            raise refused(row_path, f"there is a row {label} already")
        seen.add(label)
        labels.append(label)
    return labels


def _row_runs(config: RowConfig, numbering: Numbering, base: SeatAttributes, path: str) -> tuple[SeatRun, ...]:
    slots = sum(run.seats or run.gap for run in config.runs if run.numbered or (run.seats and not run.labels))
    numbers = iter(numbering.seat_numbers(slots))
    place = config.offset + 1
    seats: list[Seat] = []
    seen: set[str] = set()
    for index, run in enumerate(config.runs):
        run_path = f"{path}.runs[{index}]"
        if run.gap:
            for _ in range(run.gap if run.numbered else 0):
                next(numbers)
            place += run.gap
            continue
        attributes = _attributes(base, run.attributes, f"{run_path}.attributes")
        for number in range(run.seats):
            label = run.labels[number] if run.labels else str(next(numbers))
            if label in seen:
                where = f".labels[{number}]" if run.labels else ""
                raise refused(f"{run_path}{where}", f"there is a seat {label} in the row already")
            seen.add(label)
            seats.append(Seat(place, label, attributes))
            place += 1
    return runs_of(seats)


def _attributes(base: SeatAttributes, change: AttributeChange, path: str) -> SeatAttributes:
    attributes = change.applied(base)
    if attributes.wheelchair and attributes.companion:
        raise refused(path, "a seat is a wheelchair place or a companion seat, not both")
    if len(attributes.category) > CATEGORY_LENGTH_MAX:
        raise refused(f"{path}.category", f"at most {CATEGORY_LENGTH_MAX} characters")
    return attributes
