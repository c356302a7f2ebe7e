"""The onset of a decay: the session at which the mean of a series most likely changed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_mlops.statistics.constancy import is_constant
from quant_mlops.statistics.newey_west import long_run_variance

DEFAULT_TRIM = 0.15
DEFAULT_MIN_SEGMENT = 5
# Residuals this small beside the total are rounding: the series is an exact step.
_EXACT_STEP = 1e-24


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """The best single split of a series into two means.

    Attributes
    ----------
    index
        Position, in the series as given, of the first value of the new mean.
    statistic
        sup-F: the largest F statistic over the admitted splits; infinite for an exact step.
    p_value
        Approximate probability of a statistic this large without any change; see
        `supremum_f_tail`. There is a best split in every series: without a small value here the
        index means nothing. NaN when `lag` leaves no variance to judge by.
    mean_before, mean_after
        Means of the two sides, in the unit of the series.
    observations
        Values used, NaNs not counted.

    """

    index: int
    statistic: float
    p_value: float
    mean_before: float
    mean_after: float
    observations: int


def most_likely_change(
    values: ArrayLike,
    *,
    trim: float = DEFAULT_TRIM,
    min_segment: int = DEFAULT_MIN_SEGMENT,
    lag: int = 0,
) -> ChangePoint | None:
    """Date the most likely change in the mean of a series.

    Parameters
    ----------
    values
        Shape (sessions,), oldest first. NaNs are left out and the gap is closed; the index
        returned still counts positions of the series as given.
    trim
        Share of the values at either end where no split is looked for, above 0 and below 0.5.
        Smaller dates a change nearer the end of the series, and lets a few stray values there win.
    min_segment
        Fewest values on either side, at least 1; takes over from `trim` in short series.
    lag
        Sessions back two values may still be correlated: h - 1 for labels over h sessions. It
        scales only `p_value`, by the residuals' Newey-West variance. Left at 0, overlapping labels
        look like certain changes. Even when given, `p_value` stays too small for them: below 0.05
        in 16% of simulated series of 250 values of a 5-session label without a change, and in 23%
        of series of 300 of a 20-session label.

    Returns
    -------
    ChangePoint or None
        None when the values are too few for one split, constant, or infinite somewhere. Of equally
        good splits the earliest is taken.

    Raises
    ------
    ValueError
        `values` is not one-dimensional or a parameter is outside the range stated.

    Notes
    -----
    Andrews (1993), Econometrica 61(4), 821-856, for a mean that shifts once at an unknown time:
    F(k) = (n - 2) B(k) / (T - B(k)), with T the sum of squares about the overall mean and
    B(k) = k (n - k) / n (mean of the first k - mean of the rest)^2. His customary 15% is the
    default trimming.

    """
    series = np.asarray(values, dtype=np.float64)
    if series.ndim != 1:
        raise ValueError(f"values have shape {series.shape}; one axis, of sessions, expected.")
    if not 0.0 < trim < 0.5:
        raise ValueError(f"trim is {trim}; a share above 0 and below 0.5 expected.")
    if min_segment < 1:
        raise ValueError(f"min_segment is {min_segment}; either side needs at least 1 value.")
    positions = np.flatnonzero(~np.isnan(series))
    sample = series[positions]
    n = len(sample)
    edge = max(min_segment, math.ceil(trim * n))
    if n < max(2 * edge, 3) or not np.isfinite(sample).all() or is_constant(sample):
        return None

    centred = sample - sample.mean()
    first = np.arange(edge, n - edge + 1)
    gap = np.cumsum(centred)[first - 1]
    between = gap**2 * n / (first * (n - first))
    best = int(np.argmax(between))
    split = int(first[best])

    before, after = sample[:split], sample[split:]
    residuals = np.concatenate([before - before.mean(), after - after.mean()])
    statistic, robust = _statistics(float(between[best]), residuals, total=centred, lag=lag)
    return ChangePoint(
        index=int(positions[split]),
        statistic=statistic,
        p_value=supremum_f_tail(robust, trim=edge / n),
        mean_before=float(before.mean()),
        mean_after=float(after.mean()),
        observations=n,
    )


def supremum_f_tail(statistic: float, *, trim: float = DEFAULT_TRIM) -> float:
    """Probability that sup-F exceeds a value when the mean never changed.

    Parameters
    ----------
    statistic
        sup-F of one shifting mean, not negative.
    trim
        Share left out at either end, above 0 and at most 0.5.

    Returns
    -------
    float
        Between 0 and 1, decreasing in `statistic`; NaN for NaN. Within a tenth or so of the
        asymptotic value up to 0.2, rough above that.

    Notes
    -----
    Vostrikova (1981), Theory of Probability and its Applications 26(2), 356-362: with x the root
    of the statistic, f the normal density and L = 2 ln((1 - trim) / trim),
    P = x f(x) (L (1 - 1/x^2) + 4/x^2). The expansion is for large x; below its maximum it is
    continued as a constant. At a trimming of 15% it gives 0.107, 0.054 and 0.011 where the tables
    of Andrews (2003), Econometrica 71(1), 395-397, have 0.10, 0.05 and 0.01.

    """
    if math.isnan(statistic):
        return math.nan
    if math.isinf(statistic):
        return 0.0
    width = 2.0 * math.log((1.0 - trim) / trim)
    # The derivative vanishes where width u^2 + (4 - 2 width) u + 4 - width = 0, with u = x^2.
    discriminant = 8.0 * width**2 - 32.0 * width + 16.0
    peak = 0.0
    if width > 0.0 and discriminant > 0.0:
        peak = (2.0 * width - 4.0 + math.sqrt(discriminant)) / (2.0 * width)
    u = max(statistic, peak, 1e-6)
    x = math.sqrt(u)
    density = math.exp(-u / 2.0) / math.sqrt(2.0 * math.pi)
    return min(1.0, x * density * (width * (1.0 - 1.0 / u) + 4.0 / u))


def _statistics(
    between: float, residuals: NDArray[np.float64], *, total: NDArray[np.float64], lag: int
) -> tuple[float, float]:
    """F of a split, and the same with the residual variance replaced by its long-run value."""
    within = float(residuals @ residuals)
    if within <= _EXACT_STEP * float(total @ total):
        return math.inf, math.inf
    statistic = (len(residuals) - 2) * between / within
    long_run = long_run_variance(residuals, lag=lag)
    if long_run <= 0.0:
        return statistic, math.nan
    return statistic, statistic * (within / len(residuals)) / long_run
