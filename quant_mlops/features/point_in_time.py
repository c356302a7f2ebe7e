"""What was known when: the knowledge-time collapse of a series, and look-ups in it.

For a time t the value known is the one with the greatest `(event_time, ingest_time)` among rows
with `event_time <= t` and `ingest_time <= t`, that is with `available <= t`, where `available` is
the later of the two. Take the rows in the order of `(event_time, ingest_time)`. A row is never the
answer if one after it is available no later; any other is the answer from its `available` until
the next of them is. So the rows that count are those available before all after them, which one
running minimum from the end finds; they rise in both times, and the answer for t is one binary
search away.
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
    rows : ndarray of int, shape (K,)
        Where each row stands in the arrays that were collapsed.
    event_times : ndarray of int64, shape (R,)
        Those arrays' event times, all of them; those of the rows ascend.
    """

    available: Instants
    rows: Positions
    event_times: Instants

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
        found = self.available.searchsorted(times, side="right")
        if len(self.rows) == 0:
            return found - 1
        answer = self.rows[found - 1]
        answer[found == 0] = -1
        if oldest is not None:
            answer[self.event_times[answer] < oldest] = -1
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
    kept = np.empty(len(available), dtype=np.bool_)
    kept[-1:] = True
    np.less(available[:-1], np.minimum.accumulate(available[:0:-1])[::-1], out=kept[:-1])
    (places,) = kept.nonzero()
    rows = places if order is None else order[places]
    return KnownSeries(available[places], rows, event_times)


def in_event_order(
    event_times: Instants, ingest_times: Instants
) -> tuple[Instants, Instants, Positions | None]:
    """Return both times in the order of `(event_time, ingest_time)`, and the order if it is new."""
    rises = event_times[1:] > event_times[:-1]
    if not rises.all():
        (level,) = np.logical_not(rises, out=rises).nonzero()
        same_event = event_times[level] == event_times[level + 1]
        if not (same_event & (ingest_times[level] <= ingest_times[level + 1])).all():
            order = np.lexsort((ingest_times, event_times))
            return event_times[order], ingest_times[order], order
    return event_times, ingest_times, None
