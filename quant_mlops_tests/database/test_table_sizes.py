"""Small tables are counted; of large ones the estimate is given, and none where there is none."""

from __future__ import annotations

from quant_mlops.database import Database
from quant_mlops.database.table_sizes import TableSize, table_sizes


def found(database: Database, **options: int) -> TableSize:
    (size,) = (s for s in table_sizes(database, **options) if s.name == "numbers")
    return size


def test_a_table_is_counted_where_that_is_quick_and_never_said_to_be_empty_unseen(
    empty_database: Database,
) -> None:
    # Without autovacuum, which would analyse the table at a time of its own choosing.
    empty_database.execute(
        "CREATE TABLE numbers WITH (autovacuum_enabled = false) "
        "AS SELECT generate_series(1, 5000) AS n"
    )
    counted = found(empty_database)
    assert (counted.rows, counted.estimated) == (5000, False)
    assert counted.bytes > 0
    unknown = found(empty_database, counted_below=0)
    assert (unknown.rows, unknown.estimated) == (None, True)
    empty_database.execute("ANALYZE numbers")
    estimated = found(empty_database, counted_below=0)
    assert (estimated.rows, estimated.estimated) == (5000, True)


def test_an_empty_table_has_no_rows(empty_database: Database) -> None:
    empty_database.execute("CREATE TABLE numbers (n integer)")
    assert found(empty_database) == TableSize("numbers", 0, False, 0)
