"""How the hypertables stand: chunks, compression, and bytes for each row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from psycopg import sql

from quant_mlops.database.connection import Database
from quant_mlops.database.queries import query


@dataclass(frozen=True)
class Hypertable:
    """One hypertable.

    Attributes
    ----------
    hypertable_name : str
    chunks, compressed_chunks : int
    rows : int
        Counted in compressed chunks and in those that the server has not analysed yet, as right
        after they were made; its estimate in the others. What came late into a compressed chunk
        is counted when it is compressed again.
    bytes : int
        Of all chunks, with indexes.
    compressed_rows, compressed_bytes : int
        The part of both that lies in compressed chunks.
    bytes_before_compression : int
        What these chunks took when they were compressed first.
    """

    hypertable_name: str
    chunks: int
    compressed_chunks: int
    rows: int
    bytes: int
    compressed_rows: int
    compressed_bytes: int
    bytes_before_compression: int

    @property
    def bytes_a_row(self) -> float | None:
        """Bytes for each row, compressed or not; None without rows."""
        return self.bytes / self.rows if self.rows else None

    @property
    def bytes_a_compressed_row(self) -> float | None:
        """Bytes for each row of the compressed chunks; None without such rows."""
        return self.compressed_bytes / self.compressed_rows if self.compressed_rows else None


def has_timescaledb(database: Database) -> bool:
    """Return whether the extension is installed in the database."""
    found = database.fetch_one("SELECT FROM pg_extension WHERE extname = 'timescaledb'")
    return found is not None


def hypertables(database: Database) -> list[Hypertable]:
    """Return the hypertables of our schema, the largest first; none without TimescaleDB."""
    if not has_timescaledb(database):
        return []
    counted = _count_compressed(database)
    unanalysed = _count_unanalysed(database)
    return [
        Hypertable(
            hypertable_name=name,
            chunks=chunks,
            compressed_chunks=compressed,
            rows=plain_rows + unanalysed[name] + counted[name],
            bytes=used,
            compressed_rows=counted[name],
            compressed_bytes=compressed_bytes,
            bytes_before_compression=before,
        )
        for name, chunks, compressed, plain_rows, used, compressed_bytes, before in (
            database.fetch_all(query("timescale/select_hypertables"))
        )
    ]


def _count_compressed(database: Database) -> Counter[str]:
    """Return how many rows the batches of each hypertable hold, which they say themselves."""
    batches = database.fetch_all(query("timescale/select_compressed_chunks"))
    return _sums(database, sql.SQL("coalesce(sum(_ts_meta_count), 0)"), batches)


def _count_unanalysed(database: Database) -> Counter[str]:
    """Return how many rows each hypertable has in chunks that the server knows nothing of yet."""
    chunks = database.fetch_all(query("timescale/select_unanalysed_chunks"))
    return _sums(database, sql.SQL("count(*)"), chunks)


def _sums(database: Database, what: sql.SQL, tables: list[tuple[str, str, str]]) -> Counter[str]:
    """Return the sum of an aggregate over the tables (hypertable, schema, name) of each name."""
    rows: Counter[str] = Counter()
    parts = [
        sql.SQL("SELECT {}, {} FROM {}").format(
            sql.Literal(name), what, sql.Identifier(schema, table)
        )
        for name, schema, table in tables
    ]
    if parts:
        with database.connection() as connection:
            for name, count in connection.execute(sql.SQL(" UNION ALL ").join(parts)).fetchall():
                rows[name] += int(count)
    return rows
