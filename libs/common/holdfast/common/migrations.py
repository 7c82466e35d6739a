"""Bring a service's schema to what its code needs: alembic, run from code, one upgrade at a time."""

import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psycopg
import structlog
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from holdfast.common import roles
from holdfast.common.roles import checked_name

LOCK_TIMEOUT_SECONDS: Final = 1.0
"""A migration that cannot have its lock within this gives up its place, so that writers never queue behind it."""
QUEUE_SECONDS: Final = 120
ATTEMPTS: Final = 20

_RETRY_PAUSE_SECONDS: Final = 0.5
_LOCK_NOT_AVAILABLE: Final = "55P03"
_LOG = structlog.get_logger("holdfast.migrations")


class MigrationError(Exception):
    """The schema could not be brought up to date; the message says why."""


def upgrade(dsn: str, *, package: str) -> None:
    """Apply the migrations of `package` ("holdfast.events") that its schema ("events") lacks.

    `dsn` logs in as the schema's owner. The scripts are `<package>/migrations/versions/*.py`; each runs in a
    transaction of its own, waits at most a second for a lock and is tried again a bounded number of times. Upgrades
    started at the same time queue. Raises MigrationError, or sqlalchemy.exc.DBAPIError as a script causes it.
    """
    schema = checked_name(package.rpartition(".")[2])
    engine = create_engine(
        "postgresql+psycopg://",
        connect_args={
            **conninfo_to_dict(dsn),
            "application_name": f"holdfast-migrate-{schema}",
            "connect_timeout": 10,
            "options": f"-c timezone=UTC -c lock_timeout={LOCK_TIMEOUT_SECONDS * 1000:.0f}",
        },
        poolclass=NullPool,
    )
    scripts = _scripts(package)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as queue:
            _take_turn(queue, schema)
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    with engine.connect() as connection:
                        _run(connection, scripts, schema)
                except OperationalError as error:
                    state = error.orig.sqlstate if isinstance(error.orig, psycopg.Error) else None
                    if state != _LOCK_NOT_AVAILABLE or attempt == ATTEMPTS:
                        raise
                    _LOG.info("migration waits for a lock", schema=schema, attempt=attempt)
                    time.sleep(_RETRY_PAUSE_SECONDS)
                else:
                    return
    finally:
        engine.dispose()


def migrate(*, package: str, migration_dsn: str, admin_dsn: str | None, logins: Sequence[str]) -> None:
    """Do what `python -m holdfast.<service> migrate` is for: make the roles, then apply what is missing.

    `logins` are the DSNs of the service's roles; theirs and the owner's passwords are set when `admin_dsn` is given,
    otherwise the roles and the schema must be there. Raises MigrationError, whose message may be shown: it holds no
    secret.
    """
    schema = checked_name(package.rpartition(".")[2])
    try:
        if admin_dsn is not None:
            roles.ensure(admin_dsn, schema=schema, passwords=dict(map(_login, (migration_dsn, *logins))))
        upgrade(migration_dsn, package=package)
    except DBAPIError as error:
        raise MigrationError(f"the schema {schema} could not be migrated: {error.orig}") from error
    except (psycopg.Error, ValueError) as error:
        raise MigrationError(f"the schema {schema} could not be migrated: {error}") from error


def _login(dsn: str) -> tuple[str, str]:
    parts = conninfo_to_dict(dsn)
    if not parts.get("user") or not parts.get("password"):
        raise MigrationError("a DSN names no user or no password")
    return str(parts["user"]), str(parts["password"])


def head(package: str) -> str | None:
    """Return the newest revision that the code of `package` has, None when it has none."""
    return _scripts(package).get_current_head()


def _scripts(package: str) -> ScriptDirectory:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise MigrationError(f"there is no package {package}")
    directory = Path(next(iter(found.submodule_search_locations))) / "migrations"
    if not (directory / "versions").is_dir():
        raise MigrationError(f"{package} has no migrations/versions")
    return ScriptDirectory(str(directory), version_locations=[str(directory / "versions")])


def _take_turn(queue: Connection, schema: str) -> None:
    """Hold a session lock until `queue` closes; another upgrade of the schema waits here, outside any transaction."""
    queue.execute(text("SELECT set_config('lock_timeout', :limit, false)"), {"limit": f"{QUEUE_SECONDS}s"})
    queue.execute(
        text("SELECT pg_advisory_lock(hashtextextended(:name, 0))"), {"name": f"holdfast.migrations.{schema}"}
    )


def _run(connection: Connection, scripts: ScriptDirectory, schema: str) -> None:
    def steps(revision: "str | tuple[str, ...]", _: MigrationContext) -> list[RevisionStep]:
        return scripts._upgrade_revs("head", revision)  # type: ignore[arg-type] # noqa: SLF001 (what alembic's own command calls)

    with EnvironmentContext(Config(), scripts, fn=steps, destination_rev="head") as environment:
        environment.configure(
            connection=connection,
            version_table="migrations",
            version_table_schema=schema,
            transaction_per_migration=True,
        )
        with environment.begin_transaction():
            environment.run_migrations()
