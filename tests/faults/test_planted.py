"""Faults planted behind the back of a running mesh: the checkers and VerifyInventory find them there, too."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.checkers import all_faults, changes_are_messages, consumers_agree
from tests.faults.snapshot import bury, delete_message, from_stream, settled
from tests.faults.trial import trading, verify_inventory

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.snapshot import Store
    from tests.support.mesh import Mesh
    from tests.support.show import Show

pytestmark = pytest.mark.faults


@dataclass(frozen=True)
class Plant:
    """SQL that breaks an inventory, what a checker says of it, and which counter VerifyInventory names."""

    statements: tuple[str, ...]
    told: str
    counter: str


PLANTS = {
    "a counter drifts": Plant(
        (
            """UPDATE capacity.sections SET held = held + 1
            WHERE organization_id = %(organization)s AND event_id = %(event)s""",
        ),
        "held is",
        "held",
    ),
    "a line of a hold is lost": Plant(
        (
            """DELETE FROM capacity.hold_lines WHERE organization_id = %(organization)s AND hold_id = (
              SELECT min(id) FROM capacity.holds
              WHERE organization_id = %(organization)s AND event_id = %(event)s AND state = 'ACTIVE')""",
        ),
        "has ()",
        "held",
    ),
    "a sale is lost": Plant(
        (
            """DELETE FROM capacity.sale_lines WHERE organization_id = %(organization)s AND sale_id = (
              SELECT min(id) FROM capacity.sales WHERE organization_id = %(organization)s AND event_id = %(event)s)""",
            """DELETE FROM capacity.sales WHERE organization_id = %(organization)s AND id = (
              SELECT min(id) FROM capacity.sales WHERE organization_id = %(organization)s AND event_id = %(event)s)""",
        ),
        "there is no sale",
        "sold",
    ),
    "a change of the journal is another one": Plant(
        (
            """UPDATE capacity.inventory_changes SET body = (
              SELECT body FROM capacity.inventory_changes
              WHERE organization_id = %(organization)s AND event_id = %(event)s AND version = 4)
            WHERE organization_id = %(organization)s AND event_id = %(event)s AND version = 5""",
        ),
        "journal has versions",
        "version",
    ),
}
WRONG_FIGURES = """UPDATE events.event_figures SET sold = sold + 1
WHERE organization_id = %(organization)s AND event_id = %(event)s"""


def plant(store: Store, show: Show, *statements: str) -> None:
    """Execute statements that must each change something."""
    for statement in statements:
        assert store.execute(statement, {"organization": show.organization_id, "event": show.event_id}) > 0


@pytest.mark.parametrize("planted", [pytest.param(each, id=name) for name, each in PLANTS.items()])
async def test_a_fault_in_the_inventory_is_found_by_the_checkers_and_by_the_service(
    mesh: Mesh, store: Store, history_path: Path, planted: Plant
) -> None:
    async with trading(mesh, store, seed=0, path=history_path) as trial:
        pass
    await trial.check()
    await asyncio.to_thread(plant, store, trial.show, *planted.statements)
    faults = all_faults(trial.recorder.operations, await settled(store, trial.show))
    assert any(planted.told in fault for fault in faults), faults
    verified: dict[str, Any] = await asyncio.to_thread(verify_inventory, mesh, trial.show)
    assert verified["consistent"] is False
    assert planted.counter in {difference["counter"] for difference in verified["differences"]}


async def test_a_lost_message_a_dead_one_and_wrong_figures_are_found(
    mesh: Mesh, store: Store, history_path: Path
) -> None:
    async with trading(mesh, store, seed=0, path=history_path) as trial:
        pass
    await trial.check()
    await delete_message(store, trial.show, number=7)
    await bury(store, trial.show)
    await asyncio.to_thread(plant, store, trial.show, WRONG_FIGURES)
    snapshot = await settled(store, trial.show)
    assert changes_are_messages(snapshot) == ["version 7 is not in the stream"]
    (figures, dead) = consumers_agree(snapshot)
    assert "events keeps" in figures
    assert dead == "consumers gave up on 1 messages"
    assert len(await from_stream(store, trial.show)) == snapshot.version - 1
