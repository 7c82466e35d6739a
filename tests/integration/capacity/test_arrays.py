"""Array literals: whatever a text holds, PostgreSQL reads it back as it was."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from holdfast.capacity.store.arrays import blobs, lists, moments, plain, texts

if TYPE_CHECKING:
    from tests.support.postgres import TestDatabase

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)
ONE_DATABASE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(values=st.lists(TEXT, max_size=6))
@example(
    values=["", "NULL", "null", "{}", ",", '"', "\\", '\\"', "a\\", " a ", "'; DROP TABLE capacity.holds; --", "\n"]
)
@example(values=['","'])
@example(values=['"', '"', '","'])
@ONE_DATABASE
def test_texts_come_back_as_they_were(database: TestDatabase, values: list[str]) -> None:
    with psycopg.connect(database.dsn("admin")) as connection:
        assert connection.execute("SELECT %s::text[]", (texts(values),)).fetchall() == [(values,)]
        nested = lists([texts(values), texts([])])
        rows = connection.execute("SELECT each::text[] FROM unnest(%s::text[]) AS each", (nested,)).fetchall()
        assert rows == [(values,), ([],)]


@given(values=st.lists(st.none() | st.binary(max_size=8), max_size=5))
@ONE_DATABASE
def test_bytes_come_back_as_they_were(database: TestDatabase, values: list[bytes | None]) -> None:
    with psycopg.connect(database.dsn("admin")) as connection:
        query = "SELECT decode(each, 'hex') FROM unnest(%s::text[]) WITH ORDINALITY AS e (each, at) ORDER BY at"
        assert [row[0] for row in connection.execute(query, (blobs(values),))] == values


def test_numbers_and_moments_come_back_as_they_were(database: TestDatabase) -> None:
    times = [datetime(2026, 5, 1, 12, 0, 0, 123456, UTC), None]
    with psycopg.connect(database.dsn("admin")) as connection:
        connection.execute("SET timezone TO 'America/Los_Angeles'")
        assert connection.execute("SELECT %s::bigint[]", (plain([1, None, -(2**63)]),)).fetchall() == [
            ([1, None, -(2**63)],)
        ]
        assert connection.execute("SELECT %s::timestamptz[]", (moments(times),)).fetchall() == [(times,)]
