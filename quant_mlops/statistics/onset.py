"""The interval of sessions in which the mean of a series changed, honest for small changes too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_mlops.statistics.change_point import most_likely_change

DEFAULT_LEVEL = 0.95
# An alert opens soon after a change, where the customary 15% would not look for it.
ONSET_TRIM = 0.02
# The tail is a series of alternating terms; below this argument they do not fall off in time.
_SURE = 0.02
_TERMS = 12


@dataclass(frozen=True, slots=True)
class Onset:
    """When a series changed its mean, and between which sessions that must have been.

    Attributes
    ----------
    index
        Position, in the series as given, of the first value of the new mean: the most likely one,
        at least 5 values and 2% of them from either end.
    first, last
        Ends of the interval for `index`, both included. From the second value to the last one when
        the series says nothing about the date.
    p_value
        Of a change having taken place at all; see `most_likely_change`. The interval is that of a
        change which is taken for granted, so it says nothing without a small value here.
    mean_before, mean_after
        Means either side of `index`.
    level
        Share of such intervals that hold the true position.
    observations
        Values used, NaNs not counted.
    deviation
        Standard deviation of the values about the two means.

    """

    index: int
    first: int
    last: int
    p_value: float
    mean_before: float
    mean_after: float
    level: float
    observations: int
    deviation: float


def change_interval(
    values: ArrayLike, *, level: float = DEFAULT_LEVEL, lag: int = 0, window: int = 1
) -> Onset | None:
    """Date the change in the mean of a series, with a confidence interval for the date.

    Parameters
    ----------
    values
        Shape (sessions,), oldest first. NaNs are left out; a change inside a gap counts as held by
        an interval that reaches the value after it.
    level
        Share of intervals that shall hold the true position, at least 0.5 and below 1.
    lag
        Sessions back two values may still be correlated: h - 1 for labels over h sessions. Left at
        0, the intervals of overlapping labels are far too short.
    window
        Sessions that each value pools, 1 for none; 60 for a PSI of the last 60 sessions. What
        changes in the pool reaches the values over `window` sessions, so the interval begins
        `window` - 1 sessions earlier; `lag` is at least that many as well. Left at 1, a pooled
        series gets no interval or a wrong one: its change is a slope and not a step.

    Returns
    -------
    Onset or None
        None when nothing can be dated: `most_likely_change` finds no split, the values are no more
        than the 2 (2 lag + 1) that their own correlation uses up, or no single date is compatible
        with them, as after two changes or in a trend.

    Raises
    ------
    ValueError
        `values` is not one-dimensional or a parameter is outside the range stated.

    Notes
    -----
    Elliott and Mueller (2007), Journal of Econometrics 141(2), 1196-1218. For each split k the
    hypothesis "the change was there" is tested against another date, with v the deviations from
    the two means of that split and w^2 their long-run variance:

        U(k) = sum over t <= k of (v_1 + ... + v_t)^2 / (w^2 k^2)
             + sum over t > k of (v_(k+1) + ... + v_t)^2 / (w^2 (n - k)^2),

    and the splits that pass are the interval's. At the true date U does not depend on the size of
    the change, which is why small changes get long intervals in place of wrong ones; intervals
    built on the estimated date (Bai, 1997, Review of Economics and Statistics 79(4), 551-563) do
    not have this. See `split_tail` for the law of U.

    w^2 is taken about the most likely split, and either term has that of its own side where it is
    the larger: a PSI is noisier before a drift than after it. It is the sum of all autocovariances
    up to `lag` with equal weights, exact for overlapping labels (Hansen and Hodrick, 1980, Journal
    of Political Economy 88(5), 829-853), or the Bartlett-weighted sum where that is larger. Each
    of the 2 lag + 1 autocovariances loses w^2 / n to each estimated mean, so the sum over both
    sides is multiplied by n / (n - 2 (2 lag + 1)).

    """
    if not 0.5 <= level < 1.0:
        raise ValueError(f"level is {level}; a share of at least 0.5 and below 1 expected.")
    if window < 1:
        raise ValueError(f"window is {window}; each value pools at least 1 session.")
    if lag < 0:
        raise ValueError(f"lag is {lag}; it counts sessions back and cannot be negative.")
    lag = max(lag, window - 1)
    series = np.asarray(values, dtype=np.float64)
    change = most_likely_change(series, trim=ONSET_TRIM, lag=lag)
    if change is None:
        return None
    positions = np.flatnonzero(~np.isnan(series))
    sample = series[positions] - series[positions].mean()
    n, split = len(sample), int(np.searchsorted(positions, change.index))
    deviations = np.concatenate(
        [sample[:split] - sample[:split].mean(), sample[split:] - sample[split:].mean()]
    )
    if math.isinf(change.statistic):
        splits = np.array([split])
    elif n <= 2 * (2 * lag + 1):
        return None
    else:
        before, after = _side_variances(deviations, split=split, lag=lag)
        if min(before, after) <= 0.0:
            return None
        statistics = split_statistics(sample, variance_before=before, variance_after=after)
        splits = np.flatnonzero(statistics < _critical_value(level)) + 1
    if len(splits) == 0:
        if window == 1:
            return None
        # A slope of `window` sessions fits no step exactly: one far above the noise refuses them
        # all. The best split lies on the slope, and the change at most `window` - 1 before that.
        splits = np.array([split])
    return Onset(
        index=change.index,
        first=max(int(positions[splits[0] - 1]) + 1 - (window - 1), 1),
        last=int(positions[splits[-1]]),
        p_value=change.p_value,
        mean_before=change.mean_before,
        mean_after=change.mean_after,
        level=level,
        observations=n,
        deviation=math.sqrt(float(deviations @ deviations) / (n - 2)),
    )


def split_statistics(
    sample: NDArray[np.float64], *, variance_before: float, variance_after: float
) -> NDArray[np.float64]:
    """U of every split; see `change_interval`.

    Parameters
    ----------
    sample
        Shape (n,), finite, oldest first, best centred on zero.
    variance_before, variance_after
        Long-run variance of the values before and after a split, above 0.

    Returns
    -------
    ndarray of float64, shape (n - 1,)
        Position i is the split after i + 1 values.

    """
    before = _squared_bridges(sample) / variance_before
    after = _squared_bridges(sample[::-1])[::-1] / variance_after
    return before + after


def split_tail(statistic: ArrayLike) -> NDArray[np.float64]:
    """Probability that U of the true split exceeds a value.

    Notes
    -----
    U is in the limit the sum of two independent Cramer-von Mises variables, whose Laplace transform
    is sqrt(2 s) / sinh sqrt(2 s). That is the transform of 4 times Watson's statistic (Watson,
    1961, Biometrika 48(1/2), 109-114), hence P(U > u) = 2 sum over j >= 1 of
    (-1)^(j - 1) exp(-j^2 pi^2 u / 2): 0.607 for 10% and 0.748 for 5%.

    """
    u = np.asarray(statistic, dtype=np.float64)
    j = np.arange(1, _TERMS + 1)
    terms = np.exp(-0.5 * np.pi**2 * np.maximum(u, _SURE)[..., None] * j**2)
    tail = 2.0 * (terms * np.where(j % 2 == 1, 1.0, -1.0)).sum(axis=-1)
    return np.clip(np.where(u <= _SURE, 1.0, tail), 0.0, 1.0)


def _squared_bridges(sample: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of (S_t - t S_k / k)^2 over t <= k, divided by k^2, for each k below n."""
    k = np.arange(1.0, len(sample))
    sums = np.cumsum(sample)[:-1]
    slope = sums / k
    squares = np.cumsum(sums**2) - 2.0 * slope * np.cumsum(k * sums)
    squares += slope**2 * np.cumsum(k**2)
    bridges: NDArray[np.float64] = np.maximum(squares, 0.0) / k**2
    return bridges


def _side_variances(
    deviations: NDArray[np.float64], *, split: int, lag: int
) -> tuple[float, float]:
    """Long-run variance before and after a split: that of both together, or its own if larger."""
    used = 2 * lag + 1
    n = len(deviations)
    together = _uniform_variance(deviations, lag=lag) * n / (n - 2 * used)
    sides = []
    for side in (deviations[:split], deviations[split:]):
        m = len(side)
        own = _uniform_variance(side, lag=lag) * m / (m - used) if m > 2 * used else 0.0
        sides.append(max(together, own))
    return sides[0], sides[1]


def _uniform_variance(deviations: NDArray[np.float64], *, lag: int) -> float:
    """Long-run variance with equal weights up to `lag`, at least the Bartlett-weighted one."""
    n = len(deviations)
    if lag == 0:
        return float(deviations @ deviations) / n
    products = np.correlate(deviations, deviations, mode="full")[n - 1 : n + lag]
    bartlett = 1.0 - np.arange(1, len(products)) / (lag + 1)
    total, shared = products[0], products[1:]
    return float(total + 2.0 * max(shared.sum(), bartlett @ shared)) / n


@lru_cache(maxsize=16)
def _critical_value(level: float) -> float:
    """U that the true split exceeds with probability 1 - level, by bisection of the tail."""
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if split_tail(middle) > 1.0 - level else (low, middle)
    return high
