"""What a model's signals were worth on a stretch of sessions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant_mlops.statistics import (
    information_coefficients,
    maximum_drawdown,
    newey_west_standard_error,
    probabilistic_sharpe_ratio,
    return_shape,
    sharpe_ratio,
    sharpe_standard_error,
)
from quant_mlops.training.matrices import TrainingRows
from quant_mlops.training.portfolio import (
    PortfolioReturns,
    long_short_weights,
    portfolio_returns,
    universe_returns,
)
from quant_mlops.training.quantiles import quantile_spreads

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class EvaluationSettings:
    """How signals are judged.

    Attributes
    ----------
    horizon : int
        Sessions of the label; labels of neighbouring sessions overlap by one less, which is the
        lag of the standard error. Too small a horizon makes errors look too small.
    min_names : int
        Fewest names with both a signal and a return for an IC, or a portfolio.
    cost_per_turnover : float
        Fraction of capital paid per unit of turnover.
    """

    horizon: int
    min_names: int
    cost_per_turnover: float


def daily_information_coefficients(
    rows: TrainingRows, signals: Floats, settings: EvaluationSettings
) -> Floats:
    """Return the IC of each session of the rows, NaN where undefined, shape (S,)."""
    return information_coefficients(
        rows.by_session(signals), rows.by_session(rows.label), min_names=settings.min_names
    )


def signal_metrics(
    rows: TrainingRows, signals: Floats, settings: EvaluationSettings
) -> dict[str, float]:
    """Return the metrics of signals against labels; NaN where one cannot be computed.

    Returns
    -------
    dict
        `ic_mean`, its Newey-West error `ic_mean_se`, `ic_std`, `icir` (mean over deviation of
        the daily IC), `ic_sessions`, and `hit_rate`, the share of rows whose signal has the sign
        of the label in excess of its session's mean; `quantile_spread`, the mean over
        `quantile_spread_sessions` of the label of the top less the bottom quantile (see
        `quantile_spreads`), with its Newey-West error `quantile_spread_se`; and
        `signal_turnover`, see there.
    """
    daily = daily_information_coefficients(rows, signals, settings)
    known = daily[np.isfinite(daily)]
    mean = float(known.mean()) if known.size else float("nan")
    deviation = float(known.std(ddof=1)) if known.size > 1 else float("nan")
    excess = rows.excess_label()
    centred = signals - np.nanmean(signals) if len(signals) else signals
    moved = excess != 0
    spreads = quantile_spreads(
        rows.by_session(signals), rows.by_session(rows.label), min_names=settings.min_names
    )
    spreads = spreads[np.isfinite(spreads)]
    return {
        "ic_mean": mean,
        "ic_mean_se": newey_west_standard_error(known, lag=settings.horizon - 1),
        "ic_std": deviation,
        "icir": mean / deviation if deviation > 0 else float("nan"),
        "ic_sessions": float(known.size),
        "hit_rate": float(np.mean((centred[moved] > 0) == (excess[moved] > 0)))
        if moved.any()
        else float("nan"),
        "quantile_spread": float(spreads.mean()) if spreads.size else float("nan"),
        "quantile_spread_se": newey_west_standard_error(spreads, lag=settings.horizon - 1),
        "quantile_spread_sessions": float(spreads.size),
        "signal_turnover": signal_turnover(rows, signals, settings),
    }


def signal_turnover(rows: TrainingRows, signals: Floats, settings: EvaluationSettings) -> float:
    """Return how much of the portfolio of the signals' ranks changes from a session to the next.

    Returns
    -------
    float
        Mean over pairs of neighbouring sessions of the sum of absolute changes of weight: bought
        and sold together (two-way), as a fraction of capital, from 0 for an order that stays to
        2 for one that is turned over. Unlike the backtest's `turnover` it counts neither the
        first position nor sessions without one, so it is a property of the signals. NaN without
        two neighbouring sessions that both have positions.
    """
    weights = long_short_weights(rows.by_session(signals), min_names=settings.min_names)
    held = (weights != 0.0).any(axis=1)
    changes = np.abs(np.diff(weights, axis=0)).sum(axis=1)[held[1:] & held[:-1]]
    return float(changes.mean()) if changes.size else float("nan")


def backtest_returns(
    rows: TrainingRows, signals: Floats, settings: EvaluationSettings
) -> PortfolioReturns:
    """Return what the daily long-short portfolio of the signals earns by session of the rows."""
    return portfolio_returns(
        long_short_weights(rows.by_session(signals), min_names=settings.min_names),
        rows.by_session(rows.next_return),
        cost_per_turnover=settings.cost_per_turnover,
    )


def backtest_metrics(
    rows: TrainingRows, signals: Floats, settings: EvaluationSettings
) -> dict[str, float]:
    """Return the metrics of the daily long-short portfolio of the signals, after cost.

    Returns
    -------
    dict
        `sharpe_ratio` (annualised) with `sharpe_ratio_se`, `probabilistic_sharpe` (that the true
        one is above 0), `total_return` (compounded), `max_drawdown`, `turnover` (daily mean,
        two-way, the first position included), `information_ratio` (of the return above the mean
        of the universe, which is every row of the session with a return, held or not) and
        `sessions`; `sharpe_skewness` and `sharpe_kurtosis` of the returns, from which the
        deflated ratio is computed anew when there are more trials.
    """
    earned = backtest_returns(rows, signals, settings)
    known = np.isfinite(earned.net)
    net = earned.net[known]
    active = net - universe_returns(rows.by_session(rows.next_return))[known]
    skewness, kurtosis = return_shape(net)
    return {
        "sharpe_ratio": sharpe_ratio(net),
        "sharpe_ratio_se": sharpe_standard_error(net),
        "probabilistic_sharpe": probabilistic_sharpe_ratio(net),
        "sharpe_skewness": skewness,
        "sharpe_kurtosis": kurtosis,
        "total_return": float(np.prod(1.0 + net) - 1.0) if net.size else float("nan"),
        "max_drawdown": maximum_drawdown(net),
        "turnover": float(earned.turnover.mean()) if len(earned.turnover) else float("nan"),
        "information_ratio": sharpe_ratio(active),
        "sessions": float(net.size),
    }
