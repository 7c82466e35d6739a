"""An event's seats as text: a character a seat, rows from the front, gaps as gaps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.console import Console
from rich.text import Text

from holdfast.api.capacity.v1 import seat_map_pb2
from holdfast.api.common.v1 import seat_layout_pb2

WIDTH_MIN = 20
WIDTH_MAX = 1000


@dataclass(frozen=True, slots=True)
class Mark:
    """How a seat is drawn: its character, what that means, and its style where there are colours."""

    character: str
    meaning: str
    style: str


FREE = Mark("o", "free", "green")
RESTRICTED = Mark("v", "free, restricted view", "dark_olive_green3")
WHEELCHAIR = Mark("W", "free, wheelchair place", "bold green")
COMPANION = Mark("C", "free, companion seat", "bold cyan")
HELD = Mark("h", "held", "yellow")
PENDING = Mark("p", "being paid for", "magenta")
SOLD = Mark("x", "sold", "red")
BLOCKED = Mark("#", "out of sale", "bright_black")
LEGEND = (FREE, RESTRICTED, WHEELCHAIR, COMPANION, HELD, PENDING, SOLD, BLOCKED)
_NOTHING = Mark(" ", "no seat", "")


def legend() -> Text:
    """Give what the characters mean, in one line."""
    line = Text("legend:")
    for mark in LEGEND:
        line.append("  ").append(mark.character, style=mark.style).append(f" {mark.meaning}")
    return line


def title(section: seat_map_pb2.SectionSeatMap) -> str:
    """Give a section's name with its number: `A-1`, or `A` of one that is not split."""
    return f"{section.name}-{section.subsection}" if section.subsection else section.name


def chosen(seat_map: seat_map_pb2.SeatMap, wanted: str) -> list[seat_map_pb2.SectionSeatMap]:
    """Give the sections of an id, a name or a title, `A-1`; all of them if nothing is wanted."""
    return [each for each in seat_map.sections if wanted in ("", each.section_id, each.name, title(each))]


def draw(section: seat_map_pb2.SectionSeatMap, *, width: int) -> list[Text]:
    """Give a section's lines, none wider than `width`: what is wider is drawn in parts, one below the other.

    The section must come with its layout, and with its bitmaps as staff sees them.
    """
    free = section.seat_count - _count(section.taken)
    closed = "" if section.active else ", closed"
    date = f", date {section.schedule_id}" if section.schedule_id else ""
    lines = [Text(f"{title(section)}: {free} of {section.seat_count} seats free{closed}{date}", style="bold")]
    rows = list(_rows(section))
    margin = max(len(label) for label, _ in rows) + 2
    across = max(WIDTH_MIN, min(width, WIDTH_MAX)) - margin
    widest = max(len(marks) for _, marks in rows)
    for first in range(0, widest, across):
        if widest > across:
            lines.append(Text(f"places {first + 1} to {min(first + across, widest)}", style="italic"))
        for label, marks in rows:
            line = Text().append(f"{label:>{margin - 2}}  ", style="bold")
            for mark, alike in groupby(marks[first : first + across]):
                line.append(mark.character * len(list(alike)), style=mark.style)
            line.rstrip()
            lines.append(line)
    return lines


def show(seat_map: seat_map_pb2.SeatMap, *, section: str = "", width: int | None = None) -> bool:
    """Print an event's sections, or only one, with a legend; False if there are none. Colours only on a terminal.

    `width` None = the terminal's.
    """
    sections = chosen(seat_map, section)
    if not sections:
        return False
    console = Console(highlight=False)
    for each in sections:
        for line in draw(each, width=width or console.width):
            console.print(line, soft_wrap=True)
        console.print()
    console.print(legend(), soft_wrap=True)
    console.print(
        f"inventory version {seat_map.inventory_version}, {seat_map.server_time.ToJsonString()}", soft_wrap=True
    )
    return True


def _rows(section: seat_map_pb2.SectionSeatMap) -> Iterator[tuple[str, list[Mark]]]:
    index = 0
    for row in section.row_layouts:
        marks = [_NOTHING] * row.offset
        for run in row.runs:
            if run.gap:
                marks += [_NOTHING] * run.gap
                continue
            ordinary = _mark(run.attributes)
            marks += [_taken(section, seat) or ordinary for seat in range(index, index + run.seats)]
            index += run.seats
        yield row.label, marks


def _taken(section: seat_map_pb2.SectionSeatMap, seat: int) -> Mark | None:
    states: Sequence[tuple[bytes, Mark]] = (
        (section.held, HELD),
        (section.pending, PENDING),
        (section.sold, SOLD),
        (section.blocked, BLOCKED),
    )
    return next((mark for bitmap, mark in states if _is_set(bitmap, seat)), None)


def _mark(attributes: seat_layout_pb2.SeatAttributes) -> Mark:
    if attributes.wheelchair:
        return WHEELCHAIR
    if attributes.companion:
        return COMPANION
    return RESTRICTED if attributes.restricted_view else FREE


def _is_set(bitmap: bytes, seat: int) -> bool:
    return bool(bitmap[seat >> 3] >> (seat & 7) & 1)


def _count(bitmap: bytes) -> int:
    return int.from_bytes(bitmap, "little").bit_count()
