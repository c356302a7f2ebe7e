"""What differs between two training sets: rows, and cells with both their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from quant_mlops.training.snapshot_parquet import read_sessions, session_ranges

KEY = ("session", "entity_key")
# Sessions whose rows of both sets are in memory at a time.
SESSIONS_AT_A_TIME = 500
CELLS_LISTED = 20


@dataclass(frozen=True)
class CellDifference:
    """One cell that has another value; None where a value is absent."""

    session: date
    entity_key: str
    column: str
    before: Any
    after: Any


@dataclass(frozen=True)
class ColumnDifference:
    """What differs in one column.

    Attributes
    ----------
    cells : int
        How many cells have another value.
    largest : float
        Greatest absolute difference, in the column's unit; NaN where no two numbers differ.
    """

    cells: int
    largest: float


@dataclass(frozen=True)
class SnapshotDiff:
    """What differs between a training set and another.

    Attributes
    ----------
    rows_before, rows_after : int
    rows_gone, rows_new : int
        Keys of session and entity that only the first or only the second has.
    cells_compared : int
        Cells of the rows that both have, in the columns that both have.
    columns : dict
        Those with differing cells.
    columns_gone, columns_new : tuple of str
    cells : tuple of CellDifference
        The first of them, by session, entity and column.
    keys_gone, keys_new : tuple of (date, str)
        The first of them.
    """

    rows_before: int = 0
    rows_after: int = 0
    rows_gone: int = 0
    rows_new: int = 0
    cells_compared: int = 0
    columns: dict[str, ColumnDifference] | None = None
    columns_gone: tuple[str, ...] = ()
    columns_new: tuple[str, ...] = ()
    cells: tuple[CellDifference, ...] = ()
    keys_gone: tuple[tuple[date, str], ...] = ()
    keys_new: tuple[tuple[date, str], ...] = ()

    @property
    def cells_changed(self) -> int:
        """How many cells have another value."""
        return sum(column.cells for column in (self.columns or {}).values())

    @property
    def identical(self) -> bool:
        """Whether the two hold the same rows, columns and values."""
        return not (
            self.rows_gone
            or self.rows_new
            or self.cells_changed
            or self.columns_gone
            or self.columns_new
        )

    def sentence(self) -> str:
        """Return the differences in one sentence."""
        if self.identical:
            return f"no difference in {self.rows_before:,} rows"
        parts = []
        if self.cells_changed:
            share = self.cells_changed / self.cells_compared
            parts.append(f"{self.cells_changed:,} cells differ ({share:.2%})")
        if self.rows_gone:
            parts.append(f"{self.rows_gone:,} rows are gone")
        if self.rows_new:
            parts.append(f"{self.rows_new:,} rows are new")
        if self.columns_gone:
            parts.append(f"columns {', '.join(self.columns_gone)} are gone")
        if self.columns_new:
            parts.append(f"columns {', '.join(self.columns_new)} are new")
        return "; ".join(parts)


def diff_files(before: Path, after: Path, *, cells: int = CELLS_LISTED) -> SnapshotDiff:
    """Compare two training sets, some sessions at a time.

    Parameters
    ----------
    before, after : Path
        Parquet files of snapshots.
    cells : int
        How many differing cells, and keys of each kind, are listed; all are counted.
    """
    names = [pq.read_schema(path).names for path in (before, after)]
    shared = [name for name in names[0] if name in names[1] and name not in KEY]
    total = SnapshotDiff(
        columns={},
        columns_gone=tuple(name for name in names[0] if name not in names[1]),
        columns_new=tuple(name for name in names[1] if name not in names[0]),
    )
    for first, last in session_ranges([before, after], sessions=SESSIONS_AT_A_TIME):
        part = diff_tables(
            read_sessions(before, first, last), read_sessions(after, first, last), shared,
            cells=cells,
        )  # fmt: skip
        total = _sum(total, part, cells)
    return total


def diff_tables(
    before: pa.Table, after: pa.Table, columns: Sequence[str], *, cells: int = CELLS_LISTED
) -> SnapshotDiff:
    """Compare some columns of two tables, row by row of the same session and entity."""
    rows, gone, new = _matched(before, after)
    found: dict[str, ColumnDifference] = {}
    listed: list[CellDifference] = []
    keys = before.select(KEY)
    for name in columns:
        one = before[name].take(pa.array(rows[:, 0])).combine_chunks()
        other = after[name].take(pa.array(rows[:, 1])).combine_chunks()
        differs = np.flatnonzero(_differs(one, other))
        if len(differs) == 0:
            continue
        found[name] = ColumnDifference(len(differs), _largest(one, other, differs))
        for i in differs[:cells]:
            key = keys.slice(rows[i, 0], 1).to_pylist()[0]
            listed.append(
                CellDifference(
                    key["session"], key["entity_key"], name, one[i].as_py(), other[i].as_py()
                )
            )
    listed.sort(key=lambda cell: (cell.session, cell.entity_key, cell.column))
    return SnapshotDiff(
        rows_before=before.num_rows,
        rows_after=after.num_rows,
        rows_gone=len(gone),
        rows_new=len(new),
        cells_compared=len(rows) * len(columns),
        columns=found,
        cells=tuple(listed[:cells]),
        keys_gone=_keys(before, gone[:cells]),
        keys_new=_keys(after, new[:cells]),
    )


def _matched(
    before: pa.Table, after: pa.Table
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return rows of both with the same key, shape (M, 2), and those of one only."""
    left, right = (
        table.select(KEY).append_column(name, pa.array(np.arange(table.num_rows)))
        for table, name in ((before, "left"), (after, "right"))
    )
    joined = left.join(right, keys=list(KEY), join_type="full outer")
    one, other = (joined[name].fill_null(-1).to_numpy() for name in ("left", "right"))
    both = (one >= 0) & (other >= 0)
    rows = np.column_stack([one[both], other[both]]).astype(np.int64)
    return rows[np.argsort(rows[:, 0])], np.sort(one[other < 0]), np.sort(other[one < 0])


def _differs(one: pa.Array, other: pa.Array) -> npt.NDArray[np.bool_]:
    absent, other_absent = (np.asarray(values.is_null(nan_is_null=True)) for values in (one, other))
    unequal = np.asarray(pc.fill_null(pc.not_equal(one, other), False))
    return np.asarray((absent != other_absent) | (unequal & ~absent), dtype=np.bool_)


def _largest(one: pa.Array, other: pa.Array, rows: npt.NDArray[np.int64]) -> float:
    if not pa.types.is_floating(one.type):
        return float("nan")
    values = [array.take(pa.array(rows)).to_numpy(zero_copy_only=False) for array in (one, other)]
    difference = np.abs(values[1] - values[0])
    known = difference[np.isfinite(difference)]
    return float(known.max()) if known.size else float("nan")


def _keys(table: pa.Table, rows: npt.NDArray[np.int64]) -> tuple[tuple[date, str], ...]:
    found = table.select(KEY).take(pa.array(rows)).to_pylist()
    return tuple((row["session"], row["entity_key"]) for row in found)


def _sum(total: SnapshotDiff, part: SnapshotDiff, cells: int) -> SnapshotDiff:
    columns = dict(total.columns or {})
    for name, found in (part.columns or {}).items():
        before = columns.get(name, ColumnDifference(0, float("nan")))
        columns[name] = ColumnDifference(
            before.cells + found.cells, float(np.fmax(before.largest, found.largest))
        )
    return replace(
        total,
        rows_before=total.rows_before + part.rows_before,
        rows_after=total.rows_after + part.rows_after,
        rows_gone=total.rows_gone + part.rows_gone,
        rows_new=total.rows_new + part.rows_new,
        cells_compared=total.cells_compared + part.cells_compared,
        columns=columns,
        cells=(total.cells + part.cells)[:cells],
        keys_gone=(total.keys_gone + part.keys_gone)[:cells],
        keys_new=(total.keys_new + part.keys_new)[:cells],
    )
