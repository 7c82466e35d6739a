"""Seats: laying out 50,000 in one call, and reading them all as a map."""

from __future__ import annotations

import http.client
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks.load.outcome import Outcome
from benchmarks.percentiles import percentile
from benchmarks.results import WrongError
from benchmarks.shows import HOLD_TTL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench
    from benchmarks.results import Result
    from benchmarks.shows import Show

SECTIONS, ROWS, COLUMNS = 20, 50, 50
SEATS = SECTIONS * ROWS * COLUMNS
CONFIG: dict[str, Any] = {
    "rows": ROWS,
    "cols": COLUMNS,
    "numbering": {"rows": "NUMBERS"},
    "sections": [{"name": f"Block {number}"} for number in range(1, SECTIONS + 1)],
}
LAYOUTS_OF_A_RUN = 5
READS_OF_A_RUN = 50
HELD_ROWS = 10
"""Rows of each section that are held, a hold for every ten seats."""
SEATS_OF_A_HOLD = 10
CALL_SECONDS_MAX = 30.0
OK = 200


def seating_50k(bench: Bench) -> Result:
    """Lay out 50,000 seats in one call, each time of a fresh event."""

    def lay_out(_number: int) -> float:
        event_id, key = bench.shows.event("seating")
        began = time.perf_counter()
        made = bench.shows.seating(event_id, CONFIG, request_id=f"{key}-seating")
        taken = time.perf_counter() - began
        if made["seat_count"] != SEATS:
            raise WrongError(f"seating_50k: {made['seat_count']} seats instead of {SEATS}")
        return taken

    return _timed(bench, "seating_50k", LAYOUTS_OF_A_RUN, lay_out)


def seatmap_50k(bench: Bench) -> Result:
    """Read 50,000 seats as an organizer, who is told who has them; each time after another hold."""
    show = bench.shows.make_seated("seatmap", configs=1, config=CONFIG)
    held = _fill(bench, show)
    path = f"/api/v1/events/{show.event_id}/seatmap"
    sizes: list[int] = []

    def read(number: int) -> float:
        labels = [f"{HELD_ROWS + 1 + number // COLUMNS}-{1 + number % COLUMNS}"]
        _hold(bench, show.section_ids[0], labels)
        taken, size = _get(bench, path)
        sizes.append(size)
        return taken

    cold, _ = _get(bench, path)
    result = _timed(bench, "seatmap_50k", READS_OF_A_RUN, read, numbered_through=True)
    whole, with_layout = _get(bench, f"{path}?with_layout=true")
    checked = bench.check(show, replace(result, runs=()), held_before=held + READS_OF_A_RUN * bench.options.runs)
    return replace(
        result,
        size_bytes=max(sizes),
        remarks=(
            *checked.remarks,
            f"{max(sizes):,} bytes with who has them; the first read took {cold * 1000:.0f} ms",
            f"with every label {with_layout:,} bytes in {whole * 1000:.0f} ms",
        ),
    )


def _timed(
    bench: Bench, case: str, calls: int, call: Callable[[int], float], *, numbered_through: bool = False
) -> Result:
    """Make calls one after another; the figure is the median time of one, in milliseconds."""

    def run(number: int) -> Outcome:
        first = number * calls if numbered_through else 0
        began = time.process_time()
        times = sorted(call(first + each) for each in range(calls))
        return Outcome(
            operations=calls,
            held=0,
            sold=0,
            measured=calls,
            seconds=sum(times),
            p50_ms=percentile(times, 50) * 1000,
            p99_ms=percentile(times, 99) * 1000,
            errors={},
            cpu_seconds=time.process_time() - began,
        )

    result = bench.repeat_here(case, "calls/s", run)
    return replace(result, unit="ms", value=result.p50_ms)


def _fill(bench: Bench, show: Show) -> int:
    """Hold some rows of every section; tells how many places that are."""
    held = 0
    for section_id in show.section_ids:
        for row in range(1, HELD_ROWS + 1):
            for first in range(1, COLUMNS + 1, SEATS_OF_A_HOLD):
                labels = [f"{row}-{seat}" for seat in range(first, first + SEATS_OF_A_HOLD)]
                _hold(bench, section_id, labels)
                held += SEATS_OF_A_HOLD
    return held


def _hold(bench: Bench, section_id: str, labels: list[str]) -> None:
    body = {"seats": {"labels": labels}, "hold_ttl_seconds": HOLD_TTL_SECONDS}
    bench.shows.buyer_api.post(
        f"/api/v1/capacity/{section_id}/reserve", body, request_id=f"bench-seats-{bench.shows.number()}"
    )


def _get(bench: Bench, path: str) -> tuple[float, int]:
    """GET as the organizer; gives how long it took, in seconds, and how many bytes the body has."""
    api = bench.shows.organizer
    connection = http.client.HTTPConnection(api.base_url.removeprefix("http://"), timeout=CALL_SECONDS_MAX)
    try:
        connection.connect()
        began = time.perf_counter()
        connection.request("GET", path, headers={"Authorization": f"Bearer {api.token}"})
        response = connection.getresponse()
        body = response.read()
        taken = time.perf_counter() - began
    finally:
        connection.close()
    if response.status != OK:
        raise WrongError(f"GET {path}: {response.status} {body[:200]!r}")
    return taken, len(body)
