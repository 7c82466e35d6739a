"""What docs/migration.md points to exists, and every older name that the contracts know has its place in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from holdfast.api.common.v1 import policy_pb2
from holdfast.gateway.app import OPERATIONAL
from holdfast.gateway.outside import OUTSIDE

from .contracts import REPOSITORY, bindings, field_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor

    from .contracts import Contracts

DOCUMENT = (REPOSITORY / "docs" / "migration.md").read_text(encoding="utf-8")
NUMBERED = 35
PRD_ENDPOINTS = 6
NOTHING = "—"
# Columns in which every code span names something of ours.
OURS = ("here", "REST")

SPAN = re.compile(r"`([^`]+)`")
BINDING = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/\S+)")
OUTSIDE_PATH = re.compile(r"/api/\S+")
REASON = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+|INTERNAL|CANCELLED")
DOTTED = re.compile(r"[A-Z][A-Za-z]*(\.[A-Za-z_]+)+")
MESSAGE = re.compile(r"[A-Z][A-Za-z]*[a-z]")


@dataclass(frozen=True)
class Row:
    """One row of a table, by the names of its columns, under the headings above it."""

    heading: str
    cells: dict[str, str]

    @property
    def before(self) -> str:
        return self.cells.get("before", "")


def rows() -> Iterator[Row]:
    heading, columns = "", list[str]()
    for line in DOCUMENT.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if not line.startswith("|"):
            columns = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not columns:
            columns = cells
        elif not set(line) <= set("|-"):
            assert len(cells) == len(columns), f"not as many cells as columns: {line}"
            yield Row(heading, dict(zip(columns, cells, strict=True)))


class Names:
    """Everything that the contracts name."""

    def __init__(self, contracts: Contracts) -> None:
        self.messages: dict[str, list[Descriptor]] = {}
        for message in contracts.messages():
            self.messages.setdefault(_short(message.full_name), []).append(message)
        self.rpcs = {f"{method.containing_service.name}.{method.name}" for method in contracts.methods()}
        self.values = {f"{_short(enum.full_name)}.{value.name}" for enum in contracts.enums() for value in enum.values}
        self.bindings = {f"{one.verb} {one.path}" for method in contracts.methods() for one in bindings(method)}
        self.bindings |= {f"GET {path.decode()}" for path in OPERATIONAL}
        self.bindings_of = {
            f"{method.containing_service.name}.{method.name}": {f"{one.verb} {one.path}" for one in bindings(method)}
            for method in contracts.methods()
        }

    def has(self, name: str) -> bool:
        """Tell whether a code span names something that exists."""
        if BINDING.fullmatch(name):
            return name in self.bindings
        if OUTSIDE_PATH.fullmatch(name):
            return name in OUTSIDE
        if REASON.fullmatch(name):
            return f"Error.Reason.{name}" in self.values
        if DOTTED.fullmatch(name):
            message, _, field = name.partition(".")
            found = (field_at(each, field) for each in self.messages.get(message, ()))
            return name in self.rpcs or name in self.values or any(field is not None for field in found)
        return bool(MESSAGE.fullmatch(name)) and name in self.messages


@pytest.fixture(scope="module")
def names(contracts: Contracts) -> Names:
    return Names(contracts)


def test_what_it_points_to_exists(names: Names) -> None:
    gone = [
        f"{row.heading}: {row.before}: {span}"
        for row in rows()
        for column in OURS
        for span in SPAN.findall(row.cells.get(column, "") if row.heading != "What is different everywhere" else "")
        if not names.has(span)
    ]
    assert not gone, "\n".join(gone)


def test_what_its_notes_mention_exists(names: Names) -> None:
    """Notes speak of other things too; what looks like a name of ours is one."""
    looks_ours = re.compile(rf"{BINDING.pattern}|{DOTTED.pattern}|{REASON.pattern}")
    gone = [span for span in SPAN.findall(DOCUMENT) if looks_ours.fullmatch(span) and not names.has(span)]
    assert not gone, "\n".join(gone)


def test_a_path_belongs_to_the_rpc_beside_it(names: Names) -> None:
    wrong = [
        f"{rpc}: {path}"
        for row in rows()
        for rpc in SPAN.findall(row.cells.get("here", ""))
        if row.cells.get("REST", NOTHING) != NOTHING
        for path in SPAN.findall(row.cells["REST"])
        if path not in names.bindings_of.get(rpc, ())
    ]
    assert not wrong, "\n".join(wrong)


def test_every_numbered_endpoint_has_its_row() -> None:
    numbers = [row.cells["TT"] for row in rows() if "TT" in row.cells]
    assert numbers == [str(number) for number in range(1, NUMBERED + 1)]
    assert len([row for row in rows() if row.heading == "The PRD"]) == PRD_ENDPOINTS


def test_what_has_no_place_says_why() -> None:
    silent = [
        f"{row.heading}: {row.before}"
        for row in rows()
        if row.cells.get("here") == NOTHING and not (row.cells.get("note") or row.cells.get("what differs"))
    ]
    assert not silent


def test_every_row_points_somewhere_or_says_nothing_is_there() -> None:
    vague = [
        f"{row.heading}: {row.before}"
        for row in rows()
        if row.heading != "What is different everywhere"
        and "here" in row.cells
        and row.cells["here"] != NOTHING
        and not SPAN.fullmatch(row.cells["here"])
    ]
    assert not vague


def test_every_older_name_of_the_contracts_is_in_it(contracts: Contracts) -> None:
    told = [" ".join(row.cells.values()) for row in rows()]
    missing = [
        f"{old}, now {name}"
        for message in contracts.messages()
        for field in message.fields
        for old in field.GetOptions().Extensions[policy_pb2.hint].formerly
        for name in [f"{_short(message.full_name)}.{field.name}"]
        if not any(re.search(rf"\b{old}\b", text) and f"`{name}`" in text for text in told)
    ]
    assert not missing, "give each a row, or name it in a note\n" + "\n".join(missing)


@pytest.mark.parametrize(
    "name",
    [
        "POST /api/v1/evnts",
        "/api/v1/faxes",
        "EventService.PaintEvent",
        "Event.colour",
        "Event.State.ASLEEP",
        "HOLD_UNHEARD_OF",
        "EventPainted",
        "nothing at all",
    ],
)
def test_what_does_not_exist_is_found(name: str, names: Names) -> None:
    assert not names.has(name)


def _short(full_name: str) -> str:
    """Give a name without its package: `Event.State`."""
    return re.sub(r"^holdfast\.api\.\w+\.v\d+\.", "", full_name)
