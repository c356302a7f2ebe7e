"""The monitor's metrics under their public names, and the statistics that go with them."""

from __future__ import annotations

from typing import Any

from quant_mlops.statistics import (
    ChangePoint,
    ReferenceProfile,
    SharpeEvidence,
    bin_counts,
    bin_counts_table,
    calculate_psi,
    categorical_psi,
    count_used_bins,
    deflated_sharpe_ratio,
    effective_pairs,
    expected_maximum_sharpe,
    information_coefficient,
    information_coefficients,
    maximum_drawdown,
    most_likely_change,
    newey_west_standard_error,
    population_stability_index,
    probabilistic_sharpe_ratio,
    psi_no_drift_quantile,
    reference_counts_table,
    reference_profile,
    rolling_sharpe,
    rolling_sharpe_evidence,
    sharpe_ratio,
    sharpe_standard_error,
)

__all__ = [
    "ChangePoint",
    "ReferenceProfile",
    "SharpeEvidence",
    "bin_counts",
    "bin_counts_table",
    "calculate_ic",
    "calculate_psi",
    "calculate_sharpe",
    "categorical_psi",
    "count_used_bins",
    "deflated_sharpe_ratio",
    "effective_pairs",
    "expected_maximum_sharpe",
    "information_coefficient",
    "information_coefficients",
    "maximum_drawdown",
    "most_likely_change",
    "newey_west_standard_error",
    "population_stability_index",
    "probabilistic_sharpe_ratio",
    "psi_no_drift_quantile",
    "reference_counts_table",
    "reference_profile",
    "rolling_sharpe",
    "rolling_sharpe_evidence",
    "sharpe_ratio",
    "sharpe_standard_error",
]


def calculate_ic(signals: Any, returns: Any) -> float:
    """Information coefficient of one session.

    Parameters
    ----------
    signals, returns
        Predictions and realised returns of the session, shape (names,). Two labelled series (with
        an `index`, as pandas has) are paired by label and names on one side only are left out;
        anything else is paired by position, so both must list the names in the same order.

    Returns
    -------
    float
        Spearman correlation with average ranks for ties; NaN with fewer than 5 names finite on
        both sides or when one side is constant.

    Raises
    ------
    ValueError
        The shapes differ, or a label occurs twice.

    """
    if hasattr(signals, "align") and hasattr(returns, "align"):
        for side, series in (("signals", signals), ("returns", returns)):
            if not series.index.is_unique:
                raise ValueError(f"{side} hold a label twice; one value per name expected.")
        signals, returns = signals.align(returns, join="inner")
    return information_coefficient(signals, returns)


def calculate_sharpe(returns: Any, periods_per_year: float = 252) -> float:
    """Annualised Sharpe ratio of simple returns per period; see `sharpe_ratio`.

    NaNs are dropped; NaN for fewer than 2 values or zero deviation, constant returns included.
    """
    return sharpe_ratio(returns, periods_per_year=periods_per_year)
