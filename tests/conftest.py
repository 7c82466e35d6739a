"""Fixtures that every test may use, and how the tests are spread over processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

pytest_plugins = ["tests.support.postgres", "tests.support.nats"]

# What takes longest begins first, so that no process is left with it at the end.
LONGEST = ("tests/faults/test_kill.py", "tests/integration/local/test_up.py", "tests/e2e/")
TOGETHER = ("tests/e2e/",)
"""Folders whose tests share one mesh; all other files are on their own."""
ONE_MESH = ("tests/faults/test_kill.py", "tests/faults/test_planted.py", "tests/faults/test_replicas.py")
"""Files whose tests share one mesh, too."""


def group_of(nodeid: str) -> str:
    """Give the name of what must run in one process: a file, or a folder whose tests share something."""
    path = nodeid.partition("::")[0]
    if path in ONE_MESH:
        return ONE_MESH[0]
    return next((folder for folder in TOGETHER if path.startswith(folder)), path)


def rank_of(group: str) -> int:
    """Give the place of a group in the order of running."""
    return LONGEST.index(group) if group in LONGEST else len(LONGEST)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests, before those who spread them look at the groups, and put what takes longest first."""
    groups: Sequence[str] = [group_of(item.nodeid) for item in items]
    for item, group in zip(items, groups, strict=True):
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: rank_of(group_of(item.nodeid)))
