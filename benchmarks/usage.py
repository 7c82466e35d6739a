"""What each part of the mesh takes of the processors."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """Give the CPU seconds, user and system, that each process tree has taken so far, children that ended included."""
    return {name: _of_tree(pid) for name, pid in pids.items()}


def _of_tree(pid: int) -> float:
    root = psutil.Process(pid)
    own = root.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in root.children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue  # its parent has its times by now; they count at the next look
        total += times.user + times.system
    return float(total)


def shares(pids: Mapping[str, int], seconds: float) -> dict[str, float]:
    """Give the share of one processor that each process tree takes, watching for so long."""
    before = cpu_seconds(pids)
    time.sleep(seconds)
    return {name: taken / seconds for name, taken in difference(cpu_seconds(pids), before).items()}


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Give what was taken between two looks."""
    return {name: max(0.0, seconds - before.get(name, 0.0)) for name, seconds in after.items()}
