"""Cases without the product: what its database can do with the same rows, one by one and in batches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Bench
    from benchmarks.results import Result
    from benchmarks.shows import Show

FOR_UPDATE_CONNECTIONS = (16, 64)
BATCHED_CONNECTIONS = (1, 2)
BATCH_SIZE = 200


def baseline_for_update(bench: Bench) -> Result:
    """Write the same rows, one transaction a hold, SELECT … FOR UPDATE on the section."""
    return _best(bench, "baseline_for_update", "for_update", FOR_UPDATE_CONNECTIONS)


def batched(bench: Bench) -> Result:
    """Write the same rows by array statements, one transaction for 200 holds: the database's own ceiling."""
    return _best(bench, "database_batched", "batched", BATCHED_CONNECTIONS)


def _best(bench: Bench, case: str, program: str, connections: Sequence[int]) -> Result:
    """Measure with each number of connections; the best one counts."""
    results = []
    for number in connections:
        show = bench.shows.make(f"{program}-{number}")
        hold_id = bench.shows.place(show)
        bench.say(f"  {number} connection{'s' if number > 1 else ''}")
        job = job_of(bench, show, hold_id) | {"calls": number}
        result = bench.repeat(case, "holds/s", lambda run, job=job: [(program, job | {"run": run})])  # type: ignore[misc] # the default binds the loop's value
        checked = bench.check(show, result, held_before=1)
        results.append(replace(checked, remarks=(*checked.remarks, f"{number} connections were best")))
    return max(results, key=lambda each: each.value)


def job_of(bench: Bench, show: Show, hold_id: str) -> dict[str, Any]:
    """Give what a load on the database needs: who it is, and which hold it copies."""
    return {
        **bench.timing(),
        "dsn": bench.stack.plan.dsns["capacity_service"],
        "buyers": bench.shows.buyers,
        "organization_id": show.organization_id,
        "event_id": show.event_id,
        "section_id": show.section_ids[0],
        "hold_id": hold_id,
        "batch": BATCH_SIZE,
    }
