"""What was known when: the knowledge-time collapse of a series, and look-ups in it.

For a time t the value known is the one with the greatest `(event_time, ingest_time)` among rows
with `event_time <= t` and `ingest_time <= t`. Let `available = max(event_time, ingest_time)`.
In order of `(available, event_time, ingest_time)`, a row whose `(event_time, ingest_time)` is
not above that of every row before it can never be the answer; without such rows the series
rises in both, and the answer for t is the last row with `available <= t`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Instants = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class KnownSeries:
    """One series reduced to the rows that were ever the newest known, in order of knowledge.

    Attributes
    ----------
    available : ndarray of int64, shape (K,)
        When each row became the answer, microseconds UTC, ascending.
    event_times, ingest_times : ndarray of int64, shape (K,)
    values : ndarray of float64, shape (K,)
        NaN where the value is known to be missing.
    """

    available: Instants
    event_times: Instants
    ingest_times: Instants
    values: Floats

    def position(self, times: Instants) -> npt.NDArray[np.int64]:
        """Return the row known at each time; -1 where nothing was known."""
        return np.searchsorted(self.available, times, side="right") - 1

    def as_of(self, times: Instants, *, max_age: int | None = None) -> Floats:
        """Return the value known at each time.

        Parameters
        ----------
        times : ndarray of int64, shape (M,)
            Microseconds UTC, in any order.
        max_age : int, optional
            Microseconds; a row whose event is older than that at its time counts as unknown.

        Returns
        -------
        ndarray of float64, shape (M,)
            NaN where nothing was known, or only that the value is missing.
        """
        found = self.position(times)
        known = found >= 0
        if len(self.values) == 0:
            return np.full(len(times), np.nan)
        row = np.maximum(found, 0)
        if max_age is not None:
            known &= times - self.event_times[row] <= max_age
        return np.where(known, self.values[row], np.nan)


def collapse(
    event_times: Instants,
    ingest_times: Instants,
    values: Floats,
    *,
    knowledge_time: int | None = None,
) -> KnownSeries:
    """Reduce a series to the rows that were ever the newest known.

    Parameters
    ----------
    event_times, ingest_times : ndarray of int64, shape (R,)
        Microseconds UTC, in any order.
    values : ndarray of float64, shape (R,)
    knowledge_time : int, optional
        Rows with a later `ingest_time` are left out first, as if not written yet.
    """
    if knowledge_time is not None:
        kept = ingest_times <= knowledge_time
        event_times, ingest_times, values = event_times[kept], ingest_times[kept], values[kept]
    available = np.maximum(event_times, ingest_times)
    order = np.lexsort((ingest_times, event_times, available))
    event_times, ingest_times = event_times[order], ingest_times[order]
    # Ranks by (event, ingest) make "above all before" a running maximum over one number.
    rank = np.empty(len(order), dtype=np.int64)
    rank[np.lexsort((ingest_times, event_times))] = np.arange(len(order))
    highest = np.maximum.accumulate(rank) if len(rank) else rank
    rises = np.append([True], highest[1:] > highest[:-1])[: len(rank)]
    return KnownSeries(
        available[order][rises], event_times[rises], ingest_times[rises], values[order][rises]
    )
