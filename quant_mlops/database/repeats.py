"""Telling which of the rows offered for storage are stored already, key and values alike.

A second load of the same history is the common case. Comparing arrays series by series costs a
tenth of staging the rows and joining them, and needs no luck with the planner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Instants = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class TimedRows:
    """Rows of one series or of several, as arrays.

    Attributes
    ----------
    event_times, ingest_times : ndarray of int64, shape (R,)
        Microseconds UTC.
    values : tuple of ndarray of float64, each of shape (R,)
        NaN where there is none.
    """

    event_times: Instants
    ingest_times: Instants
    values: tuple[Floats, ...]

    @classmethod
    def of_table(cls, table: pa.Table, values: Sequence[str]) -> TimedRows:
        """Take the two times and the named columns of a table."""
        event, ingest = (
            table[name].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
            for name in ("event_time", "ingest_time")
        )
        return cls(event, ingest, tuple(table[n].to_numpy().astype(np.float64) for n in values))

    def part(self, rows: slice) -> TimedRows:
        """Return some of the rows."""
        values = tuple(column[rows] for column in self.values)
        return TimedRows(self.event_times[rows], self.ingest_times[rows], values)

    def bounds(self) -> tuple[datetime, datetime]:
        """Return the first and the last event time."""
        ends = (int(self.event_times.min()), int(self.event_times.max()))
        first, last = (EPOCH + timedelta(microseconds=end) for end in ends)
        return first, last

    def repeats(self, stored: TimedRows, *, nan_equals_nan: bool) -> Mask:
        """Tell which rows have a stored row with the same two times and the same values.

        Parameters
        ----------
        stored : TimedRows
            Rows of the same series in any order, no two with the same times.
        nan_equals_nan : bool
            Whether two NaN are the same value; False where NaN stands for more than one thing,
            and such a row then never counts as stored.
        """
        count = len(stored.event_times)
        event = np.concatenate([stored.event_times, self.event_times])
        ingest = np.concatenate([stored.ingest_times, self.ingest_times])
        order = np.lexsort((ingest, event))  # stable: a stored row comes before its repeats
        before, after = order[:-1], order[1:]
        same = (before < count) & (after >= count)
        same &= (event[before] == event[after]) & (ingest[before] == ingest[after])
        before, after = before[same], after[same] - count
        equal = np.ones(len(after), dtype=np.bool_)
        for offered_values, stored_values in zip(self.values, stored.values, strict=True):
            a, b = offered_values[after], stored_values[before]
            equal &= (a == b) | (np.isnan(a) & np.isnan(b) & nan_equals_nan)
        repeated = np.zeros(len(self.event_times), dtype=np.bool_)
        repeated[after[equal]] = True
        return repeated


def by_series(
    table: pa.Table, columns: Sequence[str]
) -> tuple[pa.Table, Mapping[tuple[Any, ...], slice]]:
    """Return the rows with each series in one piece, and where each piece is.

    Rows that come so are not moved; others are sorted by series and time.
    """
    names, starts = _pieces(table, columns)
    if len(set(names)) < len(names):
        order = [(name, "ascending") for name in (*columns, "event_time", "ingest_time")]
        table = table.sort_by(order)
        names, starts = _pieces(table, columns)
    ends = [*starts[1:], table.num_rows]
    return table, {name: slice(a, b) for name, a, b in zip(names, starts, ends, strict=True)}


def _pieces(table: pa.Table, columns: Sequence[str]) -> tuple[list[tuple[Any, ...]], list[int]]:
    starts_here = np.zeros(table.num_rows, dtype=np.bool_)
    starts_here[:1] = True
    for name in columns:
        codes = table[name].combine_chunks().dictionary_encode().indices.to_numpy()
        starts_here[1:] |= codes[1:] != codes[:-1]
    starts = np.flatnonzero(starts_here)
    keys = table.select(list(columns)).take(pa.array(starts))
    names = list(zip(*(column.to_pylist() for column in keys.columns), strict=True))
    return names, [int(start) for start in starts]
