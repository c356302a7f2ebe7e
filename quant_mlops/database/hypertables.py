"""How the hypertables stand: chunks, compression, and bytes for each row."""

from __future__ import annotations

from dataclasses import dataclass

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
        Counted when a chunk was compressed, else the server's estimate.
    bytes : int
        Of all chunks, with indexes.
    compressed_rows, compressed_bytes : int
        The part of both that lies in compressed chunks.
    bytes_before_compression : int
        What the compressed rows took before.
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
    return database.fetch_rows(Hypertable, query("timescale/select_hypertables"))
