"""Sampling laws of the Sharpe ratio, on moments, so that published examples can be checked."""

from __future__ import annotations

import math

import numpy as np


def sharpe_standard_error_from_moments(
    sharpe: float, *, observations: int, skewness: float, kurtosis: float
) -> float:
    """Derive the standard error of a Sharpe ratio from its value and the shape of the returns.

    Parameters
    ----------
    sharpe
        Per period, not annualised: an annualised value here overstates the effect of the shape.
    observations
        Number of returns; NaN below 2.
    skewness, kurtosis
        Third and fourth standardised population moments; a normal law has 0 and 3.

    Returns
    -------
    float
        sqrt((1 - skewness x sharpe + (kurtosis - 1) / 4 x sharpe^2) / (observations - 1)).

    Notes
    -----
    Mertens (2002), "Comments on variance of the IID estimator in Lo (2002)", with the n - 1 of
    Bailey and Lopez de Prado (2012), Journal of Risk 15(2), 3-44.

    """
    if observations < 2:
        return math.nan
    spread = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    return math.sqrt(max(spread, 0.0) / (observations - 1))


def probabilistic_sharpe_from_moments(
    sharpe: float, *, benchmark: float, observations: int, skewness: float, kurtosis: float
) -> float:
    """Probabilistic Sharpe ratio from moments; `sharpe` and `benchmark` both per period.

    Other parameters and the source are those of `sharpe_standard_error_from_moments`. NaN when the
    standard error is zero or undefined.
    """
    error = sharpe_standard_error_from_moments(
        sharpe, observations=observations, skewness=skewness, kurtosis=kurtosis
    )
    return _normal_cdf((sharpe - benchmark) / error) if error > 0.0 else math.nan


def expected_maximum_sharpe(trials: float, variance: float) -> float:
    """Largest Sharpe ratio to expect from independent trials none of which has any skill.

    Parameters
    ----------
    trials
        Independent trials, at least 1; may be fractional when it is an effective number.
    variance
        Variance of the Sharpe ratios over the trials. The result has the unit of its square root:
        annualised in, annualised out.

    Returns
    -------
    float
        sqrt(variance) ((1 - g) z(1 - 1/N) + g z(1 - 1/(N e))), with g the Euler-Mascheroni constant
        and z the normal quantile. The approximation is meant for large N; it is held at 0, its
        exact value for one trial, where it would fall below.

    Raises
    ------
    ValueError
        `trials` is below 1 or `variance` negative.

    Notes
    -----
    Bailey and Lopez de Prado (2014), Journal of Portfolio Management 40(5), 94-107, first equation.

    """
    if not trials >= 1:
        raise ValueError(f"trials is {trials}; the selected one is a trial, so at least 1.")
    if variance < 0:
        raise ValueError(f"variance is {variance}; it cannot be negative.")
    if trials == 1:
        return 0.0
    weight = np.euler_gamma
    # z(1 - p) = -z(p), and the right side keeps its digits when p is small.
    quantile = -(1.0 - weight) * _normal_quantile(1.0 / trials) - weight * _normal_quantile(
        1.0 / (trials * math.e)
    )
    return math.sqrt(variance) * max(quantile, 0.0)


# SciPy takes a sixth of a second to import, and few commands need it.


def _normal_cdf(value: float) -> float:
    from scipy import special

    return float(special.ndtr(value))


def _normal_quantile(probability: float) -> float:
    from scipy import special

    return float(special.ndtri(probability))
