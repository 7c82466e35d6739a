"""64 clients contend for 20 seats and a floor of 100 places, with holds that end by themselves: C1, C2, C3, C4, C8."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.alone import contest_of, stored, stubs
from tests.faults.checkers import inventory_faults
from tests.faults.history import Recorder
from tests.faults.workload import contend
from tests.integration.capacity.conftest import running

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.local.nats import EmbeddedNats
    from tests.support.postgres import TestDatabase

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("reaper", ["on", "off"])
async def test_contended_seats_are_never_claimed_twice(  # noqa: PLR0913, PLR0917 (fixtures)
    database: TestDatabase, nats_server: EmbeddedNats, identity_dir: Path, history_path: Path, seed: int, reaper: str
) -> None:
    async with running(database, nats_server.url, identity_dir, reaper=reaper, reaper_interval_seconds=0.1) as capacity:
        event_id, contest = await contest_of(capacity)
        recorder = Recorder(seed)
        await contend(recorder, contest, lambda number: stubs(capacity, f"user:{number}"))
        recorder.write(history_path)
        faults = inventory_faults(recorder.operations, await stored(capacity, event_id))
        assert not faults, f"{faults[:10]}; seed {seed}, history {history_path}"
        await capacity.check(event_id)
        assert capacity.deadlocks() == 0
    placed = {each.outcome for each in recorder.operations if each.op == "place"}
    assert placed == {"ok", "fail"}, "the clients did not contend"
