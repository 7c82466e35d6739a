"""kill -9 of every process of the mesh while clients trade: it recovers, nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.conftest import KILLS_A_SHOW
from tests.faults.trial import new_show, trading
from tests.support.mesh import key
from tests.support.show import post

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.history import Operation
    from tests.faults.snapshot import Store
    from tests.faults.trial import Trial
    from tests.support.mesh import Mesh
    from tests.support.show import Show

pytestmark = pytest.mark.faults

MEANWHILE = 30
"""Operations that must be acknowledged while something that selling does not need is away."""
BETWEEN_KILLS = 30
"""Operations at most that are acknowledged between a recovery and the next kill."""
SELLING_NEEDS = {"gateway"}
PRICE_REFUSED = "503 DEPENDENCY_UNAVAILABLE pricing"


async def outage(trial: Trial, process: str) -> tuple[float, float]:
    """Kill a process while nothing restarts it, let clients trade without it, and return from when to when.

    The supervisor is frozen meanwhile, so that the outage lasts as long as the trade needs, not as long as a race.
    """
    with trial.mesh.frozen_supervisor():
        await trial.kill(process)
        gone = time.monotonic()
        await trial.recorder.wait_acknowledged(MEANWHILE, since=gone)
        return gone, time.monotonic()


def met_trouble(trial: Trial) -> list[Operation]:
    """Operations that were not answered at their first attempt with 200, 201 or 409."""
    return [each for each in trial.recorder.operations if each.refusals or each.attempts != 1]


@pytest.mark.parametrize("process", ["capacity", "postgres"])
async def test_nothing_acknowledged_is_lost_however_often_a_process_is_killed(
    mesh: Mesh, store: Store, history_path: Path, process: str, kills_seed: int
) -> None:
    chance = random.Random(kills_seed)  # noqa: S311 (reproducible)
    async with trading(mesh, store, seed=kills_seed, path=history_path) as trial:
        for _ in range(KILLS_A_SHOW):
            before = mesh.all_restarts()
            await trial.recorder.wait_acknowledged(chance.randint(1, BETWEEN_KILLS), since=time.monotonic())
            await trial.kill(process)
            await trial.recovered(process, before=before)
    await trial.check()


@pytest.mark.parametrize("process", ["events", "gateway"])
async def test_nothing_acknowledged_is_lost_when_a_process_is_killed(
    mesh: Mesh, store: Store, history_path: Path, process: str, seed: int
) -> None:
    async with trading(mesh, store, seed=seed, path=history_path) as trial:
        before = mesh.all_restarts()
        await trial.kill(process)
        await trial.recovered(process, before=before)
    if process not in SELLING_NEEDS:
        assert met_trouble(trial) == []
    await trial.check()


async def test_selling_does_not_notice_that_valkey_is_gone(
    mesh: Mesh, store: Store, history_path: Path, seed: int
) -> None:
    async with trading(mesh, store, seed=seed, path=history_path) as trial:
        before = mesh.all_restarts()
        await outage(trial, "valkey")
        await trial.recovered("valkey", before=before)
    assert met_trouble(trial) == []
    assert trial.recorder.statuses.keys() <= {200, 201, 409}
    await trial.check()


def pause_and_resume(mesh: Mesh, show: Show) -> None:
    """Pausing and resuming sales takes effect at once: the very next request sees it."""
    reserve = f"/api/v1/capacity/{show.section_id}/reserve"
    with mesh.client("organizer", subject="olga") as organizer, mesh.client("buyer", subject="bella") as buyer:
        paused = post(organizer, f"/api/v1/events/{show.event_id}/pause-sales", {}, expect=200)
        assert paused["effective"] is True
        refused = buyer.post(reserve, json={"quantity": 1}, headers={"Idempotency-Key": key()})
        assert (refused.status_code, refused.json()["code"]) == (409, "EVENT_NOT_ON_SALE")
        resumed = post(organizer, f"/api/v1/events/{show.event_id}/resume-sales", {}, expect=200)
        assert resumed["effective"] is True
        post(buyer, reserve, {"quantity": 1})


async def test_selling_and_pausing_do_not_notice_that_nats_is_gone(
    mesh: Mesh, store: Store, history_path: Path, seed: int
) -> None:
    other = await asyncio.to_thread(new_show, mesh)
    async with trading(mesh, store, seed=seed, path=history_path) as trial:
        before = mesh.all_restarts()
        with mesh.frozen_supervisor():
            await trial.kill("nats")
            gone = time.monotonic()
            await asyncio.to_thread(pause_and_resume, mesh, other)
            await trial.recorder.wait_acknowledged(MEANWHILE, since=gone)
        await trial.recovered("nats", before=before)
    assert met_trouble(trial) == []
    assert trial.recorder.statuses.keys() <= {200, 201, 409}
    await trial.check()


async def test_without_pricing_a_price_is_refused_and_the_rest_is_sold(
    mesh: Mesh, store: Store, history_path: Path, seed: int
) -> None:
    async with trading(mesh, store, seed=seed, path=history_path) as trial:
        before = mesh.all_restarts()
        await outage(trial, "pricing")
        await trial.recovered("pricing", before=before)
    priced_places = [each for each in met_trouble(trial) if each.op == "place" and each.priced]
    assert priced_places, "nobody asked for a price meanwhile"
    assert [each for each in met_trouble(trial) if each not in priced_places] == []
    assert {refusal for each in priced_places for refusal in each.refusals} == {PRICE_REFUSED}
    await trial.check()
