"""PSI of trailing windows from bin counts by day, since a window of sessions is a sum of days."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quant_mlops.statistics import (
    ReferenceProfile,
    count_used_bins,
    population_stability_index,
    psi_no_drift_quantile,
)

Sessions = npt.NDArray[np.datetime64]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class WindowedDrift:
    """By session, shape (S,), but for `today`.

    Attributes
    ----------
    today : ndarray of int64, shape (S, bins + 1)
        Counts of the session itself.
    n_current : ndarray of int64
        Rows of the window.
    psi, no_drift_95 : ndarray of float64
        NaN where undefined, as in a window without rows.
    """

    today: Counts
    n_current: Counts
    psi: Floats
    no_drift_95: Floats

    def day_counts(self) -> pa.Array:
        """Return the counts of each session as text of a PostgreSQL array."""
        return pa.array(["{" + ",".join(map(str, row)) + "}" for row in self.today.tolist()])


def windowed_drift(
    by_day: Counts, profile: ReferenceProfile, *, chosen: Sessions, reach: Sessions, window: int
) -> WindowedDrift:
    """Return the drift of the last `window` sessions at each chosen one.

    Parameters
    ----------
    by_day : ndarray of int64, shape (D, bins + 1)
        Counts in the profile's bins of each session of `reach`.
    profile : ReferenceProfile
    chosen, reach : ndarray of datetime64[D]
        Ascending; `reach` is consecutive and begins `window` - 1 sessions before the first that
        is chosen. Should it begin later, the first windows are shorter.
    window : int
    """
    reference = np.asarray(profile.counts, dtype=np.int64)
    running = np.vstack([np.zeros((1, by_day.shape[1]), dtype=np.int64), by_day.cumsum(axis=0)])
    ends = np.searchsorted(reach, chosen) + 1
    windowed = running[ends] - running[np.maximum(ends - window, 0)]
    totals = windowed.sum(axis=1)
    used = np.asarray(count_used_bins(reference[None, :], windowed))
    # Windows differ by a few names, so that few sizes occur.
    sizes, place = np.unique(np.column_stack([used, totals]), axis=0, return_inverse=True)
    noise = [psi_no_drift_quantile(int(bins), profile.n, int(rows)) for bins, rows in sizes]
    return WindowedDrift(
        today=by_day[ends - 1],
        n_current=totals,
        psi=np.asarray(population_stability_index(reference[None, :], windowed)),
        no_drift_95=np.array(noise)[place.ravel()],
    )


def null_where_undefined(values: Floats) -> pa.Array:
    """Return a column in which what is not finite is null."""
    return pa.array(values, mask=~np.isfinite(values))
