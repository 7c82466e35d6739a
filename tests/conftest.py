"""Fixtures that every test may use, and how the tests are spread over processes."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it has no types

pytest_plugins = ["tests.support.postgres", "tests.support.nats"]

# What takes longest begins first, so that no process is left with it at the end.
LONGEST = ("tests/faults/test_kill.py", "tests/integration/local/test_up.py", "tests/e2e/")
TOGETHER = ("tests/e2e/",)
"""Folders whose tests share one mesh; all other files are on their own."""
ONE_MESH = tuple(f"tests/faults/test_{name}.py" for name in ("kill", "planted", "replicas", "supervisor"))
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


class ByGroup(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Gives all tests of a group to one process.

    The marks of `--dist loadgroup` do not reach it: it puts them into an attribute that pytest does not send any more.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByGroup:
    """Spread tests by group."""
    return ByGroup(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes longest first."""
    items.sort(key=lambda item: rank_of(group_of(item.nodeid)))
