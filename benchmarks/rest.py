"""Cases through the gateway: HTTP, JSON, tokens, limits, everything."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks.results import AbsentError
from benchmarks.shows import HOLD_TTL_SECONDS, NOT_BUILT_STATUS
from holdfast.local.rest import CallFailedError

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.results import Result
    from benchmarks.shows import Show

SPREAD_SECTIONS = 100
READERS = 64
SELLERS = 16
CEILING_SECONDS = 2.0
SEAT_SECTIONS, SEAT_ROWS, SEAT_COLUMNS = 20, 100, 45
"""Seats of one GenerateSeating: 20 sections of 4,500, just under the 100,000 that one call may make."""
SEATS_OF_A_RUN = 250_000
SEATS_OF_A_HOLD = (2, 3, 4)
SPARE_ROWS = 10
"""Rows of a section that nobody has to sit in: what is chosen leaves gaps that are too small for some."""


def reserve(section_id: str, *, price_tier_id: str = "") -> dict[str, str]:
    """Give the request for one place of a section."""
    body: dict[str, str | int] = {"quantity": 1, "hold_ttl_seconds": HOLD_TTL_SECONDS}
    if price_tier_id:
        body["price_tier_id"] = price_tier_id
    return {"path": f"/api/v1/capacity/{section_id}/reserve", "body": json.dumps(body)}


def hold_hot(bench: Bench) -> Result:
    """Place holds on one section, without a tier: every hold wants the same row."""
    return _holds(bench, "rest_hold_hot", bench.shows.make("hot"))


def hold_hot_priced(bench: Bench) -> Result:
    """Place holds on one section; every hold locks a price."""
    return _holds(bench, "rest_hold_hot_priced", bench.shows.make("priced", priced=True))


def hold_spread(bench: Bench) -> Result:
    """Place holds on a hundred sections of one event, in turn."""
    return _holds(bench, "rest_hold_spread", bench.shows.make("spread", sections=SPREAD_SECTIONS))


def _holds(bench: Bench, case: str, show: Show) -> Result:
    targets = [reserve(section_id, price_tier_id=show.price_tier_id) for section_id in show.section_ids]
    result = bench.repeat(case, "holds/s", lambda run: [bench.http_job(run, "hold", targets)])
    return bench.check(show, with_ceiling(bench, show, result))


def hold_seats(bench: Bench) -> Result:
    """Hold explicit seats, two to four side by side, no two holds for the same."""
    return _seats(bench, "rest_hold_seats", wishes=[{"seats": {"labels": labels}} for labels in groups(SEAT_ROWS)])


def hold_best(bench: Bench) -> Result:
    """Hold the best seats there are, two to four; the last rows stay free, so that all can be had."""
    sizes = [len(labels) for labels in groups(SEAT_ROWS - SPARE_ROWS)]
    return _seats(bench, "rest_hold_best", wishes=[{"best_available": {"quantity": size}} for size in sizes])


def groups(rows: int) -> list[list[str]]:
    """Give the labels of all seats of so many rows, two, three, four … side by side."""
    found = []
    for row in range(1, rows + 1):
        first = 1
        for size in SEATS_OF_A_HOLD * (SEAT_COLUMNS // sum(SEATS_OF_A_HOLD)):
            found.append([f"{row}-{seat}" for seat in range(first, first + size)])
            first += size
    return found


def _seats(bench: Bench, case: str, *, wishes: list[dict[str, Any]]) -> Result:
    """Place a hold for each of these wishes of each section, sections taking turns."""
    config = {
        "rows": SEAT_ROWS,
        "cols": SEAT_COLUMNS,
        "numbering": {"rows": "NUMBERS"},
        "sections": [{"name": f"Block {{n}}.{number}"} for number in range(1, SEAT_SECTIONS + 1)],
    }
    per_config = SEAT_SECTIONS * SEAT_ROWS * SEAT_COLUMNS
    configs = -(-SEATS_OF_A_RUN * bench.options.runs // per_config)
    show = bench.shows.make_seated(case.removeprefix("rest_hold_"), configs=configs, config=config)
    bodies = [json.dumps({**wish, "hold_ttl_seconds": HOLD_TTL_SECONDS}) for wish in wishes]
    wanted = [
        {"path": f"/api/v1/capacity/{section_id}/reserve", "body": body}
        for body in bodies
        for section_id in show.section_ids
    ]
    share = len(wanted) // bench.options.runs
    parts = iter([wanted[at : at + share] for at in range(0, share * bench.options.runs, share)])
    result = bench.repeat(case, "holds/s", lambda run: [bench.http_job(run, "hold", next(parts), once=True)])
    return bench.check(show, result)


def lifecycle(bench: Bench) -> Result:
    """Place a hold and confirm it; the latency is that of both."""
    show = bench.shows.make("lifecycle")
    targets = [reserve(show.section_ids[0])]
    result = bench.repeat("rest_lifecycle", "sales/s", lambda run: [bench.http_job(run, "lifecycle", targets)])
    return bench.check(show, result)


def availability(bench: Bench) -> Result:
    """Read an event's availability on 64 connections while 16 others place holds."""
    show = bench.shows.make("availability", sections=10)
    path = f"/api/v1/events/{show.event_id}/availability"
    try:
        bench.shows.buyer_api.get(path)
    except CallFailedError as error:
        if error.status == NOT_BUILT_STATUS:
            raise AbsentError("GetAvailability is not built yet") from None
        raise
    targets = [reserve(section_id) for section_id in show.section_ids]
    result = bench.repeat(
        "rest_availability",
        "reads/s",
        lambda run: [
            bench.http_job(run, "availability", [{"path": path}], connections=READERS, measured=False),
            bench.http_job(f"{run}-sellers", "hold", targets, connections=SELLERS, measured=False),
        ],
    )
    return bench.check(show, result)


def with_ceiling(bench: Bench, show: Show, result: Result) -> Result:
    """Say what the generator itself can do: the same requests, to a server that only gives a canned hold back."""
    if not bench.ceiling:
        target = reserve(show.section_ids[0], price_tier_id=show.price_tier_id)
        answer = bench.shows.organizer.get(f"/api/v1/holds?event_id={show.event_id}&page_size=1")["holds"][0]
        canned = {"body": json.dumps({"hold": answer | {"state": "ACTIVE"}}), "hold_id": answer["id"]}
        with bench.children.serving("canned_http", canned) as (port, _):
            program, job = bench.http_job("ceiling", "hold", [target], port=port, measured=False)
            outcome = bench.children.loads(
                [(program, job | {"warm_seconds": 0.5, "seconds": min(CEILING_SECONDS, bench.options.seconds)})]
            )[0]
        bench.ceiling = outcome.rate
        bench.say(
            f"  generator against a canned answer: {bench.ceiling:,.0f}/s,"
            f" {outcome.cpu_seconds / outcome.operations * 1e6:.0f} µs of CPU each"
        )
    times = bench.ceiling / result.value if result.value else 0.0
    return replace(result, remarks=(*result.remarks, f"the generator alone does {times:.1f} times that"))
