"""What holds everywhere in the code and an import rule cannot say. Each rule returns the places that break it."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Callable, Sequence

from .sources import Finding, Source, dotted, imports, product

Rule = Callable[[Sequence[Source]], list[Finding]]

LINES_MAX = 450
TEST_LINES_MAX = 600
# Longer on purpose, each with its reason.
LONG_FILES: dict[str, str] = {}

# What is built in a composition root and handed on as an argument.
WIRED = frozenset(
    {
        "Background",
        "Database",
        "MeshIdentity",
        "Messaging",
        "Metrics",
        "PageTokens",
        "Peer",
        "Redis",
        "Relay",
        "RpcServer",
        "Starlette",
        "SystemClock",
        "Telemetry",
        "create_async_engine",
        "create_engine",
    }
)

DOMAIN_MAY_IMPORT = ("holdfast.common.errors", "holdfast.common.money")
CLOCKS = (
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "time.time",
    "time.monotonic",
    "time.time_ns",
)
MOCKS = ("unittest.mock", "mock", "pytest_mock")

DATABASE_LIBRARIES = frozenset({"alembic", "psycopg", "psycopg_pool", "sqlalchemy"})
DATABASE_MODULES = (
    "database",
    "idempotency",
    "leases",
    "migrations",
    "outbox",
    "positions",
    "relay",
    "roles",
    "schema",
)
# Queries that are nobody's in particular, each with its reason.
ACROSS_ORGANIZATIONS = {
    "services/capacity/holdfast/capacity/store/inventories.py:clock": "reads a clock, no table",
    "services/capacity/holdfast/capacity/store/journal.py:lag": "the relay counts what waits, and how many holds live",
    "services/events/holdfast/events/store/clock.py:database_time": "reads a clock, no table",
    "services/pricing/holdfast/pricing/store/clock.py:read_time": "reads a clock, no table",
}

TRANSACTION_TIME = re.compile(
    r"\b(now\s*\(\s*\)|current_timestamp|localtimestamp|transaction_timestamp\s*\(|statement_timestamp\s*\()",
    re.IGNORECASE,
)
MARKER = re.compile(r"noqa(?::\s*[A-Z]+\d+(?:[\s,]+[A-Z]+\d+)*)?|type:\s*ignore(?:\[[^]]*\])?|nosec(?:[\s,]+B\d+)*")
OPEN_WORK = re.compile("#.*\\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK")) + ")\\b")
QUERY = re.compile(r"\b(select|update|delete)\b", re.IGNORECASE)
WHY_LENGTH_MIN = 4


def commits(sources: Sequence[Source]) -> list[Finding]:
    """Only the database module commits: one place decides what is durable, and what is tried again."""
    return [
        Finding(source.path, node.lineno, "commits outside common/database.py")
        for source in product(sources)
        if str(source.path) != "libs/common/holdfast/common/database.py"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commit"
    ]


def environment(sources: Sequence[Source]) -> list[Finding]:
    """Only settings read the environment, so that a wrong value has one place to be refused in."""
    found = []
    for source in product(sources):
        if source.path.name == "settings.py":
            continue
        found += [
            Finding(source.path, node.lineno, "reads the environment outside settings.py")
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Attribute)
            and dotted(node) in {"os.environ", "os.getenv", "os.environb", "os.putenv"}
        ]
        found += [
            Finding(source.path, line, "imports the environment outside settings.py")
            for line, name in imports(source)
            if name in {"os.environ", "os.getenv", "os.environb"}
        ]
    return found


def wait_for(sources: Sequence[Source]) -> list[Finding]:
    """`asyncio.wait_for` can lose a cancellation on Python 3.11; `asyncio.timeout` cannot."""
    called = [
        Finding(source.path, node.lineno, "uses asyncio.wait_for: use asyncio.timeout")
        for source in sources
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute) and dotted(node) == "asyncio.wait_for"
    ]
    imported = [
        Finding(source.path, line, "imports asyncio.wait_for: use asyncio.timeout")
        for source in sources
        for line, name in imports(source)
        if name == "asyncio.wait_for"
    ]
    return called + imported


def transaction_time(sources: Sequence[Source]) -> list[Finding]:
    """Capacity's SQL reads the clock after its lock: the transaction's own time is older than the wait for it."""
    found = []
    for source in sources:
        if source.path.parts[:2] != ("services", "capacity"):
            continue
        found += [
            Finding(source.path, line, "asks for the transaction's time: use clock_timestamp()")
            for line, text in source.strings()
            if TRANSACTION_TIME.search(text)
        ]
        found += [
            Finding(source.path, node.lineno, "asks for the transaction's time: use clock_timestamp()")
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Attribute)
            and dotted(node) in {"func.now", "func.current_timestamp", "func.transaction_timestamp"}
        ]
    return found


def namespace(sources: Sequence[Source]) -> list[Finding]:
    """`holdfast` is a namespace that several distributions share; an `__init__.py` in one would hide the others."""
    return [
        Finding(source.path, 1, "makes the namespace a package")
        for source in sources
        if source.path.parts[-2:] == ("holdfast", "__init__.py")
    ]


def domain(sources: Sequence[Source]) -> list[Finding]:
    """The domain computes: it imports the standard library, errors and money, and is given the time."""
    found = []
    for source in product(sources):
        if not source.room.startswith(("domain/", "domain.py")):
            continue
        own = ".".join((*source.path.parts[2:4], "domain"))
        for line, name in imports(source):
            allowed = (*DOMAIN_MAY_IMPORT, own)
            if name.split(".")[0] in sys.stdlib_module_names or name == "__future__.annotations":
                continue
            if not any(name == module or name.startswith(f"{module}.") for module in allowed):
                found.append(Finding(source.path, line, f"domain imports {name}"))
        found += [
            Finding(source.path, node.lineno, "domain reads a clock: take the time as an argument")
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Call) and dotted(node.func).endswith(CLOCKS)
        ]
    return found


def length(sources: Sequence[Source]) -> list[Finding]:
    """One noun a file: what grows beyond a few screens has become two."""
    found = []
    for source in sources:
        most = LINES_MAX if source.path.parts[0] in {"libs", "services"} else TEST_LINES_MAX
        lines = source.text.count("\n")
        if lines > most and str(source.path) not in LONG_FILES:
            found.append(Finding(source.path, lines, f"has {lines} lines, more than {most}"))
    return found


def floating_money(sources: Sequence[Source]) -> list[Finding]:
    """Money is whole minor units, and rounds half up: neither `float` nor `round` can say that."""
    found = []
    for source in product(sources):
        of_money = source.path.name in {"money.py", "currencies.py"}
        of_pricing = source.path.parts[:2] == ("services", "pricing") and source.room.startswith(("domain", "convert"))
        if not (of_money or of_pricing):
            continue
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Name) and node.id in {"float", "round"}:
                found.append(Finding(source.path, node.lineno, f"uses {node.id} where money is computed"))
            elif isinstance(node, ast.Constant) and isinstance(node.value, float):
                found.append(Finding(source.path, node.lineno, "has a float where money is computed"))
    return found


def singletons(sources: Sequence[Source]) -> list[Finding]:
    """Wiring is constructor arguments in `app.py`: nothing is built at import, nothing is a global."""
    found = []
    for source in product(sources):
        for statement in source.tree.body:
            if isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(statement.value, ast.Call):
                name = dotted(statement.value.func).rpartition(".")[2]
                if name in WIRED or name.endswith(("App", "Settings")):
                    found.append(Finding(source.path, statement.lineno, f"builds {name} at import"))
        found += [
            Finding(source.path, node.lineno, "changes a module's variable")
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Global)
        ]
    return found


def mocks(sources: Sequence[Source]) -> list[Finding]:
    """Tests run against what will run: real servers, our own code."""
    return [
        Finding(source.path, line, f"imports {name}")
        for source in sources
        if source.path.parts[0] == "tests"
        for line, name in imports(source)
        if any(name == module or name.startswith(f"{module}.") for module in MOCKS)
    ]


def suppressions(sources: Sequence[Source]) -> list[Finding]:
    """A rule that is switched off on a line says there why."""
    found = []
    for source in sources:
        for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
            if token.type != tokenize.COMMENT or not MARKER.search(token.string):
                continue
            why = MARKER.sub("", token.string).strip(" #—-:.")
            if len(why) < WHY_LENGTH_MIN:
                found.append(Finding(source.path, token.start[0], "switches a rule off without saying why on the line"))
    return found


def sql_placement(sources: Sequence[Source]) -> list[Finding]:
    """SQL is written in stores, in capacity's engine, in migrations and in the database modules of common."""
    found = []
    for source in product(sources):
        in_common = source.path.parts[:2] == ("libs", "common") and source.path.stem.startswith(DATABASE_MODULES)
        in_service = source.room.startswith(("store/", "engine/", "migrations/", "store.py"))
        if in_common or in_service or source.path.parts[:2] == ("libs", "local"):
            continue
        found += [
            Finding(source.path, line, f"imports {name}: SQL belongs into store")
            for line, name in imports(source)
            if name.split(".")[0] in DATABASE_LIBRARIES
        ]
    return found


def organization_filter(sources: Sequence[Source]) -> list[Finding]:
    """Every query on an organization's table says of which organization, besides the row-level security below it.

    Looks at functions of stores and engines that execute or send a select, update or delete: the function, or what it
    uses of its module, has to speak of the organization.
    """
    found = []
    for source in product(sources):
        if not source.room.startswith(("store/", "store.py", "engine/")):
            continue
        parts = _parts(source)
        for name, node in parts.items():
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not _executes(node):
                continue
            used, waiting = set[str](), [name]
            while waiting:
                used.add(one := waiting.pop())
                names = {inner.id for inner in ast.walk(parts[one]) if isinstance(inner, ast.Name)}
                waiting += [other for other in names & parts.keys() if other not in used]
            text = "\n".join(ast.unparse(parts[one]) for one in used)
            place = f"{source.path}:{name}"
            if QUERY.search(text) and "organization" not in text and place not in ACROSS_ORGANIZATIONS:
                found.append(Finding(source.path, node.lineno, f"{name} executes a query without an organization"))
    return found


def names_of(source: Source) -> frozenset[str]:
    """Return the names of a module's functions, methods and variables."""
    return frozenset(_parts(source))


def _parts(source: Source) -> dict[str, ast.stmt]:
    """Functions, methods and assignments of a module by their names."""
    parts: dict[str, ast.stmt] = {}
    for statement in source.tree.body:
        body = statement.body if isinstance(statement, ast.ClassDef) else [statement]
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                parts[node.name] = node
            elif isinstance(node, ast.Assign):
                parts.update({target.id: node for target in node.targets if isinstance(target, ast.Name)})
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                parts[node.target.id] = node
    return parts


def _executes(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return any(
        (isinstance(call, ast.Attribute) and call.attr.startswith("execute"))
        or (isinstance(call, ast.Name) and call.id == "Statement")
        for call in calls
    )


def open_work(sources: Sequence[Source]) -> list[Finding]:
    """What is not done is tracked outside the code, and nothing in the code pretends to be done."""
    return [
        Finding(source.path, number, "marks open work")
        for source in sources
        for number, line in enumerate(source.text.splitlines(), start=1)
        if OPEN_WORK.search(line)
    ]


RULES: tuple[Rule, ...] = (
    commits,
    environment,
    wait_for,
    transaction_time,
    namespace,
    domain,
    length,
    floating_money,
    singletons,
    mocks,
    sql_placement,
    organization_filter,
    suppressions,
    open_work,
)
