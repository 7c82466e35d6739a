"""What a measurement was made on, asked of the machine, of PostgreSQL and of capacity."""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.stack import Stack

DURABILITY = ("fsync", "full_page_writes", "synchronous_commit")
METRICS_SECONDS = 5.0
SYNCS = 100
BLOCK_BYTES = 8192


def machine() -> str:
    """Describe processors, memory and what else runs."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    memory = psutil.virtual_memory().total / 2**30
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    python = platform.python_version()
    return f"{psutil.cpu_count()} processors ({model}), {memory:.0f} GiB, Python {python}, load before: {load}"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def database(stack: Stack) -> str:
    """Describe PostgreSQL: its version, whether it is durable, what lies under its data."""
    with psycopg.connect(stack.plan.dsns["admin"], autocommit=True) as connection:
        settings = {name: _shown(connection, name) for name in (*DURABILITY, "server_version", "data_directory")}
    durable = ", ".join(f"{name} = {settings[name]}" for name in DURABILITY)
    return f"PostgreSQL {settings['server_version']}, {durable}, data on {filesystem(settings['data_directory'])}"


def _shown(connection: psycopg.Connection[tuple[object, ...]], name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    return "" if row is None else str(row[0])


def sync_milliseconds(directory: Path) -> float:
    """Give the median time that the disk under a directory takes to make a written block durable."""
    path = directory / "sync-probe"
    times = []
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(bytes(BLOCK_BYTES))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    path.unlink()
    return statistics.median(times) * 1000


def filesystem(directory: str) -> str:
    """Name the type of the file system that a directory is on."""
    mounts = psutil.disk_partitions(all=True)
    holding = [mount for mount in mounts if Path(directory).is_relative_to(mount.mountpoint)]
    return str(max(holding, key=lambda mount: len(mount.mountpoint)).fstype) if holding else "unknown"


def largest_batch(stack: Stack, event_id: str) -> int:
    """Give the most holds of an event that one commit placed, from the rows; those of `live_holds` do not count."""
    with psycopg.connect(stack.plan.dsns["admin"], autocommit=True) as connection:
        row = connection.execute(
            "SELECT max(placed) FROM (SELECT count(*) AS placed FROM capacity.holds WHERE event_id = %s"
            " AND request_id NOT LIKE 'crowd-%%' GROUP BY placed_version) AS each",
            (event_id,),
        ).fetchone()
    return int(row[0]) if row is not None and row[0] is not None else 0


def unpublished(stack: Stack) -> int:
    """Count the changes of inventories that the relay has not published yet."""
    with psycopg.connect(stack.plan.dsns["admin"], autocommit=True) as connection:
        row = connection.execute(
            "SELECT count(*) FROM capacity.inventory_changes WHERE publish_time IS NULL"
        ).fetchone()
    return int(row[0]) if row is not None else 0


def engine_metrics(stack: Stack) -> list[str]:
    """Give what capacity's own metrics say of its batches: the count and the sum of each histogram about them."""
    with urllib.request.urlopen(stack.plan.metrics["capacity"], timeout=METRICS_SECONDS) as answer:  # noqa: S310 (http of our own mesh)
        return batch_samples(answer.read().decode().splitlines())


def batch_samples(lines: Iterable[str]) -> list[str]:
    """Pick the samples about batches out of a scrape, without the buckets."""
    wanted = re.compile(r"holdfast_\w*batch\w*(?<!_bucket)(?<!_created)(?:\{[^}]*\})? ")
    return [line for line in lines if wanted.match(line)]
