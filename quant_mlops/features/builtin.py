"""The built-in features: returns, momentum, volatility, oscillators and volume.

Prices are closes on the adjusted scale. C(t) is the close of session t and r(t) the return from
C(t-1) to C(t). A window that holds a missing bar gives a missing value.
"""

from __future__ import annotations

import math

import numpy as np

from quant_mlops.features.definition import Values, feature
from quant_mlops.features.logarithm import natural_log
from quant_mlops.features.rolling import (
    lagged,
    trailing_deviation,
    trailing_mean,
)
from quant_mlops.market.panel import Panel

SESSIONS_PER_YEAR = 252
RSI_PERIOD = 14
RSI_MEMORY = 250


@feature("ret_5d", lookback=5)
def ret_5d(panel: Panel) -> Values:
    """Return over 5 sessions, simple, C(t) / C(t-5) - 1."""
    return panel.close / lagged(panel.close, 5) - 1.0


@feature("ret_20d", lookback=20)
def ret_20d(panel: Panel) -> Values:
    """Return over 20 sessions, simple, C(t) / C(t-20) - 1."""
    return panel.close / lagged(panel.close, 20) - 1.0


@feature("momentum_5d", lookback=5)
def momentum_5d(panel: Panel) -> Values:
    """Log-price momentum over 5 sessions, ln C(t) - ln C(t-5)."""
    return _log_momentum(panel.close, 5)


@feature("momentum_20d", lookback=20)
def momentum_20d(panel: Panel) -> Values:
    """Log-price momentum over 20 sessions, ln C(t) - ln C(t-20)."""
    return _log_momentum(panel.close, 20)


@feature("momentum_12_1", lookback=252)
def momentum_12_1(panel: Panel) -> Values:
    """Return over the 12 months that end one month ago, C(t-21) / C(t-252) - 1.

    The newest month is left out because it reverses (Jegadeesh 1990; Jegadeesh and Titman 1993,
    J. Finance 48:65-91; Fama and French's UMD sorts on months t-12 to t-2).
    """
    return lagged(panel.close, 21) / lagged(panel.close, 252) - 1.0


@feature("vol_20d", lookback=20)
def vol_20d(panel: Panel) -> Values:
    """Annualised sample deviation of the last 20 daily log returns."""
    return trailing_deviation(_log_momentum(panel.close, 1), 20) * math.sqrt(SESSIONS_PER_YEAR)


@feature("rsi_14", lookback=RSI_MEMORY)
def rsi_14(panel: Panel) -> Values:
    """Relative strength index over 14 sessions with Wilder's smoothing, 0 to 100.

    The average gain starts as the plain mean of 14 gains and then follows
    A(t) = (13 A(t-1) + gain(t)) / 14, and likewise for losses; RSI = 100 A / (A + B), and 50
    where neither has moved (Wilder 1978, New Concepts in Technical Trading Systems, section VI).
    The smoothing starts with the series, or 250 sessions back in a longer one: the part of the
    weight that lies further back is below 3e-8, and with it left out a value needs no more
    history than its lookback.
    """
    change = panel.close - lagged(panel.close, 1)
    length = _unbroken_length(~np.isnan(change))
    gain = _wilder_average(np.maximum(change, 0.0), length)
    loss = _wilder_average(np.maximum(-change, 0.0), length)
    moved = gain + loss
    with np.errstate(invalid="ignore"):
        return np.where(moved == 0.0, 50.0, 100.0 * gain / moved)


@feature("volume_ratio", lookback=20, fields=("volume",))
def volume_ratio(panel: Panel) -> Values:
    """Volume over its mean of the 20 sessions before, V(t) / mean(V(t-20) .. V(t-1))."""
    usual = trailing_mean(lagged(panel.volume, 1), 20)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(usual > 0.0, panel.volume / usual, np.nan)


@feature("reversal_1d", lookback=1)
def reversal_1d(panel: Panel) -> Values:
    """Short-term reversal, the negative of the last session's return (Jegadeesh 1990)."""
    return 1.0 - panel.close / lagged(panel.close, 1)


@feature("zscore_20d", lookback=19)
def zscore_20d(panel: Panel) -> Values:
    """Distance of the close from its 20-session mean in sample deviations (Bollinger 2001)."""
    deviation = trailing_deviation(panel.close, 20)
    distance = panel.close - trailing_mean(panel.close, 20)
    # A price that never moved has rounding for a deviation and no score.
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(deviation > 1e-12 * panel.close, distance / deviation, np.nan)


def _log_momentum(close: Values, sessions: int) -> Values:
    log_price = natural_log(close)
    return log_price - lagged(log_price, sessions)


def _unbroken_length(present: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Values:
    """Return how many rows up to each one are present without a gap, at most RSI_MEMORY."""
    rows = np.arange(len(present))[:, None]
    last_gap = np.maximum.accumulate(np.where(present, -1, rows), axis=0)
    return np.minimum(rows - last_gap, RSI_MEMORY).astype(np.float64)


def _wilder_average(values: Values, length: Values) -> Values:
    """Return Wilder's average of the unbroken values up to each row; NaN below 14 of them.

    Unrolled, the average over m values is the mean of the first 14 times (13/14)^(m-14), plus
    the others weighted (1/14)(13/14)^k for lag k.
    """
    decay = 1.0 - 1.0 / RSI_PERIOD
    seed = trailing_mean(values, RSI_PERIOD)
    average = np.full_like(values, np.nan)
    smoothed = np.zeros_like(values)
    for lag in range(RSI_MEMORY - RSI_PERIOD + 1):
        starts_here = length == lag + RSI_PERIOD
        if starts_here.any():
            started = smoothed + decay**lag * lagged(seed, lag)
            average[starts_here] = started[starts_here]
        smoothed += (decay**lag / RSI_PERIOD) * lagged(values, lag)
    return average
