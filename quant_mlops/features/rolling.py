"""Sums over trailing windows whose value at a session depends on nothing but the window.

Each window is added up lag by lag in a fixed order. A running sum would be faster and would
carry rounding from the start of whatever block is computed, so that the daily run and the
backfill would differ in the last digits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


def lagged(values: Values, sessions: int) -> Values:
    """Return the values that many sessions earlier; NaN where there is no earlier row."""
    shifted = np.full_like(values, np.nan)
    if sessions < len(values):
        shifted[sessions:] = values[: len(values) - sessions]
    return shifted


def trailing_sum(values: Values, window: int) -> Values:
    """Return the sum over each session and the window - 1 before it; NaN if any is missing."""
    total = values.copy()
    for lag in range(1, window):
        total += lagged(values, lag)
    return total


def trailing_mean(values: Values, window: int) -> Values:
    """Return the mean over each trailing window."""
    return trailing_sum(values, window) / window


def trailing_deviation(values: Values, window: int) -> Values:
    """Return the sample standard deviation (n - 1) over each trailing window."""
    mean = trailing_mean(values, window)
    squares = (values - mean) ** 2
    for lag in range(1, window):
        squares += (lagged(values, lag) - mean) ** 2
    return np.asarray(np.sqrt(squares / (window - 1)))


def trailing_maximum(values: npt.NDArray[np.int64], window: int) -> npt.NDArray[np.int64]:
    """Return the largest value over each trailing window, shorter at the start."""
    highest = values.copy()
    reach = 1
    while reach < window:  # doubling: the maximum of two overlapping windows
        step = min(reach, window - reach)
        highest[step:] = np.maximum(highest[step:], highest[:-step].copy())
        reach += step
    return highest
