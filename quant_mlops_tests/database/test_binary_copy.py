from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_mlops.database import Database
from quant_mlops.database.binary_copy import CHUNK_ROWS, copy_table, encode_rows, stream_arrays
from quant_mlops.errors import DatabaseError

INSTANT = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("t", pa.string()),
        ("d", pa.float64()),
        ("i", pa.int32()),
        ("l", pa.int64()),
        ("b", pa.bool_()),
        ("day", pa.date32()),
        ("at", INSTANT),
    ]
)
CREATE = """
CREATE TABLE copied (
    nth bigint GENERATED ALWAYS AS IDENTITY, t text, d double precision, i integer, l bigint,
    b boolean, day date, at timestamptz
)
"""
SELECT = "SELECT t, d, i, l, b, day, at FROM copied ORDER BY nth"

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "t": st.none() | st.sampled_from(["", "A", "ü", "株式", "🐍"]) | TEXT,
            "d": st.none() | st.floats(),
            "i": st.none() | st.integers(-(2**31), 2**31 - 1),
            "l": st.none() | st.integers(-(2**63), 2**63 - 1),
            "b": st.none() | st.booleans(),
            "day": st.none() | st.dates(),
            "at": st.none() | st.datetimes(timezones=st.just(UTC)),
        }
    ),
    max_size=30,
)


@pytest.fixture(scope="module")
def target(module_database: Database) -> Iterator[Database]:
    module_database.execute(CREATE)
    yield module_database
    module_database.execute("DROP TABLE copied")


def round_trip(database: Database, table: pa.Table) -> list[tuple[object, ...]]:
    database.execute("TRUNCATE copied")
    with database.transaction() as connection:
        assert copy_table(connection, "copied", table=table) == table.num_rows
    return database.fetch_all(SELECT)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS, pieces=st.integers(1, 3))
def test_what_is_copied_is_what_is_selected(
    target: Database, rows: list[dict[str, object]], pieces: int
) -> None:
    table = pa.concat_tables(
        [pa.Table.from_pylist(rows[part::pieces], schema=SCHEMA) for part in range(pieces)]
    )
    expected = [tuple(row.values()) for row in table.to_pylist()]
    found = round_trip(target, table)
    assert [tuple(map(str, row)) for row in found] == [tuple(map(str, row)) for row in expected]


def test_more_rows_than_one_chunk_arrive_in_order(target: Database) -> None:
    count = 2 * CHUNK_ROWS + 7
    number = np.arange(count)
    words = np.array(["", "a", "bé", "long" * 20])
    table = pa.table(
        {
            "t": pa.array(words[number % 4], mask=number % 5 == 0),
            "d": pa.array(number / 7),
            "i": pa.array(number.astype(np.int32)),
            "l": pa.array(-number, mask=number % 3 == 0),
            "b": pa.array(number % 2 == 0),
            "day": pa.array((number % 20_000).astype("datetime64[D]")),
            "at": pa.array(number * 1_000_003).cast(INSTANT),
        },
        schema=SCHEMA,
    )
    assert round_trip(target, table) == [tuple(row.values()) for row in table.to_pylist()]


def test_dictionaries_large_strings_and_other_units_are_copied_as_their_values(
    target: Database,
) -> None:
    moment = datetime(2024, 1, 15, 21, tzinfo=UTC)
    table = pa.table(
        {
            "t": pa.array(["a", None, "b", "a"]).dictionary_encode(),
            "at": pa.array([moment] * 4, pa.timestamp("ms", "America/New_York")),
        }
    )
    assert [(row[0], row[6]) for row in round_trip(target, table)] == [
        (text, moment) for text in ("a", None, "b", "a")
    ]
    large = pa.table({"t": pa.array(["", "é"], pa.large_string()), "d": pa.nulls(2)})
    assert [row[:2] for row in round_trip(target, large)] == [("", None), ("é", None)]


def test_an_empty_table_is_no_row(target: Database) -> None:
    assert round_trip(target, SCHEMA.empty_table()) == []
    assert list(encode_rows(SCHEMA.empty_table())) == []


EARLIEST = "4714-11-24 BC"


def test_the_earliest_time_that_the_server_holds_is_copied(target: Database) -> None:
    earliest = -210_866_803_200_000_000
    table = pa.table(
        {
            "at": pa.array([earliest]).cast(INSTANT),
            "day": pa.array([-2_440_588], pa.int32()).cast(pa.date32()),
        }
    )
    target.execute("TRUNCATE copied")
    with target.transaction() as connection:
        copy_table(connection, "copied", table=table)
    assert target.fetch_one("SELECT at::text, day::text FROM copied") == (
        "4714-11-24 00:00:00+00 BC",
        EARLIEST,
    )


@pytest.mark.parametrize(
    "value", [-(2**63), -(2**63) + 946_684_800_000_000, -210_866_803_200_000_001]
)
def test_an_earlier_time_is_refused_and_never_becomes_another(target: Database, value: int) -> None:
    table = pa.table({"at": pa.array([value]).cast(INSTANT)})
    with pytest.raises(DatabaseError, match="4714 BC"), target.transaction() as connection:
        copy_table(connection, "copied", table=table)


@pytest.mark.parametrize("value", [-(2**31), -2_440_589])
def test_an_earlier_day_is_refused_and_never_becomes_another(target: Database, value: int) -> None:
    table = pa.table({"day": pa.array([value], pa.int32()).cast(pa.date32())})
    with pytest.raises(DatabaseError, match="4714 BC"), target.transaction() as connection:
        copy_table(connection, "copied", table=table)


def test_arrays_are_read_as_numpy(module_database: Database) -> None:
    statement = """
        SELECT 'x', array_agg(n::double precision), array_agg('2024-01-15 21:00Z'::timestamptz + n
               * interval '1 microsecond'), array_agg('2024-01-15'::date + n), '{}'::float8[]
        FROM generate_series(0, 2) AS n
    """
    with module_database.transaction() as connection:
        ((name, doubles, instants, days, nothing),) = stream_arrays(connection, statement, {})
    start = datetime(2024, 1, 15, 21, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    assert name == "x"
    np.testing.assert_array_equal(doubles, [0.0, 1.0, 2.0])
    np.testing.assert_array_equal(instants, start // timedelta(microseconds=1) + np.arange(3))
    np.testing.assert_array_equal(days, (date(2024, 1, 15) - date(1970, 1, 1)).days + np.arange(3))
    assert nothing.size == 0
    assert doubles.dtype == np.float64
    assert instants.dtype == days.dtype == np.int64


def test_a_null_in_an_array_is_refused_and_not_read_as_a_number(module_database: Database) -> None:
    with (
        module_database.transaction() as connection,
        pytest.raises(ValueError, match="NULL element"),
    ):
        list(stream_arrays(connection, "SELECT '{1,NULL,3}'::float8[]", {}))
