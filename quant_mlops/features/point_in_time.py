"""What was known when: the knowledge-time collapse of a series, and look-ups in it.

For a time t the value known is the one with the greatest `(event_time, ingest_time)` among rows
with `event_time <= t` and `ingest_time <= t`, that is with `available <= t`, where `available` is
the later of the two. Take the rows in the order of `(event_time, ingest_time)`: the answer is the
last one with `available <= t`. Give each row the smallest `available` from it on. These minima
rise, and the last of them that is `<= t` belongs to the answer, since after it none is available
yet. So one running minimum from the end makes a series ready, and a binary search answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Instants = npt.NDArray[np.int64]
Positions = npt.NDArray[np.intp]


@dataclass(frozen=True)
class KnownSeries:
    """One series, ready to be asked what was known.

    Attributes
    ----------
    known_from : ndarray of int64, shape (R,)
        From when the answer is this row or one after it, microseconds UTC, ascending.
    rows : ndarray of int, shape (R,), or None
        Where each answer stands in the arrays that were collapsed; None if just there.
    event_times : ndarray of int64, shape (R,)
        Of these arrays.
    """

    known_from: Instants
    rows: Positions | None
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
        found = self.known_from.searchsorted(times, side="right") - 1
        if len(self.known_from) == 0:
            return found
        if self.rows is not None:
            found = np.where(found >= 0, self.rows[found], -1)
        if oldest is not None:
            found[self.event_times[found] < oldest] = -1
        return found


def collapse(event_times: Instants, ingest_times: Instants) -> KnownSeries:
    """Make a series ready to be asked what was known.

    Parameters
    ----------
    event_times, ingest_times : ndarray of int64, shape (R,)
        Microseconds UTC, in any order; in that of the primary key they cost least. Rows that a
        knowledge time cuts off have been left out.
    """
    event, ingest, order = in_event_order(event_times, ingest_times)
    available = np.maximum(event, ingest)
    return KnownSeries(np.minimum.accumulate(available[::-1])[::-1], order, event_times)


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
