"""What `python -m holdfast.<service> migrate` does, for every service."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.exc import DBAPIError

from holdfast.common import logging, migrations, roles
from holdfast.common.settings import load, variable

if TYPE_CHECKING:
    from pydantic import SecretStr

    from holdfast.common.settings import ServiceSettings

EXIT_MISSING: Final = 2
EXIT_FAILED: Final = 1
_ADMINISTRATION: Final = frozenset({"admin_dsn"})


def migrate(settings_class: type[ServiceSettings], *, schema: str) -> None:
    """Make the schema's roles, if there is an administrator's DSN to do it with, and apply the missing migrations.

    The roles are those of all other DSNs among the settings, each with its DSN's password. The migrations are those of
    the package `holdfast.<schema>`. One line on stderr says what is wrong, and SystemExit carries 2 when a variable is
    missing or malformed, 1 when the schema could not be migrated.
    """
    (settings,) = load(settings_class)
    logging.configure(service=schema, format="pretty" if sys.stderr.isatty() else "json")
    if settings.migration_dsn is None:
        sys.stderr.write(f"{variable(settings_class, 'migration_dsn')}: missing\n")
        raise SystemExit(EXIT_MISSING)
    try:
        if settings.admin_dsn is not None:
            dsns = [
                dsn
                for name, dsn in settings
                if name.endswith("_dsn") and name not in _ADMINISTRATION and dsn is not None
            ]
            roles.ensure(
                settings.admin_dsn.get_secret_value(), schema=schema, passwords=dict(_login(dsn) for dsn in dsns)
            )
        migrations.upgrade(settings.migration_dsn.get_secret_value(), package=f"holdfast.{schema}")
    except (DBAPIError, ValueError, psycopg.Error, migrations.MigrationError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        sys.stderr.write(f"holdfast: the schema {schema} could not be migrated: {cause}\n")
        raise SystemExit(EXIT_FAILED) from None


def _login(dsn: SecretStr) -> tuple[str, str]:
    """Give the role and the password of a DSN."""
    parts = conninfo_to_dict(dsn.get_secret_value())
    return str(parts["user"]), str(parts.get("password") or "")
