"""How many rows and bytes each table holds: counted where that is quick, else estimated."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from quant_mlops.database.connection import Database
from quant_mlops.database.hypertables import has_timescaledb
from quant_mlops.database.queries import query

QUICKLY_COUNTED_BYTES = 64 << 20


@dataclass(frozen=True)
class TableSize:
    """One table.

    Attributes
    ----------
    name : str
    rows : int or None
        None where the table is too large to be counted and was never analysed.
    estimated : bool
        The rows were not counted: they are what ANALYZE last found, or None.
    bytes : int
        With indexes.
    """

    name: str
    rows: int | None
    estimated: bool
    bytes: int


def table_sizes(
    database: Database, *, counted_below: int = QUICKLY_COUNTED_BYTES
) -> list[TableSize]:
    """Return the tables of our schema, the largest first.

    Parameters
    ----------
    database : Database
    counted_below : int
        Bytes below which a table is counted; counting a larger one takes seconds.
    """
    found = []
    statement = query(
        "timescale/select_table_sizes" if has_timescaledb(database) else "select_table_sizes"
    )
    with database.connection() as connection:
        for name, estimate, used in connection.execute(statement).fetchall():
            if used < counted_below:
                count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))
                counted = connection.execute(count).fetchone()
                assert counted is not None
                found.append(TableSize(name, counted[0], False, used))
            else:
                # A table of that size is not empty: no rows means that nobody has looked yet.
                found.append(TableSize(name, estimate or None, True, used))
    return found
