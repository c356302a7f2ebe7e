"""Telling which of the rows offered for storage say nothing that is not known already.

A second load of the same history is the common case. Comparing arrays series by series costs a
tenth of staging the rows and joining them, and needs no luck with the planner.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quant_mlops.instants import from_microseconds

Instants = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]
TIMES = ("event_time", "ingest_time")


@dataclass(frozen=True)
class Comparison:
    """What offered rows say beyond what is stored.

    Attributes
    ----------
    known : ndarray of bool, shape (R,)
        The row says what was known of its event just before its ingest time, by a row that is
        stored or offered, so it is no news.
    revisions : int
        How many of the other rows differ from what was known of their event.
    contradictions : ndarray of int
        Rows that say something else than another, offered or stored, of the same event and
        ingest time; while there is any, nothing may be stored.
    contradicted : tuple of float
        Values of the other of the first of them; empty if there is none.
    """

    known: Mask
    revisions: int
    contradictions: Places
    contradicted: tuple[float, ...] = ()


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
            for name in TIMES
        )
        return cls(event, ingest, tuple(table[n].to_numpy().astype(np.float64) for n in values))

    def part(self, rows: slice) -> TimedRows:
        """Return some of the rows."""
        values = tuple(column[rows] for column in self.values)
        return TimedRows(self.event_times[rows], self.ingest_times[rows], values)

    def bounds(self) -> tuple[datetime, datetime]:
        """Return the first and the last event time."""
        ends = (int(self.event_times.min()), int(self.event_times.max()))
        first, last = (from_microseconds(end) for end in ends)
        return first, last

    def against(self, stored: TimedRows) -> Comparison:
        """Hold offered rows of one series against what is stored of it.

        Parameters
        ----------
        stored : TimedRows
            In any order, no two with the same times.
        """
        count = len(stored.event_times)
        event = np.concatenate([stored.event_times, self.event_times])
        ingest = np.concatenate([stored.ingest_times, self.ingest_times])
        values = tuple(
            np.concatenate([theirs, ours])
            for theirs, ours in zip(stored.values, self.values, strict=True)
        )
        order = np.lexsort((ingest, event))  # stable: a stored row comes before an offered one
        both = TimedRows(event[order], ingest[order], tuple(v[order] for v in values))
        follows = (both.event_times[1:] == both.event_times[:-1]) & (order[1:] >= count)
        return both._judge(follows, order[1:] - count, len(self.event_times))

    def among_themselves(self, starts: Places) -> Comparison:
        """Hold the rows of many series against each other.

        Parameters
        ----------
        starts : ndarray of int
            Where each series begins; within it rows are in order of event and ingest time.
        """
        follows = self.event_times[1:] == self.event_times[:-1]
        follows[starts[starts > 0] - 1] = False
        count = len(self.event_times)
        return self._judge(follows, np.arange(1, count, dtype=np.intp), count)

    def _judge(self, follows: Mask, offered: Places, count: int) -> Comparison:
        """Judge each row that follows one of the same event; `offered` is its place there."""
        places = np.flatnonzero(follows)
        equal = np.ones(len(places), dtype=np.bool_)
        for column in self.values:
            before, after = column[places], column[places + 1]
            equal &= (before == after) | (np.isnan(before) & np.isnan(after))
        known = np.zeros(count, dtype=np.bool_)
        known[offered[places[equal]]] = True
        differs = places[~equal]
        same_key = differs[self.ingest_times[differs] == self.ingest_times[differs + 1]]
        contradicted = tuple(
            float(column[place]) for place in same_key[:1] for column in self.values
        )
        return Comparison(known, len(differs), offered[same_key], contradicted)


def compare(
    offered: TimedRows,
    series: Mapping[tuple[Any, ...], slice],
    stored: Iterable[tuple[tuple[Any, ...], TimedRows]],
) -> Comparison:
    """Hold offered rows of many series against each other and against what is stored.

    Parameters
    ----------
    offered : TimedRows
        Each series in one piece, in order of event and ingest time.
    series : mapping of tuple to slice
        Where the pieces are, in their order.
    stored : iterable
        Series with what is stored of them; those without anything may be left out.
    """
    starts = np.array([part.start for part in series.values()], dtype=np.intp)
    alone = offered.among_themselves(starts)
    known, revisions = alone.known, alone.revisions
    contradictions, contradicted = [alone.contradictions], alone.contradicted
    for name, rows in stored:
        part = series[name]
        itself = offered.part(part)
        found = itself.against(rows)
        known[part] = found.known
        revisions += found.revisions - itself.among_themselves(starts[:0]).revisions
        contradictions.append(part.start + found.contradictions)
        contradicted = contradicted or found.contradicted
    return Comparison(known, revisions, np.concatenate(contradictions), contradicted)


def by_series(
    table: pa.Table, columns: Sequence[str]
) -> tuple[pa.Table, Mapping[tuple[Any, ...], slice]]:
    """Return the rows with each series in one piece and in order of time, and where each piece is.

    Rows that come so are not moved.
    """
    codes = np.zeros(table.num_rows, dtype=np.int64)
    for name in columns:
        encoded = table[name].combine_chunks().dictionary_encode()
        codes = codes * len(encoded.dictionary) + encoded.indices.to_numpy()
    event, ingest = (table[name].cast(pa.int64()).to_numpy() for name in TIMES)
    if not _in_order(codes, event, ingest):
        order = np.lexsort((ingest, event, codes))
        table, codes = table.take(pa.array(order)), codes[order]
    starts = np.flatnonzero(np.append([True], codes[1:] != codes[:-1])[: len(codes)])
    keys = table.select(list(columns)).take(pa.array(starts))
    names = zip(*(keys[name].to_pylist() for name in columns), strict=True)
    stops = [*starts[1:].tolist(), table.num_rows]
    pieces = zip(names, starts.tolist(), stops, strict=True)
    return table, {name: slice(start, stop) for name, start, stop in pieces}


def _in_order(codes: Instants, event: Instants, ingest: Instants) -> bool:
    same = codes[1:] == codes[:-1]
    pieces = len(codes) - int(same.sum())
    if pieces != len(np.unique(codes)):
        return False
    later = (event[1:] > event[:-1]) | ((event[1:] == event[:-1]) & (ingest[1:] >= ingest[:-1]))
    return bool((later | ~same).all())
