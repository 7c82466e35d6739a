"""Seating configurations and layouts as the contracts write them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.protobuf import json_format

from holdfast.api.capacity.v1 import seat_pb2
from holdfast.api.common.v1 import seat_layout_pb2, seating_config_pb2
from holdfast.capacity import convert_seating as convert
from holdfast.capacity.domain.best_available import Wish
from holdfast.capacity.domain.bitmaps import mask_of
from holdfast.capacity.domain.numbering import Numbering, RowScheme, SeatScheme
from holdfast.capacity.domain.seat_map import ShownSeats
from holdfast.capacity.domain.seat_rows import AttributeChange, SeatAttributes
from holdfast.capacity.domain.seat_states import SeatStates
from holdfast.capacity.domain.seating import PlannedSection, plan
from holdfast.common.errors import DomainError, Reason
from holdfast.common.money import Money
from tests.unit.capacity.factories import section

THEATRE = """{"currency_code": "EUR", "numbering": {"rows": "NUMBERS"}, "sections": [
{"name": "Stalls", "price": "48.50", "numbering": {"rows": "NUMBERS", "seats": "ODD_LEFT_EVEN_RIGHT"},
"focal_point": {"row": 0, "place": 8}, "row_layouts": [
{"runs": [{"seats": 6}, {"gap": 2}, {"seats": 6}]},
{"offset": 1, "runs": [{"seats": 1, "attributes": {"wheelchair": true}},
{"seats": 1, "attributes": {"companion": true}}, {"seats": 8},
{"seats": 1, "attributes": {"companion": true}}, {"seats": 1, "attributes": {"wheelchair": true}}]}]},
{"name": "Box", "price": "60", "attributes": {"category": "Boxes"}, "row_layouts": [
{"label": "L", "runs": [{"seats": 4, "labels": ["1", "2", "3", "4"]},
{"seats": 2, "labels": ["5", "6"], "attributes": {"restricted_view": true}}]}]}]}"""
"""The example of GenerateSeating, as it stands in the contract."""


def config(text: str) -> seating_config_pb2.SeatingConfig:
    return json_format.Parse(text, seating_config_pb2.SeatingConfig())


def planned(text: str, currency_code: str = "USD") -> tuple[PlannedSection, ...]:
    return plan(convert.config_of(config(text), currency_code=currency_code))


def test_the_theatre_of_the_contract() -> None:
    stalls, box = planned(THEATRE)
    assert stalls.layout.size == 24
    assert stalls.layout.labels[:12] == tuple(f"1-{number}" for number in (11, 9, 7, 5, 3, 1, 2, 4, 6, 8, 10, 12))
    assert box.layout.labels == tuple(f"L-{number}" for number in range(1, 7))
    assert (stalls.price, box.price) == (Money(4850, "EUR"), Money(6000, "EUR"))
    assert (stalls.layout.wheelchair, stalls.layout.companion) == (mask_of([12, 23]), mask_of([13, 22]))
    assert box.layout.restricted_view == mask_of([4, 5])
    assert set(box.layout.categories) == {"Boxes"}
    focal = convert.focal_point_message(stalls.layout)
    assert focal is not None
    assert (focal.row, focal.place) == (0, 8)
    assert convert.focal_point_message(box.layout) is None


def test_rows_and_columns_in_the_currency_of_the_organization() -> None:
    parts = planned('{"rows": 25, "cols": 20, "sections": [{"name": "A", "price": "2000", "subsections": 2}]}')
    assert [(part.title, part.layout.size, part.price) for part in parts] == [
        ("A-1", 500, Money(200_000, "USD")),
        ("A-2", 500, Money(200_000, "USD")),
    ]


def test_a_free_section_is_not_one_without_a_price() -> None:
    free, unpriced = planned(
        '{"rows": 1, "cols": 1, "sections": [{"name": "A", "price": "0", "code": "AA", "tier": "VIP"}, {"name": "B"}]}'
    )
    assert (free.price, free.code, free.tier) == (Money(0, "USD"), "AA", "VIP")
    assert (unpriced.price, unpriced.code, unpriced.tier) == (None, None, None)


@pytest.mark.parametrize(("price", "currency"), [("1.5", "JPY"), ("1.234", "USD"), ("-1", "USD"), ("1e3", "USD")])
def test_a_price_that_is_no_amount_is_refused_with_its_path(price: str, currency: str) -> None:
    text = f'{{"rows": 1, "cols": 1, "sections": [{{"name": "A"}}, {{"name": "B", "price": "{price}"}}]}}'
    with pytest.raises(DomainError) as refused:
        planned(text, currency)
    assert refused.value.reason is Reason.INVALID_SEATING_CONFIG
    assert refused.value.metadata == {"path": "sections[1].price"}


def test_a_currency_that_there_is_not_is_refused_even_without_a_price() -> None:
    with pytest.raises(DomainError) as refused:
        planned('{"rows": 1, "cols": 1, "currency_code": "XYZ", "sections": [{"name": "A"}]}')
    assert refused.value.reason is Reason.UNKNOWN_CURRENCY


def test_numbering_is_read_with_every_field() -> None:
    message = config(
        '{"numbering": {"rows": "LETTERS_WITHOUT_I_O", "first_row": "L", "rows_from_back": true, "seats": "EVEN",'
        ' "first_seat": 0, "seats_from_right": true}, "sections": [{"name": "A", "numbering": {}}]}'
    )
    read = convert.config_of(message, currency_code="USD")
    assert read.numbering == Numbering(
        rows=RowScheme.LETTERS_WITHOUT_I_O,
        first_row="L",
        rows_from_back=True,
        seats=SeatScheme.EVEN,
        first_seat=0,
        seats_from_right=True,
    )
    assert read.sections[0].numbering == Numbering()


def test_rows_read_back_make_the_same_layout() -> None:
    for part in planned(THEATRE):
        again = seating_config_pb2.SeatingConfig(
            sections=[
                seating_config_pb2.SeatingSection(
                    name=part.name,
                    row_layouts=convert.row_messages(part.layout),
                    focal_point=convert.focal_point_message(part.layout),
                )
            ]
        )
        assert plan(convert.config_of(again, currency_code="USD"))[0].layout == part.layout


def test_a_gap_at_the_left_end_stands_in_the_rows_too() -> None:
    (part,) = planned(
        '{"sections": [{"name": "A", "row_layouts": [{"offset": 1, "runs": [{"gap": 2}, {"seats": 2}]}]}]}'
    )
    (row,) = convert.row_messages(part.layout)
    assert json_format.MessageToDict(row) == {
        "label": "A",
        "offset": 1,
        "runs": [{"gap": 2}, {"seats": 2, "labels": ["1", "2"]}],
    }


def test_a_layout_is_summed_up() -> None:
    stalls, box = planned(THEATRE)
    assert json_format.MessageToDict(convert.layout_message(stalls.layout), preserving_proto_field_name=True) == {
        "row_count": 2,
        "first_row": "1",
        "last_row": "2",
        "row_seats_min": 12,
        "row_seats_max": 12,
        "wheelchair_count": 2,
        "companion_count": 2,
        "layout_etag": "1",
    }
    assert list(convert.layout_message(box.layout).categories) == ["Boxes"]


def test_a_seat_map_shows_buyers_what_is_taken_and_staff_by_what() -> None:
    layout = planned(THEATRE)[1].layout
    states = SeatStates(held=0b1, pending=0b10, sold=0b100, blocked=0)
    of = ShownSeats(replace(section("box", total=6), name="Box", active=False), layout, states)
    shown = convert.section_seats_message(of, staff=False)
    assert (shown.section_id, shown.name, shown.seat_count, shown.active) == ("box", "Box", 6, False)
    assert shown.taken == b"\x07"
    assert not shown.held
    assert not shown.row_layouts
    staff = convert.section_seats_message(of, staff=True)
    assert (staff.held, staff.pending, staff.sold, staff.blocked) == (b"\x01", b"\x02", b"\x04", b"\x00")
    staff.MergeFromString(convert.written_layout(layout))
    assert [list(run.labels) for run in staff.row_layouts[0].runs] == [["1", "2", "3", "4"], ["5", "6"]]
    assert not staff.HasField("focal_point")


def test_best_available_and_attributes_are_read() -> None:
    message = seat_pb2.BestAvailable(
        quantity=4, allow_split=True, wheelchair_quantity=1, restricted_view_allowed=True, category="VIP"
    )
    assert convert.wish_of(message) == Wish(
        4, wheelchairs=1, allow_split=True, restricted_view_allowed=True, category="VIP"
    )
    change = seat_layout_pb2.SeatAttributes(category="", companion=False)
    assert convert.change_of(change) == AttributeChange(category="", companion=False)
    kind = SeatAttributes(category="VIP", wheelchair=True)
    assert convert.attributes_message(kind) == seat_layout_pb2.SeatAttributes(category="VIP", wheelchair=True)
