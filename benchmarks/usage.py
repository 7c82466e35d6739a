"""What each part of the mesh takes of the processors."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping


ATTEMPTS = 20


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """Give the CPU seconds, user and system, that each process tree has taken so far, children that ended included."""
    return {name: _of_tree(pid) for name, pid in pids.items()}


def _of_tree(pid: int) -> float:
    """Add up a tree. A child that ends meanwhile would count twice or not at all, so then it is added up anew."""
    root = psutil.Process(pid)
    total = 0.0
    for _ in range(ATTEMPTS):
        children = root.children(recursive=True)
        total = sum(_own(child) for child in children)
        own = root.cpu_times()
        total += own.user + own.system + own.children_user + own.children_system
        if {child.pid for child in children} == {child.pid for child in root.children(recursive=True)}:
            break
    return total


def _own(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def shares(pids: Mapping[str, int], seconds: float) -> dict[str, float]:
    """Give the share of one processor that each process tree takes, watching for so long."""
    before = cpu_seconds(pids)
    time.sleep(seconds)
    return {name: taken / seconds for name, taken in difference(cpu_seconds(pids), before).items()}


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Give what was taken between two looks."""
    return {name: max(0.0, seconds - before.get(name, 0.0)) for name, seconds in after.items()}
