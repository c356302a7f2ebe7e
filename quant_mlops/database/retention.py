"""Retention: chunks older than an operator wants to keep, shown, then dropped on the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

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

    @property
    def until(self) -> datetime | None:
        """Every row with an earlier event time is in the chunks; None without a chunk."""
        return self.chunks[-1].range_end if self.chunks else None


@dataclass(frozen=True)
class Retention:
    """What was dropped, as it is on record.

    Attributes
    ----------
    dropped_until : datetime
        Every row of the table with an earlier event time went.
    snapshot_ids : list of UUID
        Training sets that were made of such rows.
    """

    table_name: str
    dropped_until: datetime
    row_count: int
    snapshot_ids: list[UUID]
    dropped_by: str
    dropped_at: datetime

    def sentence(self) -> str:
        """Return what happened, to end a sentence with or to begin one."""
        return (
            f"rows of {self.table_name} before {self.dropped_until.astimezone(UTC):%Y-%m-%d} were "
            f"dropped by retention on {self.dropped_at.astimezone(UTC):%Y-%m-%d} by "
            f"{self.dropped_by}"
        )


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


def drop_expired(
    database: Database,
    table: str,
    *,
    before: datetime,
    by: str,
    snapshot_ids: Sequence[UUID] = (),
) -> Expiry:
    """Drop the chunks that `find_expired` finds, put that on record, and return them.

    Nothing brings them back: training sets made of them can be verified by their files alone.

    Parameters
    ----------
    by : str
        Who drops them; kept.
    snapshot_ids : sequence of UUID
        Training sets made of their rows, whose verification will say where these went.

    Raises
    ------
    DatabaseError
        `by` is empty, or as `find_expired`.
    """
    if not by.strip():
        raise DatabaseError(f"rows of {table} are dropped by somebody: give a name, not {by!r}")
    found = find_expired(database, table, before=before)
    if found.chunks:
        with database.transaction() as connection:
            connection.execute(
                "SELECT drop_chunks(%s::regclass, older_than => %s::timestamptz)", [table, before]
            )
            record_retention(connection, found, by=by, snapshot_ids=snapshot_ids)
    return found


def record_retention(
    connection: psycopg.Connection[TupleRow],
    dropped: Expiry,
    *,
    by: str,
    snapshot_ids: Sequence[UUID],
) -> None:
    """Put on record what was dropped, in the transaction that drops it."""
    parameters = {
        "table": dropped.table,
        "dropped_until": dropped.until,
        "row_count": dropped.rows,
        "snapshot_ids": list(snapshot_ids),
        "by": by.strip(),
    }
    connection.execute(query("insert_retention"), parameters)


def retentions_of(database: Database, snapshot_id: UUID) -> list[Retention]:
    """Return what was dropped of the rows that a training set was made of, oldest first."""
    return database.fetch_rows(Retention, query("select_retentions_of_snapshot"), [snapshot_id])


def _count_rows(database: Database, table: str, chunks: list[OldChunk]) -> int:
    if not chunks:
        return 0
    statement = sql.SQL("SELECT count(*) FROM {} WHERE event_time < %s")
    with database.connection() as connection:
        counted = connection.execute(
            statement.format(sql.Identifier(table)), [chunks[-1].range_end]
        ).fetchone()
    return int(counted[0]) if counted else 0
