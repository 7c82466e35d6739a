"""What a service verifies about its database before it serves: durability, and that its role is bound by the rules."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from holdfast.common.database_errors import StartRefused

DURABILITY_SETTINGS = ("fsync", "full_page_writes", "synchronous_commit")

_ROLE = text("SELECT rolname, rolsuper, rolbypassrls FROM pg_catalog.pg_roles WHERE rolname = current_user")
_OWNED = text(
    """
SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relkind IN ('r', 'p') AND pg_catalog.pg_get_userbyid(c.relowner) = current_user
ORDER BY c.relname LIMIT 1"""
)
_MEMBERSHIP = text(
    """
SELECT r.rolname FROM pg_catalog.pg_roles r
WHERE r.rolname <> current_user AND pg_catalog.pg_has_role(current_user, r.oid, 'MEMBER') AND (
  r.rolsuper OR r.rolbypassrls
  OR r.oid = (SELECT n.nspowner FROM pg_catalog.pg_namespace n WHERE n.nspname = :schema)
  OR r.oid IN (
    SELECT c.relowner FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema))
ORDER BY r.rolname LIMIT 1"""
)
_SCHEMA_OWNER = text(
    """
SELECT 1 FROM pg_catalog.pg_namespace
WHERE nspname = :schema AND pg_catalog.pg_get_userbyid(nspowner) = current_user"""
)


_ANY_TABLE = text(
    """
SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relkind IN ('r', 'p') LIMIT 1"""
)


async def check(connection: AsyncConnection, *, schema: str) -> None:
    """Refuse a database that may lose commits, and a role that row-level security does not bind.

    Raises StartRefused.
    """
    for setting in DURABILITY_SETTINGS:
        value = (await connection.execute(text("SELECT current_setting(:name)"), {"name": setting})).scalar_one()
        if value == "off":
            raise StartRefused(f"the database has {setting} = off: it could lose what was acknowledged")
    role = (await connection.execute(_ROLE)).one()
    if role.rolsuper:
        raise StartRefused(f"the role {role.rolname} is a superuser (SUPERUSER): row-level security would not bind it")
    if role.rolbypassrls:
        raise StartRefused(f"the role {role.rolname} has BYPASSRLS: row-level security would not bind it")
    if (await connection.execute(_SCHEMA_OWNER, {"schema": schema})).first() is not None:
        raise StartRefused(f"the role {role.rolname} owns the schema {schema} (OWNER): it could lift its own limits")
    owned = (await connection.execute(_OWNED, {"schema": schema})).scalar_one_or_none()
    if owned is not None:
        raise StartRefused(
            f"the role {role.rolname} owns the table {schema}.{owned} (OWNER): it could lift its own limits"
        )
    if (await connection.execute(_ANY_TABLE, {"schema": schema})).first() is None:
        raise StartRefused(f"the schema {schema} has no tables: run the migrations first")
    powerful = (await connection.execute(_MEMBERSHIP, {"schema": schema})).scalar_one_or_none()
    if powerful is not None:
        raise StartRefused(f"the role {role.rolname} is a member of {powerful} (MEMBER): it could lift its own limits")
