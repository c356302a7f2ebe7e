"""The file of a training set: written in blocks, read whole or in parts, known by its digest."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from quant_mlops.training.fingerprint import FingerprintStream
from quant_mlops.training.snapshot import SnapshotBlock

BATCH_ROWS = 131_072


@dataclass(frozen=True)
class WrittenTable:
    """What was written to a file.

    Attributes
    ----------
    fingerprint : str
        Of the content; the same whatever the blocks.
    file_sha256 : str
        Of the file's bytes.
    first_session, last_session : date or None
        Of the rows; None if there are none.
    left_out : dict
        How many rows of the spine were left out, by reason.
    missing : dict
        How many rows with a label lack each feature, of those that any lacks.
    schema : dict
        Type of each column.
    """

    path: Path
    fingerprint: str
    file_sha256: str
    row_count: int
    first_session: date | None
    last_session: date | None
    left_out: dict[str, int]
    missing: dict[str, int]
    schema: dict[str, str]


def write_blocks(
    path: Path, blocks: Iterable[SnapshotBlock], *, meaning: dict[str, Any]
) -> WrittenTable:
    """Write blocks of rows to a Parquet file, holding no more than one of them in memory.

    Parameters
    ----------
    path : Path
        A new file; the caller puts it into its place once all is written.
    blocks : iterable of SnapshotBlock
        At least one, in order of session.
    meaning : dict
        What decides the meaning of the columns, for the fingerprint.
    """
    stream = FingerprintStream(meaning)
    left_out: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    writer: pq.ParquetWriter | None = None
    rows, sessions = 0, []
    try:
        for block in blocks:
            table = block.table
            stream.update(table)
            left_out.update(block.left_out)
            missing.update(block.missing)
            rows += table.num_rows
            if table.num_rows:
                sessions += [table["session"][0].as_py(), table["session"][-1].as_py()]
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise ValueError("a training set of no blocks has no columns; give one block or more")
    return WrittenTable(
        path=path,
        fingerprint=stream.hexdigest(),
        file_sha256=file_digest(path),
        row_count=rows,
        first_session=sessions[0] if sessions else None,
        last_session=sessions[-1] if sessions else None,
        left_out=dict(left_out),
        missing=dict(missing),
        schema={field.name: str(field.type) for field in writer.schema},
    )


def file_fingerprint(path: Path, meaning: dict[str, Any]) -> str:
    """Return the fingerprint of a file's content, read batch by batch.

    Raises
    ------
    OSError, pyarrow.ArrowException
        The file is no Parquet file, or is damaged.
    """
    stream = FingerprintStream(meaning)
    with pq.ParquetFile(path) as file:
        stream.update(file.schema_arrow.empty_table())
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            stream.update(pa.Table.from_batches([batch]))
    return stream.hexdigest()


def sessions_of(path: Path) -> list[date]:
    """Return the distinct sessions of a file, ascending."""
    with pq.ParquetFile(path) as file:
        days: set[date] = set()
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=["session"]):
            days.update(pc.unique(batch.column(0)).to_pylist())
    return sorted(days)


def read_sessions(path: Path, first: date, last: date) -> pa.Table:
    """Return the rows of a range of sessions, both ends included, in their order."""
    # It imports pandas as well, a third of a second that only the comparison of models needs.
    import pyarrow.dataset as ds

    session = ds.field("session")
    return ds.dataset(path).to_table(filter=(session >= first) & (session <= last))


def session_ranges(paths: Iterable[Path], *, sessions: int) -> Iterator[tuple[date, date]]:
    """Cut the sessions that occur in any of some files into ranges of so many."""
    days = sorted({day for path in paths for day in sessions_of(path)})
    for start in range(0, len(days), sessions):
        part = days[start : start + sessions]
        yield part[0], part[-1]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Make sure that what was written to a file, or a folder's entries, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
