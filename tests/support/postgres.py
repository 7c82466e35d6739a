"""PostgreSQL for tests: one server a session, one template with every schema, a clone of it for each module."""

from __future__ import annotations

import importlib.util
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from holdfast.common import migrations, roles
from holdfast.local.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPLATE = "holdfast_template"
PACKAGES = ("holdfast.events", "holdfast.capacity", "holdfast.pricing", "tests.support.proving")
FURTHER_ROLES = {"capacity": ("holdfast_capacity_sweeper",)}


@dataclass
class PostgresServer:
    """The server of the session. `template` has the roles and migrations of every schema; nobody connects to it."""

    embedded: EmbeddedPostgres
    template: str = TEMPLATE
    passwords: dict[str, str] = field(default_factory=dict)

    def admin_dsn(self, database: str = "postgres") -> str:
        """The superuser's DSN, for what no service may do."""
        return self.embedded.dsn(database=database)

    def dsn(self, role: str, database: str) -> str:
        """The DSN of a role, named in full or without `holdfast_` in front."""
        name = role if role.startswith("holdfast_") else f"holdfast_{role}"
        return self.embedded.dsn(user=name, password=self.passwords[name], database=database)

    def clone(self, prefix: str) -> TestDatabase:
        """Make a new database from the template."""
        name = f"{prefix[:40]}_{secrets.token_hex(4)}"
        with psycopg.connect(self.admin_dsn(), autocommit=True) as admin:
            admin.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(self.template))
            )
        return TestDatabase(self, name)

    def drop(self, name: str) -> None:
        """Drop a database, and whoever is still connected to it."""
        with psycopg.connect(self.admin_dsn(), autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@dataclass(frozen=True)
class TestDatabase:
    """A database of its own for one test module, with all schemas, empty."""

    __test__ = False

    server: PostgresServer
    name: str

    def dsn(self, role: str) -> str:
        """The DSN of a role: `events_service`, `capacity_relay`, `pricing_owner`, …; `admin` is the superuser."""
        return self.server.admin_dsn(self.name) if role == "admin" else self.server.dsn(role, self.name)


def schemas() -> dict[str, str]:
    """Schema → package, of those packages that have migrations."""
    found = {}
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        versions = Path(next(iter(spec.submodule_search_locations))) / "migrations" / "versions"
        if any(versions.glob("*.py")):
            found[package.rpartition(".")[2]] = package
    return found


def build_template(server: PostgresServer) -> None:
    """Make the template: roles with passwords of this session, every schema at its newest revision."""
    with psycopg.connect(server.admin_dsn(), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(server.template)))
    for schema, package in schemas().items():
        names = (roles.owner(schema), roles.service(schema), roles.relay(schema), *FURTHER_ROLES.get(schema, ()))
        server.passwords.update({name: secrets.token_urlsafe(16) for name in names})
        roles.ensure(
            server.admin_dsn(server.template),
            schema=schema,
            passwords={name: server.passwords[name] for name in names},
        )
        migrations.upgrade(server.dsn(roles.owner(schema), server.template), package=package)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A running server with the template."""
    embedded = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"))
    embedded.start()
    try:
        server = PostgresServer(embedded)
        build_template(server)
        yield server
    finally:
        embedded.remove()


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[TestDatabase]:
    """An empty database with all schemas, for this module alone."""
    made = postgres_server.clone(str(request.node.path.stem))
    try:
        yield made
    finally:
        postgres_server.drop(made.name)
