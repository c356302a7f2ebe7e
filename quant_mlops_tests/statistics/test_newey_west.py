"""The Newey-West error of a mean against the answer file and its textbook sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_mlops.statistics import (
    automatic_lag,
    information_coefficients,
    newey_west_standard_error,
)

SERIES = st.lists(st.floats(-10, 10), min_size=2, max_size=30)


@pytest.mark.parametrize("lag", [0, 4, 9])
def test_answer_file(
    ic_case: tuple[str, dict[str, Any]], arrays: Callable[[str], np.ndarray], lag: int
) -> None:
    name, expected = ic_case
    daily = information_coefficients(arrays(f"ic_{name}_pred"), arrays(f"ic_{name}_ret"))
    t_statistic = daily.mean() / newey_west_standard_error(daily, lag=lag)
    assert t_statistic == pytest.approx(expected["summary"][f"t_newey_west_L{lag}"], abs=1e-9)


@given(SERIES, st.integers(0, 40))
def test_equals_the_double_sum(values: list[float], lag: int) -> None:
    if np.ptp(values) < 1e-6:
        return
    n = len(values)
    centred = np.array(values) - np.mean(values)
    total = sum(
        max(0.0, 1.0 - abs(i - j) / (lag + 1)) * centred[i] * centred[j]
        for i in range(n)
        for j in range(n)
    )
    error = newey_west_standard_error(values, lag=lag)
    assert error**2 == pytest.approx(max(total, 0.0) / n**2, rel=1e-9, abs=1e-12)


def test_lag_zero_uses_the_population_deviation() -> None:
    assert newey_west_standard_error([1.0, 2.0, 3.0, 4.0], lag=0) == pytest.approx(
        math.sqrt(1.25 / 4), abs=1e-15
    )


def test_overlapping_values_have_a_larger_error() -> None:
    shocks = np.random.default_rng(3).normal(size=2000)
    overlapping = np.convolve(shocks, np.full(5, 0.2), mode="valid")
    plain = newey_west_standard_error(overlapping, lag=0)
    # Bartlett weights at lag h - 1 recover 3.4 of the factor 5 in the variance of a mean.
    assert newey_west_standard_error(overlapping, lag=4) / plain == pytest.approx(3.4**0.5, rel=0.1)


def test_a_gap_is_closed() -> None:
    values = [0.1, -0.2, 0.4, 0.3, -0.1]
    gapped = [0.1, math.nan, -0.2, 0.4, math.nan, math.nan, 0.3, -0.1]
    assert newey_west_standard_error(gapped, lag=2) == newey_west_standard_error(values, lag=2)


@pytest.mark.parametrize(
    "values", [[], [1.0], [math.nan] * 4, [0.001] * 30, [1.0, 2.0, math.inf]], ids=repr
)
def test_undefined_is_nan(values: list[float]) -> None:
    assert math.isnan(newey_west_standard_error(values, lag=1))


def test_a_negative_lag_and_a_table_are_refused() -> None:
    with pytest.raises(ValueError, match="lag is -1"):
        newey_west_standard_error([1.0, 2.0], lag=-1)
    with pytest.raises(ValueError, match="one axis"):
        newey_west_standard_error([[1.0, 2.0]], lag=1)


@pytest.mark.parametrize(
    ("observations", "lag"),
    [(0, 0), (1, 0), (2, 1), (3, 1), (28, 3), (99, 3), (100, 4), (252, 4), (275, 5), (2264, 8)],
)
def test_the_automatic_lag_grows_with_the_two_ninths_power(observations: int, lag: int) -> None:
    assert automatic_lag(observations) == lag
