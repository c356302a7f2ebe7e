"""Reward for risk, how sure of it a track record can be, and what is left after many trials."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_mlops.statistics.constancy import is_constant
from quant_mlops.statistics.sharpe_moments import (
    expected_maximum_sharpe,
    probabilistic_sharpe_from_moments,
    sharpe_standard_error_from_moments,
)

__all__ = [
    "SESSIONS_PER_YEAR",
    "deflated_sharpe_ratio",
    "expected_maximum_sharpe",
    "probabilistic_sharpe_from_moments",
    "probabilistic_sharpe_ratio",
    "return_shape",
    "rolling_sharpe",
    "sharpe_ratio",
    "sharpe_standard_error",
    "sharpe_standard_error_from_moments",
]

SESSIONS_PER_YEAR = 252


def sharpe_ratio(returns: ArrayLike, *, periods_per_year: float = SESSIONS_PER_YEAR) -> float:
    """Annualised Sharpe ratio of returns in excess of the financing rate.

    Parameters
    ----------
    returns
        Shape (sessions,), simple returns as fractions (0.01 is one per cent) of one period each.
        NaNs are dropped.
    periods_per_year
        Periods in a year: 252 for daily returns. Monthly returns with 252 left in place come out
        4.6 times too large.

    Returns
    -------
    float
        mean / standard deviation (ddof 1) x sqrt(periods_per_year). NaN for fewer than 2 values,
        when one is infinite, or when the values are constant in the sense of `is_constant`.

    Notes
    -----
    Sharpe (1994), Journal of Portfolio Management 21(1), 49-58.

    """
    sample = _usable(returns)
    return math.nan if sample is None else _per_period(sample) * math.sqrt(periods_per_year)


def rolling_sharpe(
    returns: ArrayLike, *, window: int, periods_per_year: float = SESSIONS_PER_YEAR
) -> NDArray[np.float64]:
    """Annualised Sharpe ratio of each run of `window` consecutive sessions.

    Parameters
    ----------
    returns
        Shape (sessions,), oldest first, as in `sharpe_ratio`.
    window
        Sessions per value, at least 2. The estimate from 5 has a standard deviation near 10.
    periods_per_year
        As in `sharpe_ratio`.

    Returns
    -------
    ndarray
        Shape (sessions,); element t covers sessions t - window + 1 to t, so it uses nothing later
        than t. NaN until the window is filled, while it holds a NaN or an infinity (a window must
        have all its values), and where its values are constant.

    Raises
    ------
    ValueError
        `returns` is not one-dimensional or `window` is below 2.

    """
    series = _one_axis(returns)
    if window < 2:
        raise ValueError(f"window is {window}; a standard deviation needs at least 2 sessions.")
    ratios = np.full(len(series), np.nan)
    if len(series) < window:
        return ratios
    finite = np.isfinite(series)
    windows = np.lib.stride_tricks.sliding_window_view(np.where(finite, series, 0.0), window)
    complete = np.lib.stride_tricks.sliding_window_view(finite, window).all(axis=1)
    deviations = windows.std(axis=1, ddof=1)
    defined = complete & ~is_constant(windows, axis=1) & (deviations > 0.0)
    np.divide(windows.mean(axis=1), deviations, out=ratios[window - 1 :], where=defined)
    return ratios * math.sqrt(periods_per_year)


def sharpe_standard_error(
    returns: ArrayLike, *, periods_per_year: float = SESSIONS_PER_YEAR
) -> float:
    """Estimate the standard error of the annualised Sharpe ratio for skewed, fat-tailed returns.

    Parameters and undefined cases are those of `sharpe_ratio`; the formula is that of
    `sharpe_standard_error_from_moments` times sqrt(periods_per_year), for independent returns.
    """
    sample = _usable(returns)
    if sample is None:
        return math.nan
    skewness, kurtosis = _population_shape(sample)
    error = sharpe_standard_error_from_moments(
        _per_period(sample), observations=len(sample), skewness=skewness, kurtosis=kurtosis
    )
    return error * math.sqrt(periods_per_year)


def probabilistic_sharpe_ratio(
    returns: ArrayLike, *, benchmark: float = 0.0, periods_per_year: float = SESSIONS_PER_YEAR
) -> float:
    """Probability that the true Sharpe ratio exceeds a benchmark.

    Parameters
    ----------
    returns
        As in `sharpe_ratio`.
    benchmark
        Sharpe ratio to beat, annualised. Given per period, it is easier to beat by a factor of
        sqrt(periods_per_year) than was meant.
    periods_per_year
        As in `sharpe_ratio`; it only converts `benchmark`.

    Returns
    -------
    float
        Between 0 and 1; NaN where `sharpe_ratio` is undefined.

    Notes
    -----
    Bailey and Lopez de Prado (2012), "The Sharpe Ratio Efficient Frontier", Journal of Risk 15(2).

    """
    sample = _usable(returns)
    if sample is None:
        return math.nan
    skewness, kurtosis = _population_shape(sample)
    return probabilistic_sharpe_from_moments(
        _per_period(sample),
        benchmark=benchmark / math.sqrt(periods_per_year),
        observations=len(sample),
        skewness=skewness,
        kurtosis=kurtosis,
    )


def deflated_sharpe_ratio(
    returns: ArrayLike,
    *,
    trials: float,
    trial_variance: float,
    periods_per_year: float = SESSIONS_PER_YEAR,
) -> float:
    """Probability that the best of many trials has a true Sharpe ratio above what luck explains.

    Parameters
    ----------
    returns
        Returns of the trial that was selected, as in `sharpe_ratio`.
    trials
        Independent trials made, all of them: leaving out the failures inflates the result.
    trial_variance
        Variance of the *annualised* Sharpe ratios over the trials; not used for one trial.
    periods_per_year
        As in `sharpe_ratio`.

    Returns
    -------
    float
        The probabilistic Sharpe ratio against `expected_maximum_sharpe(trials, trial_variance)`.

    Raises
    ------
    ValueError
        `trials` is below 1 or `trial_variance` negative.

    Notes
    -----
    Bailey and Lopez de Prado (2014), "The Deflated Sharpe Ratio", Journal of Portfolio Management
    40(5), 94-107, second equation.

    """
    return probabilistic_sharpe_ratio(
        returns,
        benchmark=expected_maximum_sharpe(trials, trial_variance),
        periods_per_year=periods_per_year,
    )


def return_shape(returns: ArrayLike) -> tuple[float, float]:
    """Skewness and kurtosis of returns, as the laws of `sharpe_moments` take them.

    Parameters
    ----------
    returns
        As in `sharpe_ratio`.

    Returns
    -------
    tuple of float
        Third and fourth standardised population moments, 0 and 3 for a normal law. NaN where
        `sharpe_ratio` is undefined.

    """
    sample = _usable(returns)
    return (math.nan, math.nan) if sample is None else _population_shape(sample)


def _one_axis(returns: ArrayLike) -> NDArray[np.float64]:
    series = np.asarray(returns, dtype=np.float64)
    if series.ndim != 1:
        raise ValueError(f"returns have shape {series.shape}; one axis, of sessions, expected.")
    return series


def _usable(returns: ArrayLike) -> NDArray[np.float64] | None:
    """Drop NaNs; None where no Sharpe ratio is defined."""
    series = _one_axis(returns)
    sample = series[~np.isnan(series)]
    if len(sample) < 2 or not np.isfinite(sample).all() or is_constant(sample):
        return None
    # Deviations below 1e-162 vanish when squared.
    return sample if sample.std() > 0.0 else None


def _per_period(sample: NDArray[np.float64]) -> float:
    return float(sample.mean() / sample.std(ddof=1))


def _population_shape(sample: NDArray[np.float64]) -> tuple[float, float]:
    scores = (sample - sample.mean()) / sample.std()
    return float(np.mean(scores**3)), float(np.mean(scores**4))
