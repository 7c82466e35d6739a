"""Seats drawn as text."""

from __future__ import annotations

from google.protobuf import json_format

from holdfast.api.capacity.v1 import seat_map_pb2
from holdfast.local import seatmap


def section() -> seat_map_pb2.SectionSeatMap:
    """Two rows of eight and five seats: one of each state, and one of each kind."""
    drawn = seat_map_pb2.SectionSeatMap(
        section_id="s-1",
        name="Stalls",
        subsection=2,
        seat_count=13,
        active=True,
        taken=bytes([0b0000_1111, 0]),
        held=bytes([0b0001, 0]),
        pending=bytes([0b0010, 0]),
        sold=bytes([0b0100, 0]),
        blocked=bytes([0b1000, 0]),
    )
    for row in (
        {"label": "A", "runs": [{"seats": 4}, {"gap": 3}, {"seats": 4}]},
        {
            "label": "10",
            "offset": 2,
            "runs": [
                {"seats": 1, "attributes": {"wheelchair": True}},
                {"seats": 1, "attributes": {"companion": True}},
                {"seats": 1, "attributes": {"restricted_view": True}},
                {"seats": 2, "attributes": {"category": "Side"}},
            ],
        },
    ):
        json_format.ParseDict(row, drawn.row_layouts.add())
    return drawn


def drawn(*, width: int = 80) -> list[str]:
    return [line.plain for line in seatmap.draw(section(), width=width)]


def test_each_seat_is_a_character_of_its_state_and_gaps_stay_gaps() -> None:
    assert drawn() == ["Stalls-2: 9 of 13 seats free", " A  hpx#   oooo", "10    WCvoo"]


def test_no_line_is_wider_than_asked_for() -> None:
    wide = section()
    wide.row_layouts[0].runs[0].seats = 4
    json_format.ParseDict({"gap": 30}, wide.row_layouts[0].runs.add())
    lines = [line.plain for line in seatmap.draw(wide, width=24)]
    assert max(map(len, lines[1:])) <= 24
    assert lines[1:4] == ["places 1 to 20", " A  hpx#   oooo", "10    WCvoo"]
    assert (lines[4], lines[7]) == ("places 21 to 40", "places 41 to 41")
    assert len(lines) == 1 + 3 * 3


def test_a_section_is_chosen_by_id_name_or_title() -> None:
    other = seat_map_pb2.SectionSeatMap(section_id="s-2", name="Box")
    found = seat_map_pb2.SeatMap(sections=[section(), other])
    for wanted in ("s-1", "Stalls", "Stalls-2"):
        assert [each.section_id for each in seatmap.chosen(found, wanted)] == ["s-1"]
    assert len(seatmap.chosen(found, "")) == 2
    assert not seatmap.chosen(found, "Nowhere")


def test_a_closed_section_says_so() -> None:
    closed = section()
    closed.active = False
    assert seatmap.draw(closed, width=80)[0].plain == "Stalls-2: 9 of 13 seats free, closed"


def test_the_legend_names_every_mark() -> None:
    text = seatmap.legend().plain
    assert all(f"{mark.character} {mark.meaning}" in text for mark in seatmap.LEGEND)
    assert len({mark.character for mark in seatmap.LEGEND}) == len(seatmap.LEGEND)
