"""Retention: chunks that are older than an operator wants to keep, shown and then dropped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg import sql

from quant_mlops.database.connection import Database
from quant_mlops.database.hypertables import hypertables
from quant_mlops.database.queries import query
from quant_mlops.errors import DatabaseError, TimescaleUnavailableError


@dataclass(frozen=True)
class OldChunk:
    """A chunk of which no row is about a time that is kept.

    Attributes
    ----------
    chunk_name : str
    range_start, range_end : datetime
        Its rows have event times from the first and before the second.
    is_compressed : bool
    bytes : int
        With indexes.
    """

    chunk_name: str
    range_start: datetime
    range_end: datetime
    is_compressed: bool
    bytes: int


@dataclass(frozen=True)
class Expiry:
    """The chunks of one table that a retention would drop, or has dropped.

    Attributes
    ----------
    table : str
    chunks : list of OldChunk
        In order of time.
    rows : int
        In all of them, counted.
    """

    table: str
    chunks: list[OldChunk]
    rows: int

    @property
    def bytes(self) -> int:
        """Bytes of all chunks."""
        return sum(chunk.bytes for chunk in self.chunks)


def find_expired(database: Database, table: str, *, before: datetime) -> Expiry:
    """Return what a retention would drop, and drop nothing.

    Parameters
    ----------
    database : Database
    table : str
        One of the hypertables.
    before : datetime
        Aware, not in the future. A chunk that holds any later time of event is kept whole.

    Raises
    ------
    TimescaleUnavailableError
        The table is not a hypertable, so it has no chunks.
    DatabaseError
        The time lies in the future.
    """
    if before > database.now():
        raise DatabaseError(
            f"retention was asked to drop what is older than {before.astimezone(UTC).isoformat()}, "
            f"which lies in the future; give a time that has passed"
        )
    if table not in {found.hypertable_name for found in hypertables(database)}:
        raise TimescaleUnavailableError(
            f"{table} is a plain table at {database.address}, from which no row can be removed; "
            f"retention drops chunks of hypertables: see `quant-mlops db timescale enable`"
        )
    parameters = {"table": table, "before": before}
    chunks = database.fetch_rows(OldChunk, query("timescale/select_droppable_chunks"), parameters)
    return Expiry(table, chunks, _count_rows(database, table, chunks))


def drop_expired(database: Database, table: str, *, before: datetime) -> Expiry:
    """Drop the chunks that `find_expired` finds, in one statement, and return them.

    Nothing brings them back: training sets made of them can be verified by their files alone.
    """
    found = find_expired(database, table, before=before)
    database.fetch_all(
        "SELECT drop_chunks(%s::regclass, older_than => %s::timestamptz)", [table, before]
    )
    return found


def _count_rows(database: Database, table: str, chunks: list[OldChunk]) -> int:
    if not chunks:
        return 0
    statement = sql.SQL("SELECT count(*) FROM {} WHERE event_time < %s")
    with database.connection() as connection:
        counted = connection.execute(
            statement.format(sql.Identifier(table)), [chunks[-1].range_end]
        ).fetchone()
    return int(counted[0]) if counted else 0
