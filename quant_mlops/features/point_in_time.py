"""What was known when: the knowledge-time collapse of a series, and look-ups in it.

For a time t the value known is the one with the greatest `(event_time, ingest_time)` among rows
with `event_time <= t` and `ingest_time <= t`. Let `available = max(event_time, ingest_time)`, and
order the rows by `(available, event_time, ingest_time)`. A row about an older event than some row
before it can never be the answer. Of the others each is the answer from its `available` on: rows
about one event come in the order of their ingest times, since the later of two of them is
available later or, where both are known ahead of the event, follows by the order. So the answer
for t is the last kept row with `available <= t`, one binary search away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Instants = npt.NDArray[np.int64]
Positions = npt.NDArray[np.intp]


@dataclass(frozen=True)
class KnownSeries:
    """One series reduced to the rows that were ever the newest known, in order of knowledge.

    Attributes
    ----------
    available : ndarray of int64, shape (K,)
        When each row became the answer, microseconds UTC, ascending.
    event_times : ndarray of int64, shape (K,)
        Ascending as well.
    rows : ndarray of int, shape (K,)
        Where each row stood in the arrays that were collapsed.
    """

    available: Instants
    event_times: Instants
    rows: Positions

    def at(self, times: Instants, *, oldest: Instants | None = None) -> Positions:
        """Return the row known at each time, as its place in the arrays that were collapsed.

        Parameters
        ----------
        times : ndarray of int64, shape (M,)
            Microseconds UTC; in ascending order they are found several times as fast.
        oldest : ndarray of int64, shape (M,), optional
            For each time, the oldest event that still counts; the row known is left out, and
            none before it takes its place, where it is about an older one.

        Returns
        -------
        ndarray of int, shape (M,)
            -1 where nothing was known.
        """
        found = np.searchsorted(self.available, times, side="right") - 1
        # The row before the first, -1, is the one that stands for nothing.
        answer = np.append(self.rows, -1)[found]
        if oldest is not None and len(self.rows):
            answer[self.event_times[found] < oldest] = -1
        return answer


def collapse(event_times: Instants, ingest_times: Instants) -> KnownSeries:
    """Reduce a series to the rows that were ever the newest known.

    Parameters
    ----------
    event_times, ingest_times : ndarray of int64, shape (R,)
        Microseconds UTC, in any order; series in the order of their events cost least. Rows
        that a knowledge time cuts off have been left out.
    """
    event, ingest, order = in_event_order(event_times, ingest_times)
    available = np.maximum(event, ingest)
    if not (available[1:] >= available[:-1]).all():
        by_knowledge = np.argsort(available, kind="stable")
        newest = event[by_knowledge] >= np.maximum.accumulate(event[by_knowledge])
        kept = by_knowledge[newest]
        available, event = available[kept], event[kept]
        order = kept if order is None else order[kept]
    rows = np.arange(len(event), dtype=np.intp) if order is None else order
    return KnownSeries(available, event, rows)


def in_event_order(
    event_times: Instants, ingest_times: Instants
) -> tuple[Instants, Instants, Positions | None]:
    """Return both times in the order of `(event_time, ingest_time)`, and the order if it is new."""
    step = event_times[1:] - event_times[:-1]
    if (step > 0).all():
        return event_times, ingest_times, None
    if (step >= 0).all() and (ingest_times[1:] >= ingest_times[:-1])[step == 0].all():
        return event_times, ingest_times, None
    order = np.lexsort((ingest_times, event_times))
    return event_times[order], ingest_times[order], order
