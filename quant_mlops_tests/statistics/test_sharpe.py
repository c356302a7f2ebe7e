"""Sharpe ratios, their sampling laws and drawdowns against papers and the answer file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_mlops.drift.metrics import calculate_sharpe
from quant_mlops.statistics import (
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    is_constant,
    maximum_drawdown,
    probabilistic_sharpe_from_moments,
    probabilistic_sharpe_ratio,
    return_shape,
    rolling_sharpe,
    sharpe_ratio,
    sharpe_standard_error,
    sharpe_standard_error_from_moments,
)

RETURNS = st.lists(st.floats(-0.2, 0.2), min_size=2, max_size=40)
STEADY = {"constant": [0.001] * 30, "zero": [0.0] * 5, "one": [0.01], "empty": []}
STEADY |= {"missing": [math.nan] * 5, "infinite": [0.01, 0.02, math.inf]}


def test_answer_file(
    sharpe_case: tuple[str, dict[str, Any]], arrays: Callable[[str], np.ndarray]
) -> None:
    name, expected = sharpe_case
    returns = arrays(name)
    law = expected["def_psr_vs0"]
    if np.ptp(returns) == 0.0:
        # The file records what unguarded arithmetic makes of a constant series; the definition
        # calls zero deviation undefined.
        assert expected["def_sharpe_252_ddof1"] > 1e15
        assert math.isnan(sharpe_ratio(returns))
        assert math.isnan(probabilistic_sharpe_ratio(returns))
        return
    assert sharpe_ratio(returns) == pytest.approx(expected["def_sharpe_252_ddof1"], abs=1e-9)
    assert sharpe_ratio(returns, periods_per_year=1) == pytest.approx(law["sr"], abs=1e-9)
    assert sharpe_standard_error(returns, periods_per_year=1) == pytest.approx(law["se"], abs=1e-9)
    assert probabilistic_sharpe_ratio(returns) == pytest.approx(law["psr"], abs=1e-9)
    assert probabilistic_sharpe_ratio(returns, benchmark=1.0) == pytest.approx(
        expected["def_psr_vs_annual_SR1"], abs=1e-9
    )
    for window in (5, 20):
        assert rolling_sharpe(returns, window=window)[-1] == pytest.approx(
            expected[f"empyrical_roll{window}_last"], abs=1e-9
        )


def test_deflated_sharpe_example_of_2014(answers: Mapping[str, Any]) -> None:
    ours, paper = answers["deflated_sharpe"]["ours"], answers["deflated_sharpe"]["paper_values"]
    periods = 250  # the paper's year

    def deflated(trials: int, *, skewness: float = -3.0, kurtosis: float = 10.0) -> float:
        return probabilistic_sharpe_from_moments(
            2.5 / math.sqrt(periods),
            benchmark=expected_maximum_sharpe(trials, 0.5 / periods),
            observations=1250,
            skewness=skewness,
            kurtosis=kurtosis,
        )

    found = {
        "SR0_daily_N100": expected_maximum_sharpe(100, 0.5 / periods),
        "DSR_N100": deflated(100),
        "DSR_N46": deflated(46),
        "DSR_N88_normal": deflated(88, skewness=0.0, kurtosis=3.0),
    }
    assert found == pytest.approx(ours, abs=1e-9)
    assert found == pytest.approx(paper, abs=5.1e-5)


def test_probabilistic_sharpe_example_of_2012() -> None:
    def probability(skewness: float, kurtosis: float) -> float:
        return probabilistic_sharpe_from_moments(
            0.458, benchmark=0.0, observations=24, skewness=skewness, kurtosis=kurtosis
        )

    assert probability(-2.448, 10.164) == pytest.approx(0.913, abs=5e-4)
    assert probability(0.0, 3.0) == pytest.approx(0.982, abs=5e-4)


def test_probabilistic_sharpe_example_agrees_with_the_answer_file(
    answers: Mapping[str, Any],
) -> None:
    example = answers["deflated_sharpe"]["psr2012_example"]
    for key, skewness, kurtosis in (("ours", -2.448, 10.164), ("ours_normal", 0.0, 3.0)):
        found = probabilistic_sharpe_from_moments(
            0.458, benchmark=0.0, observations=24, skewness=skewness, kurtosis=kurtosis
        )
        assert found == pytest.approx(example[key], abs=1e-9)


def test_sharpe_by_hand() -> None:
    # Mean 0.02 and deviation 0.01 with ddof 1.
    assert calculate_sharpe([0.01, 0.02, 0.03]) == pytest.approx(2 * math.sqrt(252), abs=1e-12)
    assert calculate_sharpe([0.01, math.nan, 0.03, 0.02], 12) == pytest.approx(
        2 * math.sqrt(12), abs=1e-12
    )


def test_standard_error_by_hand() -> None:
    # Normal shape leaves (1 + SR^2 / 2) / (n - 1).
    error = sharpe_standard_error_from_moments(1.0, observations=7, skewness=0.0, kurtosis=3.0)
    assert error == pytest.approx(0.5, abs=1e-15)
    symmetric = [-1.0, 1.0, -1.0, 1.0]
    assert sharpe_standard_error(symmetric, periods_per_year=1) == pytest.approx(3**-0.5, abs=1e-15)
    assert sharpe_standard_error(symmetric, periods_per_year=4) == pytest.approx(
        2 * 3**-0.5, abs=1e-15
    )
    assert probabilistic_sharpe_ratio(symmetric) == 0.5


@pytest.mark.parametrize("returns", STEADY.values(), ids=STEADY)
def test_undefined_is_nan(returns: list[float]) -> None:
    assert math.isnan(sharpe_ratio(returns))
    assert math.isnan(sharpe_standard_error(returns))
    assert math.isnan(probabilistic_sharpe_ratio(returns))
    assert math.isnan(deflated_sharpe_ratio(returns, trials=10, trial_variance=0.1))
    assert np.isnan(return_shape(returns)).all()
    assert np.isnan(rolling_sharpe(returns, window=3)[2:]).all()


def test_constant_up_to_rounding_and_no_further() -> None:
    prices = 100.0 * 1.0001 ** np.arange(300)
    accrued = prices[1:] / prices[:-1] - 1.0
    assert len(set(accrued)) > 1
    assert is_constant(accrued)
    assert math.isnan(sharpe_ratio(accrued))
    assert sharpe_ratio([0.001, 0.001 * (1 + 1e-6)] * 5) > 1e6
    assert is_constant([[1.0, 1.0], [1.0, 2.0]], axis=1).tolist() == [True, False]


@given(RETURNS, st.integers(2, 10))
def test_rolling_equals_the_ratio_of_each_window(returns: list[float], window: int) -> None:
    rolled = rolling_sharpe(returns, window=window)
    singly = [
        sharpe_ratio(returns[end - window : end]) if end >= window else math.nan
        for end in range(1, len(returns) + 1)
    ]
    np.testing.assert_allclose(rolled, singly, rtol=1e-9, atol=1e-9)


def test_rolling_needs_all_values_of_its_window() -> None:
    returns = [0.01, 0.03, math.nan, 0.02, 0.01, 0.04]
    rolled = rolling_sharpe(returns, window=3)
    assert np.isnan(rolled).tolist() == [True] * 5 + [False]
    assert rolled[-1] == pytest.approx(sharpe_ratio(returns[3:]), abs=1e-12)
    assert np.isnan(rolling_sharpe(returns, window=7)).all()
    with pytest.raises(ValueError, match="window is 1"):
        rolling_sharpe(returns, window=1)


@given(RETURNS, st.floats(-1, 1), st.floats(0.1, 2.0))
def test_a_harder_benchmark_is_less_probable(
    returns: list[float], benchmark: float, step: float
) -> None:
    easy = probabilistic_sharpe_ratio(returns, benchmark=benchmark)
    hard = probabilistic_sharpe_ratio(returns, benchmark=benchmark + step)
    assert math.isnan(easy) or 0.0 <= hard <= easy <= 1.0


def test_more_trials_deflate_more() -> None:
    returns = np.random.default_rng(2).normal(0.001, 0.01, size=500)
    one, ten, many = (
        deflated_sharpe_ratio(returns, trials=trials, trial_variance=0.25)
        for trials in (1, 10, 1000)
    )
    assert one == probabilistic_sharpe_ratio(returns)
    assert one > ten > many
    benchmark = expected_maximum_sharpe(10, 0.25)
    assert ten == probabilistic_sharpe_ratio(returns, benchmark=benchmark)


def test_expected_maximum_is_that_of_normal_draws() -> None:
    draws = np.random.default_rng(8).normal(size=(20_000, 100)).max(axis=1)
    assert expected_maximum_sharpe(100, 1.0) == pytest.approx(draws.mean(), abs=0.03)
    assert expected_maximum_sharpe(100, 4.0) == 2.0 * expected_maximum_sharpe(100, 1.0)
    assert expected_maximum_sharpe(1, 1.0) == 0.0
    assert expected_maximum_sharpe(1.1, 1.0) == 0.0
    with pytest.raises(ValueError, match="trials is 0"):
        expected_maximum_sharpe(0, 1.0)
    with pytest.raises(ValueError, match="variance is -1"):
        expected_maximum_sharpe(5, -1)


def test_drawdown_by_hand() -> None:
    assert maximum_drawdown([0.10, -0.20, math.nan, -0.10, 0.50]) == pytest.approx(-0.28, abs=1e-15)
    assert maximum_drawdown([-0.25, 0.10]) == pytest.approx(-0.25, abs=1e-15)
    assert maximum_drawdown([0.01, 0.02]) == 0.0
    assert maximum_drawdown([0.5, -1.5, 0.2]) == -1.0
    assert math.isnan(maximum_drawdown([]))
    assert math.isnan(maximum_drawdown([0.1, math.inf]))


@given(RETURNS)
def test_drawdown_equals_the_deepest_pair(returns: list[float]) -> None:
    wealth = np.concatenate([[1.0], np.cumprod(1.0 + np.array(returns))])
    deepest = min(
        wealth[j] / wealth[i] - 1.0 for i in range(len(wealth)) for j in range(i, len(wealth))
    )
    assert maximum_drawdown(returns) == pytest.approx(deepest, abs=1e-12)
