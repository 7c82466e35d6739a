"""Seating configurations: what they make, seat by seat, and where they are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.capacity.domain import bitmaps
from holdfast.capacity.domain.layouts import FocalPoint
from holdfast.capacity.domain.numbering import Numbering, RowScheme, SeatScheme
from holdfast.capacity.domain.seat_rows import AttributeChange
from holdfast.capacity.domain.seating import RowConfig, RunConfig, SeatingConfig, SectionConfig, plan
from holdfast.common.errors import DomainError, Reason
from holdfast.common.money import Money
from holdfast.pricing.domain import terms

WHEELCHAIR = RunConfig(seats=1, attributes=AttributeChange(wheelchair=True))
COMPANION = RunConfig(seats=1, attributes=AttributeChange(companion=True))


def section(*rows: RowConfig, numbering: Numbering | None = None, name: str = "A") -> SectionConfig:
    return SectionConfig(name=name, row_layouts=rows, numbering=numbering)


def row(*runs: RunConfig | int, label: str = "", offset: int = 0) -> RowConfig:
    """Lay out a row; a number stands for so many seats."""
    return RowConfig(
        runs=tuple(RunConfig(seats=run) if isinstance(run, int) else run for run in runs), label=label, offset=offset
    )


def labels(*rows: RowConfig, numbering: Numbering | None = None) -> list[str]:
    (planned,) = plan(SeatingConfig(sections=(section(*rows, numbering=numbering),)))
    return list(planned.layout.labels)


def refusal(config: SeatingConfig) -> str:
    """Give the path at which a configuration is refused."""
    with pytest.raises(DomainError) as refused:
        plan(config)
    assert refused.value.reason is Reason.INVALID_SEATING_CONFIG
    path = refused.value.metadata["path"]
    assert [violation.field for violation in refused.value.violations] == [path]
    return path


def test_rows_and_columns_in_two_subsections() -> None:
    price = Money(200_000, "USD")
    first, second = plan(
        SeatingConfig(rows=25, cols=20, sections=(SectionConfig(name="A", price=price, subsections=2),))
    )
    assert (first.title, second.title) == ("A-1", "A-2")
    assert [(part.name, part.subsection, part.price, part.layout.size) for part in (first, second)] == [
        ("A", 1, price, 500),
        ("A", 2, price, 500),
    ]
    assert first.layout is second.layout
    assert first.layout.labels[:2] == ("A-1", "A-2")
    assert first.layout.labels[-1] == "Y-20"
    assert first.layout.adjacent.bit_count() == 25 * 19


def test_the_small_theatre_seat_by_seat() -> None:
    stalls, box = plan(
        SeatingConfig(
            numbering=Numbering(rows=RowScheme.NUMBERS),
            sections=(
                SectionConfig(
                    name="Stalls",
                    price=Money(4850, "EUR"),
                    numbering=Numbering(rows=RowScheme.NUMBERS, seats=SeatScheme.ODD_LEFT_EVEN_RIGHT),
                    focal_point=FocalPoint(row=0, place=8),
                    row_layouts=(
                        row(6, RunConfig(gap=2), 6),
                        row(WHEELCHAIR, COMPANION, 8, COMPANION, WHEELCHAIR, offset=1),
                    ),
                ),
                SectionConfig(
                    name="Box",
                    price=Money(6000, "EUR"),
                    attributes=AttributeChange(category="Boxes"),
                    row_layouts=(
                        row(
                            RunConfig(seats=4, labels=("1", "2", "3", "4")),
                            RunConfig(seats=2, labels=("5", "6"), attributes=AttributeChange(restricted_view=True)),
                            label="L",
                        ),
                    ),
                ),
            ),
        )
    )
    numbers = (11, 9, 7, 5, 3, 1, 2, 4, 6, 8, 10, 12)
    assert stalls.title == "Stalls"
    assert stalls.layout.labels == tuple(f"{row}-{number}" for row in (1, 2) for number in numbers)
    assert [stalls.layout.seat_at(index)[1].place for index in range(24)] == [
        *range(1, 7), *range(9, 15), *range(2, 14),
    ]  # fmt: skip
    assert bitmaps.indexes_of(stalls.layout.wheelchair) == [12, 23]
    assert bitmaps.indexes_of(stalls.layout.companion) == [13, 22]
    assert bitmaps.indexes_of(stalls.layout.adjacent) == [*range(5), *range(6, 11), *range(12, 23)]
    assert stalls.layout.focal_point == FocalPoint(row=0, place=8)
    assert box.layout.labels == ("L-1", "L-2", "L-3", "L-4", "L-5", "L-6")
    assert bitmaps.indexes_of(box.layout.restricted_view) == [4, 5]
    assert bitmaps.indexes_of(box.layout.categories["Boxes"]) == list(range(6))
    assert box.price == Money(6000, "EUR")


def test_a_section_has_its_own_size_and_numbering() -> None:
    small, large = plan(
        SeatingConfig(
            rows=2,
            cols=3,
            numbering=Numbering(rows_from_back=True),
            sections=(SectionConfig(name="A", rows=1, cols=2, numbering=Numbering()), SectionConfig(name="B")),
        )
    )
    assert small.layout.labels == ("A-1", "A-2")
    assert large.layout.labels == ("B-1", "B-2", "B-3", "A-1", "A-2", "A-3")


def test_attributes_of_the_section_hold_for_all_its_seats_unless_a_run_says_otherwise() -> None:
    base = AttributeChange(category="Balkon", restricted_view=True)
    run = RunConfig(seats=2, attributes=AttributeChange(restricted_view=False))
    own, equal = plan(
        SeatingConfig(
            rows=1,
            cols=3,
            sections=(
                SectionConfig(name="A", attributes=base, row_layouts=(row(1, run),)),
                SectionConfig(name="B", attributes=base),
            ),
        )
    )
    assert bitmaps.indexes_of(own.layout.restricted_view) == [0]
    assert bitmaps.indexes_of(own.layout.categories["Balkon"]) == [0, 1, 2]
    assert equal.layout.restricted_view == equal.layout.all_seats


def test_a_gap_is_numbered_only_if_it_says_so() -> None:
    assert labels(row(2, RunConfig(gap=2), 2)) == ["A-1", "A-2", "A-3", "A-4"]
    assert labels(row(2, RunConfig(gap=2, numbered=True), 2)) == ["A-1", "A-2", "A-5", "A-6"]


def test_a_label_given_by_hand_takes_none_of_the_numbering() -> None:
    assert labels(row(2, RunConfig(seats=1, labels=("W",)), 2)) == ["A-1", "A-2", "A-W", "A-3", "A-4"]
    assert labels(row(1), row(1, label="P"), row(1)) == ["A-1", "P-1", "B-1"]
    assert labels(row(1), row(1, label="P"), row(1), numbering=Numbering(rows_from_back=True)) == ["B-1", "P-1", "A-1"]


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"name": ""}, "sections[1].name"),
        ({"name": "  "}, "sections[1].name"),
        ({"name": "x" * 101}, "sections[1].name"),
        ({"name": "A"}, "sections[1].name"),
        ({"price": Money(-1, "EUR")}, "sections[1].price"),
        ({"rows": 1001}, "sections[1].rows"),
        ({"cols": -1}, "sections[1].cols"),
        ({"subsections": 201}, "sections[1].subsections"),
        ({"subsections": -1}, "sections[1].subsections"),
        ({"rows": 1000, "cols": 100}, "sections[1]"),
        ({"numbering": Numbering(first_row="7")}, "sections[1].numbering.first_row"),
        ({"attributes": AttributeChange(wheelchair=True, companion=True)}, "sections[1].attributes"),
        ({"attributes": AttributeChange(category="x" * 51)}, "sections[1].attributes.category"),
        ({"row_layouts": (row(1),), "rows": 1}, "sections[1].row_layouts"),
        ({"row_layouts": (row(1),) * 1001}, "sections[1].row_layouts"),
        ({"row_layouts": (row(1), row())}, "sections[1].row_layouts[1].runs"),
        ({"row_layouts": (row(RunConfig(gap=1)),)}, "sections[1].row_layouts[0].runs"),
        ({"row_layouts": (row(1000, 1),)}, "sections[1].row_layouts[0].runs"),
        ({"row_layouts": (row(*[1] * 201),)}, "sections[1].row_layouts[0].runs"),
        ({"row_layouts": (row(1, offset=-1),)}, "sections[1].row_layouts[0].offset"),
        ({"row_layouts": (row(1, label="A-1"),)}, "sections[1].row_layouts[0].label"),
        ({"row_layouts": (row(1, label="x" * 9),)}, "sections[1].row_layouts[0].label"),
        ({"row_layouts": (row(1, label="P"), row(1, label="P"))}, "sections[1].row_layouts[1].label"),
        ({"row_layouts": (row(1), row(1, label="A"))}, "sections[1].row_layouts[1].label"),
        ({"row_layouts": (row(RunConfig()),)}, "sections[1].row_layouts[0].runs[0]"),
        ({"row_layouts": (row(RunConfig(seats=1, gap=1)),)}, "sections[1].row_layouts[0].runs[0]"),
        ({"row_layouts": (row(1, RunConfig(gap=1001)),)}, "sections[1].row_layouts[0].runs[1].gap"),
        (
            {"row_layouts": (row(1, RunConfig(gap=1, attributes=AttributeChange(wheelchair=True))),)},
            "sections[1].row_layouts[0].runs[1].attributes",
        ),
        ({"row_layouts": (row(RunConfig(seats=1, numbered=True)),)}, "sections[1].row_layouts[0].runs[0].numbered"),
        ({"row_layouts": (row(RunConfig(seats=2, labels=("1",))),)}, "sections[1].row_layouts[0].runs[0].labels"),
        (
            {"row_layouts": (row(RunConfig(seats=2, labels=("1", "a_b"))),)},
            "sections[1].row_layouts[0].runs[0].labels[1]",
        ),
        (
            {"row_layouts": (row(1, RunConfig(seats=1, labels=("1",))),)},
            "sections[1].row_layouts[0].runs[1].labels[0]",
        ),
        ({"row_layouts": (row(RunConfig(seats=1, labels=("1",)), 1),)}, "sections[1].row_layouts[0].runs[1]"),
        (
            {"row_layouts": (row(WHEELCHAIR),), "attributes": AttributeChange(companion=True)},
            "sections[1].row_layouts[0].runs[0].attributes",
        ),
        (
            {
                "row_layouts": (
                    row(*(RunConfig(seats=1, attributes=AttributeChange(category=str(n))) for n in range(51))),
                )
            },
            "sections[1]",
        ),
    ],
)
def test_a_faulty_section_is_refused_with_the_path_of_the_fault(changed: dict[str, object], path: str) -> None:
    fine = SectionConfig(name="B")
    config = SeatingConfig(rows=10, cols=10, sections=(SectionConfig(name="A"), fine))
    assert len(plan(config)) == 2
    faulty = replace(fine, **changed)  # type: ignore[arg-type]  # each case names fields of its own
    assert refusal(replace(config, sections=(SectionConfig(name="A"), faulty))) == path


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"sections": ()}, "sections"),
        ({"rows": 0}, "sections[0].rows"),
        ({"cols": 0}, "sections[0].cols"),
        ({"rows": -1}, "rows"),
        ({"cols": 1001}, "cols"),
        ({"numbering": Numbering(first_seat=-1)}, "numbering.first_seat"),
        ({"sections": tuple(SectionConfig(name=str(n), subsections=100) for n in range(6))}, "sections[5]"),
        ({"rows": 100, "cols": 100, "sections": (SectionConfig(name="A", subsections=11),)}, "sections[0]"),
        (
            {"sections": (SectionConfig(name="A", subsections=2), SectionConfig(name="A-2"))},
            "sections[1].name",
        ),
    ],
)
def test_a_faulty_configuration_is_refused_with_the_path_of_the_fault(changed: dict[str, object], path: str) -> None:
    config = SeatingConfig(rows=10, cols=10, sections=(SectionConfig(name="A"),))
    assert refusal(replace(config, **changed)) == path  # type: ignore[arg-type]  # each case names fields of its own


def test_the_limits_themselves_are_allowed() -> None:
    full = plan(SeatingConfig(rows=100, cols=100, sections=(SectionConfig(name="A", subsections=10),)))
    assert sum(part.layout.size for part in full) == 100_000
    many = tuple(SectionConfig(name=str(n), subsections=100) for n in range(5))
    assert len(plan(SeatingConfig(rows=1, cols=1, sections=many))) == 500


def test_the_highest_price_of_a_seat_is_what_pricing_takes() -> None:
    highest = Money(terms.PRICE_MINOR_MAX, "USD")
    config = SeatingConfig(sections=(SectionConfig("A", price=highest, rows=1, cols=1),))
    assert plan(config)[0].price == highest
    above = SeatingConfig(sections=(SectionConfig("A", price=highest + Money(1, "USD"), rows=1, cols=1),))
    with pytest.raises(DomainError) as refused:
        plan(above)
    assert refused.value.metadata == {"path": "sections[0].price"}
