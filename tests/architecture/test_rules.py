"""Every rule holds in the repository, and finds what breaks it."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from . import rules
from .sources import EVERYTHING, Source, read

DOMAIN = "services/capacity/holdfast/capacity/domain/holds.py"
STORE = "services/capacity/holdfast/capacity/store/holds.py"
OPERATIONS = "services/events/holdfast/events/operations/events.py"
COMMON = "libs/common/holdfast/common/messaging.py"
PRICES = "services/pricing/holdfast/pricing/domain/prices.py"
TEST = "tests/unit/common/test_money.py"

# rule, where, what breaks it
VIOLATIONS = [
    ("commits", STORE, "async def save(connection): await connection.commit()"),
    ("environment", OPERATIONS, "import os\nurl = os.environ['HOLDFAST_NATS_URL']"),
    ("environment", OPERATIONS, "from os import getenv\nurl = getenv('HOLDFAST_NATS_URL')"),
    ("wait_for", COMMON, "import asyncio\nasync def f(x): await asyncio.wait_for(x, 1)"),
    ("wait_for", TEST, "from asyncio import wait_for"),
    ("transaction_time", STORE, 'EXPIRED = "update capacity.holds set end_time = now() where expire_time <= $1"'),
    ("transaction_time", STORE, 'def f(t): return f"select {t} from x where t <= CURRENT_TIMESTAMP"'),
    ("transaction_time", STORE, "from sqlalchemy import func\nEXPIRED = func.now()"),
    ("namespace", "libs/common/holdfast/__init__.py", ""),
    ("domain", DOMAIN, "from holdfast.common.database import Transaction"),
    ("domain", DOMAIN, "import sqlalchemy"),
    ("domain", DOMAIN, "from ..store import holds"),
    ("domain", DOMAIN, "from holdfast.capacity.messages import hold_placed"),
    ("domain", DOMAIN, "from datetime import datetime, UTC\ndef f(): return datetime.now(UTC)"),
    ("length", STORE, "x = 1\n" * (rules.LINES_MAX + 1)),
    ("length", TEST, "x = 1\n" * (rules.TEST_LINES_MAX + 1)),
    ("floating_money", PRICES, "def tax(minor: int) -> int: return int(minor * 0.08)"),
    ("floating_money", PRICES, "def tax(minor, rate): return int(minor * float(rate))"),
    ("floating_money", PRICES, "def tax(minor, rate): return round(minor * rate)"),
    ("singletons", COMMON, "from .database import Database\ndatabase = Database()"),
    ("singletons", COMMON, "_settings = None\ndef settings():\n    global _settings\n    return _settings"),
    ("mocks", TEST, "from unittest.mock import AsyncMock"),
    ("sql_placement", OPERATIONS, "from sqlalchemy.exc import IntegrityError"),
    ("sql_placement", COMMON, "import psycopg"),
    ("organization_filter", STORE, 'async def f(t): await t.execute("select * from capacity.holds where id = $1")'),
    (
        "organization_filter",
        STORE,
        'Q = "select * from capacity.holds where id = $1"\nasync def f(t): await t.send(Statement(Q))',
    ),
    ("organization_filter", STORE, "Q = select(HOLDS)\nclass Store:\n    async def f(self, t): await t.execute(Q)"),
    ("suppressions", COMMON, "import subprocess  # noqa" + ": S404"),
    ("suppressions", COMMON, "x = f()  # type: " + "ignore[no-any-return]"),
    ("open_work", COMMON, "x = 1  # TO" + "DO later"),
]

# rule, where, what looks like it and is right
PERMITTED = [
    ("commits", "libs/common/holdfast/common/database.py", "async def run(connection): await connection.commit()"),
    ("environment", "services/events/holdfast/events/settings.py", "import os\nname = os.environ"),
    (
        "transaction_time",
        STORE,
        'LOCK = "select greatest(clock_timestamp(), last_change_time) from capacity.event_inventories"',
    ),
    ("transaction_time", STORE, 'def f():\n    """Never now(): it is older than the lock."""'),
    ("transaction_time", "services/events/holdfast/events/store/events.py", 'X = "select now()"'),
    ("domain", DOMAIN, "import datetime\nfrom holdfast.common.errors import DomainError\nfrom .lines import Line"),
    ("domain", DOMAIN, "from holdfast.capacity.domain.lines import Line"),
    ("floating_money", "services/pricing/holdfast/pricing/settings.py", "drain_seconds = 1.5"),
    ("singletons", COMMON, "from prometheus_client import Counter\nimport structlog\nlogger = structlog.get_logger()"),
    ("sql_placement", STORE, "from sqlalchemy.exc import IntegrityError"),
    ("sql_placement", "libs/common/holdfast/common/database_checks.py", "import psycopg"),
    (
        "organization_filter",
        STORE,
        "MINE = HOLDS.c.organization_id == X\nasync def f(t): await t.execute(select(HOLDS).where(MINE))",
    ),
    ("suppressions", COMMON, "import subprocess  # noqa" + ": S404 — the servers are started from here"),
    ("suppressions", COMMON, "x = f()  # type: " + "ignore[no-any-return] # the library has no types"),
]


def by_name(name: str) -> rules.Rule:
    return next(rule for rule in rules.RULES if rule.__name__ == name)


@pytest.fixture(scope="module")
def everything() -> list[Source]:
    return read(folders=EVERYTHING)


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_the_repository_keeps_the_rule(rule: rules.Rule, everything: list[Source]) -> None:
    found = rule(everything)
    assert not found, f"{rule.__doc__}\n" + "\n".join(str(finding) for finding in found)


@pytest.mark.parametrize(("name", "path", "text"), VIOLATIONS)
def test_a_planted_violation_is_found(name: str, path: str, text: str) -> None:
    assert by_name(name)([Source(path=PurePosixPath(path), text=text)])


@pytest.mark.parametrize(("name", "path", "text"), PERMITTED)
def test_what_is_right_is_left_alone(name: str, path: str, text: str) -> None:
    assert not by_name(name)([Source(path=PurePosixPath(path), text=text)])


def test_every_rule_has_a_planted_violation() -> None:
    assert {rule.__name__ for rule in rules.RULES} == {name for name, _, _ in VIOLATIONS}


def test_long_files_are_long_for_a_reason(everything: list[Source]) -> None:
    known = {str(source.path): source.text.count("\n") for source in everything}
    for path, reason in rules.LONG_FILES.items():
        assert reason, path
        assert known.get(path, 0) > rules.LINES_MAX, f"{path} is not long any more: take it off the list"


def test_queries_across_organizations_exist(everything: list[Source]) -> None:
    known = {f"{source.path}:{name}" for source in everything for name in rules.names_of(source)}
    assert rules.ACROSS_ORGANIZATIONS.keys() <= known, "take what is gone off the list"
