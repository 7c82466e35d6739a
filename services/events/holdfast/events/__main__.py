"""`python -m holdfast.events serve | migrate | relay`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.exc import DBAPIError

from holdfast.common import logging, migrations, roles, service
from holdfast.common.settings import MeshSettings, load, variable
from holdfast.events.app import EventsApp, RelayApp
from holdfast.events.outside import SERVICE
from holdfast.events.settings import EventsSettings
from holdfast.events.store.tables import SCHEMA

if TYPE_CHECKING:
    from pydantic import SecretStr

EXIT_MISSING: Final = 2
EXIT_FAILED: Final = 1


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m holdfast.events", description="Holdfast's events service")
    parser.add_argument(
        "command",
        choices=("serve", "migrate", "relay"),
        help="serve: answer RPCs, relay messages, keep time; migrate: bring the schema up to date; relay: relay alone",
    )
    command = parser.parse_args().command
    if command == "migrate":
        migrate()
        return
    mesh, settings = load(MeshSettings, EventsSettings)
    logging.configure(service=SERVICE, level=mesh.log_level, format=mesh.log_format)
    service.run((lambda: EventsApp(mesh, settings)) if command == "serve" else (lambda: RelayApp(mesh, settings)))


def migrate() -> None:
    """Make the roles, if there is an administrator's DSN to do it with, and apply the migrations that are missing."""
    (settings,) = load(EventsSettings)
    logging.configure(service=SERVICE, format="pretty" if sys.stderr.isatty() else "json")
    if settings.migration_dsn is None:
        sys.stderr.write(f"{variable(EventsSettings, 'migration_dsn')}: missing\n")
        raise SystemExit(EXIT_MISSING)
    try:
        if settings.admin_dsn is not None:
            logins = (settings.database_dsn, settings.relay_dsn, settings.migration_dsn)
            roles.ensure(
                settings.admin_dsn.get_secret_value(), schema=SCHEMA, passwords=dict(_login(dsn) for dsn in logins)
            )
        migrations.upgrade(settings.migration_dsn.get_secret_value(), package="holdfast.events")
    except (DBAPIError, ValueError, psycopg.Error, migrations.MigrationError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        sys.stderr.write(f"holdfast: the schema {SCHEMA} could not be migrated: {cause}\n")
        raise SystemExit(EXIT_FAILED) from None


def _login(dsn: SecretStr) -> tuple[str, str]:
    """Give the role and the password of a DSN."""
    parts = conninfo_to_dict(dsn.get_secret_value())
    return str(parts["user"]), str(parts.get("password") or "")


if __name__ == "__main__":
    main()
