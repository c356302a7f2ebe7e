"""How sure a rolling Sharpe ratio is: its standard error and the probability of any skill."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_mlops.statistics.constancy import is_constant
from quant_mlops.statistics.sharpe import SESSIONS_PER_YEAR

__all__ = ["SharpeEvidence", "rolling_sharpe_evidence"]


@dataclass(frozen=True)
class SharpeEvidence:
    """By session, shape (sessions,); NaN where the Sharpe ratio of the window is undefined.

    Attributes
    ----------
    standard_error
        Of the annualised Sharpe ratio.
    probability
        That the true Sharpe ratio is above zero: the probabilistic Sharpe ratio.
    """

    standard_error: NDArray[np.float64]
    probability: NDArray[np.float64]


def rolling_sharpe_evidence(
    returns: ArrayLike, *, window: int, periods_per_year: float = SESSIONS_PER_YEAR
) -> SharpeEvidence:
    """Judge the Sharpe ratio of each run of `window` consecutive sessions, all at once.

    Parameters
    ----------
    returns
        Shape (sessions,), oldest first, simple returns of one session each.
    window
        Sessions per value, at least 2. Shape is hardly to be known from 5 sessions, so that an
        error from so few is itself uncertain.
    periods_per_year
        As in `sharpe_ratio`; it only scales the standard error.

    Returns
    -------
    SharpeEvidence
        Element t covers sessions t - window + 1 to t. A window must have all its values.

    Raises
    ------
    ValueError
        `returns` is not one-dimensional or `window` is below 2.

    Notes
    -----
    `sharpe_standard_error` and `probabilistic_sharpe_ratio` of each window; Bailey and Lopez de
    Prado (2012), "The Sharpe Ratio Efficient Frontier", Journal of Risk 15(2), 3-44.

    """
    series = np.asarray(returns, dtype=np.float64)
    if series.ndim != 1:
        raise ValueError(f"returns have shape {series.shape}; one axis, of sessions, expected.")
    if window < 2:
        raise ValueError(f"window is {window}; a standard deviation needs at least 2 sessions.")
    error = np.full(len(series), np.nan)
    probability = np.full(len(series), np.nan)
    if len(series) < window:
        return SharpeEvidence(error, probability)
    # SciPy takes a sixth of a second to import, and few commands need it.
    from scipy import special

    finite = np.isfinite(series)
    view = np.lib.stride_tricks.sliding_window_view
    windows = view(np.where(finite, series, 0.0), window)
    deviation = windows.std(axis=1)
    defined = view(finite, window).all(axis=1) & ~is_constant(windows, axis=1) & (deviation > 0.0)
    windows, deviation = windows[defined], deviation[defined]
    scores = (windows - windows.mean(axis=1, keepdims=True)) / deviation[:, None]
    skewness, kurtosis = (scores**3).mean(axis=1), (scores**4).mean(axis=1)
    sharpe = windows.mean(axis=1) / windows.std(axis=1, ddof=1)
    spread = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    per_period = np.sqrt(np.maximum(spread, 0.0) / (window - 1))
    chance = np.full(len(sharpe), np.nan)
    sure = per_period > 0.0
    chance[sure] = special.ndtr(sharpe[sure] / per_period[sure])
    places = np.flatnonzero(defined) + window - 1
    error[places] = per_period * math.sqrt(periods_per_year)
    probability[places] = chance
    return SharpeEvidence(error, probability)
