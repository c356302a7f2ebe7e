"""How far compounded wealth has fallen from its peak."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def maximum_drawdown(returns: ArrayLike) -> float:
    """Deepest fall of compounded wealth from an earlier peak.

    Parameters
    ----------
    returns
        Shape (sessions,), simple returns as fractions, oldest first; NaNs are dropped. Log returns
        given here understate the fall.

    Returns
    -------
    float
        Between -1 and 0: -0.25 is a fall of a quarter. The start counts as a peak, and a return of
        -1 or less is ruin. NaN when there is no value or one is infinite.

    Raises
    ------
    ValueError
        `returns` is not one-dimensional.

    """
    series = np.asarray(returns, dtype=np.float64)
    if series.ndim != 1:
        raise ValueError(f"returns have shape {series.shape}; one axis, of sessions, expected.")
    sample = series[~np.isnan(series)]
    if len(sample) == 0 or not np.isfinite(sample).all():
        return math.nan
    with np.errstate(divide="ignore"):
        wealth = np.cumsum(np.log1p(np.maximum(sample, -1.0)))
    peak = np.maximum.accumulate(np.maximum(wealth, 0.0))
    return float(np.expm1(np.min(wealth - peak)))
