"""What a hold costs once very many others are live."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks import rest
from benchmarks.live_holds import add_live_holds
from benchmarks.results import summarize

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.results import Result, Run
    from benchmarks.shows import Show

FEW = 1_000
TIDYING = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'"
"""PostgreSQL looks through what was filled in; that is over before anything is measured."""

TIDY_SECONDS_MAX = 120.0
TIDY_POLL_SECONDS = 0.5
TABLES = ("holds", "hold_lines", "sections", "event_inventories", "inventory_changes")
SECONDS_MAX = 2.0
"""Runs are short: while they last, what they place is added to the few."""


def hold_at_1m(bench: Bench) -> Result:
    """Place holds on a section with a million live holds, and on one with a thousand before there were so many."""
    few = _measured(bench, "few", FEW, one_event=False)
    many = _measured(bench, "many", bench.options.live_holds, one_event=True)
    again = _measured(bench, "again", FEW, one_event=False)
    ratio = few.value / many.value if many.value else float("inf")
    return replace(
        many,
        case="hold_at_1m",
        unit="ratio",
        value=ratio,
        errors={why: each.errors.get(why, 0) for each in (few, many, again) for why in each.errors},
        remarks=(
            *many.remarks,
            f"{few.value:,.0f} holds/s with {FEW:,}, {many.value:,.0f} with {bench.options.live_holds:,} live holds",
            f"with {FEW:,} again, in tables of {bench.options.live_holds:,}: {again.value:,.0f} holds/s",
            f"CPU of capacity and postgres a hold: {_cpu(many) / _cpu(few):.2f} times",
        ),
    )


def _cpu(result: Result) -> float:
    taken = result.cpu_per_thousand()
    return taken.get("capacity", 0.0) + taken.get("postgres", 0.0) or 1.0


def _measured(bench: Bench, name: str, live: int, *, one_event: bool) -> Result:
    """Measure on events with so many live holds at the beginning: one for all runs, or a fresh one for each."""
    shows: list[tuple[Show, int]] = []
    runs: list[Run] = []

    def jobs(run: str) -> list[tuple[str, dict[str, Any]]]:
        if not shows or not one_event:
            shows.append(_filled(bench, f"{name}-{len(shows)}", live))
        program, job = bench.http_job(run, "hold", [rest.reserve(shows[-1][0].section_ids[0])])
        return [(program, job | {"seconds": min(SECONDS_MAX, bench.options.seconds)})]

    result = bench.repeat(f"hold_at_1m-{name}", "holds/s", jobs)
    for number, (show, before) in enumerate(shows):
        runs = list(result.runs) if one_event else [result.runs[number]]
        checked = bench.check(show, summarize(result.case, result.unit, runs), held_before=before)
    return replace(result, remarks=checked.remarks)


def _filled(bench: Bench, name: str, live: int) -> tuple[Show, int]:
    show = bench.shows.make(name)
    hold_id = bench.shows.place(show)
    with psycopg.connect(bench.stack.plan.dsns["admin"], autocommit=True) as connection:
        add_live_holds(connection, show, hold_id=hold_id, count=live - 1, number=bench.shows.number())
        for table in TABLES:
            connection.execute(f"VACUUM (ANALYZE) capacity.{table}")
        connection.execute("CHECKPOINT")
        deadline = time.monotonic() + TIDY_SECONDS_MAX
        while connection.execute(TIDYING).fetchone() != (0,) and time.monotonic() < deadline:
            time.sleep(TIDY_POLL_SECONDS)
    return show, live
