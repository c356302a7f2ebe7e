"""Standard error of the mean of a series whose values overlap in time."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_mlops.statistics.constancy import is_constant


def newey_west_standard_error(values: ArrayLike, *, lag: int) -> float:
    """Heteroskedasticity- and autocorrelation-consistent standard error of a mean.

    Parameters
    ----------
    values
        Shape (sessions,), oldest first. NaNs are dropped and the gap is closed: the values either
        side of it count as neighbours (the equal-spacing estimator of Datta and Du, 2012,
        International Finance Discussion Paper 1060). An infinity makes the result NaN.
    lag
        How many sessions back two values may still be correlated; for the information coefficient
        of a label over h sessions, h - 1. Set too small, the error of overlapping labels comes out
        too small and noise looks significant.

    Returns
    -------
    float
        In the unit of `values`; divide the mean by it for a t-statistic. NaN for fewer than 2
        values, and for a constant series, which says nothing about its own error.

    Raises
    ------
    ValueError
        `values` is not one-dimensional or `lag` is negative.

    Notes
    -----
    The square root of S / n, with S the long-run variance of `long_run_variance`. There is no
    small-sample factor, hence at lag 0 the result is sqrt((n - 1) / n) times the textbook standard
    error of a mean.

    """
    series = np.asarray(values, dtype=np.float64)
    if series.ndim != 1:
        raise ValueError(f"values have shape {series.shape}; one axis, of sessions, expected.")
    present = series[~np.isnan(series)]
    if len(present) < 2 or not np.isfinite(present).all() or is_constant(present):
        return math.nan
    return math.sqrt(long_run_variance(present - present.mean(), lag=lag) / len(present))


def automatic_lag(observations: int) -> int:
    """Lag for a series whose dependence has no known length, such as a portfolio's returns.

    Parameters
    ----------
    observations
        Values of the series.

    Returns
    -------
    int
        floor(4 (observations / 100)^(2/9)), and less than `observations`: 4 for 100 values, 5 for
        300. It grows so slowly that an overlap of labels must be given by its own length instead.

    Notes
    -----
    Newey and West (1994), Review of Economic Studies 61(4), 631-653, the first-step rule for the
    Bartlett kernel.

    """
    if observations < 2:
        return 0
    lag = math.floor(4.0 * math.pow(observations / 100.0, 2.0 / 9.0))
    return min(lag, observations - 1)


def long_run_variance(deviations: NDArray[np.float64], *, lag: int) -> float:
    """Bartlett-weighted sum of the autocovariances of a centred series.

    Parameters
    ----------
    deviations
        Shape (n,), finite, already centred on zero, oldest first; at least one value.
    lag
        Highest autocovariance counted; weights fall in a straight line to zero at `lag` + 1.

    Returns
    -------
    float
        In squared units of the series, never negative.

    Raises
    ------
    ValueError
        `lag` is negative.

    Notes
    -----
    Newey and West (1987), Econometrica 55(3), 703-708: S = g(0) + 2 sum over l of
    (1 - l / (lag + 1)) g(l), with g(l) the sum of products at distance l divided by n, whatever l.
    That common divisor is what keeps S from turning negative.

    """
    if lag < 0:
        raise ValueError(f"lag is {lag}; it counts sessions back and cannot be negative.")
    n = len(deviations)
    total = float(deviations @ deviations)
    for distance in range(1, min(lag, n - 1) + 1):
        weight = 1.0 - distance / (lag + 1)
        total += 2.0 * weight * float(deviations[distance:] @ deviations[:-distance])
    return max(total, 0.0) / n
