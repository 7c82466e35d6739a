"""Every key of every table starts with the organization: tables can be spread by it, and no key spans two."""

from __future__ import annotations

import importlib

import pytest
from sqlalchemy import (
    Column,
    ForeignKeyConstraint,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

SERVICES = ("events", "capacity", "pricing")
# Tables without an organization, and why.
WITHOUT_ORGANIZATION = {"leases": "which process does the service's own work"}
# Unique keys of the whole mesh, and why.
UNIQUE_EVERYWHERE = {"organizations_slug": "an organization's slug names it in the whole mesh"}


def faults(metadata: MetaData) -> list[str]:
    """Whatever of a schema could not be spread by organization."""
    found = []
    for table in metadata.tables.values():
        if "organization_id" not in table.c:
            if table.name not in WITHOUT_ORGANIZATION:
                found.append(f"{table.fullname} has no organization_id")
            continue
        unique = [key for key in table.constraints if isinstance(key, PrimaryKeyConstraint | UniqueConstraint)]
        for key in (*unique, *(index for index in table.indexes if index.unique)):
            columns = [column.name for column in key.columns]
            if columns[:1] != ["organization_id"] and str(key.name) not in UNIQUE_EVERYWHERE:
                found.append(f"{table.fullname}: {key.name or 'the primary key'} starts with {columns[:1]}")
        found += [
            f"{table.fullname}: {key.name or key.column_keys} refers to another table without its organization"
            for key in table.foreign_key_constraints
            if "organization_id" not in key.column_keys
        ]
    return found


def metadata_of(service: str) -> list[MetaData]:
    module = importlib.import_module(f"holdfast.{service}.store.tables")
    return list({id(value): value for value in vars(module).values() if isinstance(value, MetaData)}.values())


@pytest.mark.parametrize("service", SERVICES)
def test_every_key_starts_with_the_organization(service: str) -> None:
    described = metadata_of(service)
    assert described, f"holdfast.{service}.store.tables describes no tables"
    assert any(metadata.tables for metadata in described)
    assert not [fault for metadata in described for fault in faults(metadata)]


@pytest.mark.parametrize(
    "columns",
    [
        (Column("id", Text, primary_key=True),),
        (Column("id", Text, primary_key=True), Column("organization_id", Text, primary_key=True)),
        (Column("organization_id", Text, primary_key=True), Column("slug", Text, unique=True)),
        (Column("organization_id", Text, primary_key=True), Column("slug", Text), Index("slugs", "slug", unique=True)),
        (
            Column("organization_id", Text, primary_key=True),
            Column("venue_id", Text),
            ForeignKeyConstraint(["venue_id"], ["venues.id"]),
        ),
    ],
)
def test_a_planted_key_is_found(columns: tuple[Column[str]]) -> None:
    metadata = MetaData()
    Table("planted", metadata, *columns)
    assert faults(metadata)


def test_a_right_table_is_left_alone() -> None:
    metadata = MetaData()
    Table(
        "right",
        metadata,
        Column("organization_id", Text, primary_key=True),
        Column("id", Text, primary_key=True),
        Column("slug", Text),
        UniqueConstraint("organization_id", "slug"),
        ForeignKeyConstraint(["organization_id", "id"], ["venues.organization_id", "venues.id"]),
    )
    assert not faults(metadata)
