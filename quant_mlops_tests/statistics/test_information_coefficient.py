"""The information coefficient against SciPy, the answer file and its invariances."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from quant_mlops.drift.metrics import calculate_ic
from quant_mlops.statistics import (
    effective_pairs,
    information_coefficient,
    information_coefficients,
)

# Few distinct values, so that ties are common, with holes of every kind.
TIED = st.one_of(
    st.integers(-6, 6).map(float), st.sampled_from([float("nan"), float("inf"), -float("inf")])
)
SESSION_PAIRS = st.tuples(st.integers(1, 6), st.integers(1, 15)).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float64, shape, elements=TIED), hnp.arrays(np.float64, shape, elements=TIED)
    )
)
DISTINCT = st.lists(st.integers(-1000, 1000), min_size=5, max_size=40, unique=True)


def spearman_by_scipy(signals: np.ndarray, returns: np.ndarray, min_names: int) -> float:
    usable = np.isfinite(signals) & np.isfinite(returns)
    left, right = signals[usable], returns[usable]
    if len(left) < min_names or len(set(left)) == 1 or len(set(right)) == 1:
        return float("nan")
    return float(stats.spearmanr(left, right).statistic)


def test_answer_file(
    ic_case: tuple[str, dict[str, Any]], arrays: Callable[[str], np.ndarray]
) -> None:
    name, expected = ic_case
    signals, returns = arrays(f"ic_{name}_pred"), arrays(f"ic_{name}_ret")
    daily = information_coefficients(signals, returns)
    np.testing.assert_allclose(daily, expected["spearman_per_day"], rtol=0, atol=1e-9)
    assert daily.mean() == pytest.approx(expected["summary"]["ic_mean"], abs=1e-9)
    assert daily.std(ddof=1) == pytest.approx(expected["summary"]["ic_std_ddof1"], abs=1e-9)


@given(SESSION_PAIRS, st.integers(2, 6))
def test_agrees_with_scipy_on_every_session(
    pair: tuple[np.ndarray, np.ndarray], min_names: int
) -> None:
    daily = information_coefficients(*pair, min_names=min_names)
    expected = [spearman_by_scipy(*row, min_names) for row in zip(*pair, strict=True)]
    np.testing.assert_allclose(daily, expected, rtol=0, atol=1e-12)


@given(SESSION_PAIRS)
def test_set_based_equals_scalar(pair: tuple[np.ndarray, np.ndarray]) -> None:
    singly = [information_coefficient(*row) for row in zip(*pair, strict=True)]
    np.testing.assert_allclose(information_coefficients(*pair), singly, rtol=0, atol=1e-12)


@given(SESSION_PAIRS)
def test_stays_within_bounds(pair: tuple[np.ndarray, np.ndarray]) -> None:
    daily = information_coefficients(*pair)
    assert np.all(np.isnan(daily) | (np.abs(daily) <= 1.0))


@given(DISTINCT, st.randoms(use_true_random=False))
def test_is_unmoved_by_monotone_transforms_and_by_order(names: list[int], random: Any) -> None:
    signals = np.array(names, dtype=float)
    returns = np.array(random.sample(names, len(names)), dtype=float)
    plain = information_coefficient(signals, returns)
    assert information_coefficient(signals**3, returns) == plain
    assert information_coefficient(signals, 0.01 * returns + 5.0) == plain
    assert information_coefficient(-signals, returns) == -plain
    assert information_coefficient(returns, signals) == plain
    order = np.array(random.sample(range(len(names)), len(names)))
    assert information_coefficient(signals[order], returns[order]) == plain


@given(DISTINCT)
def test_perfect_order_is_exactly_one(names: list[int]) -> None:
    signals = np.array(names, dtype=float)
    assert information_coefficient(signals, signals**3) == 1.0
    assert information_coefficient(signals, -signals) == -1.0


def test_ties_share_the_average_rank() -> None:
    # Ranks 1, 2.5, 2.5, 4 against 1, 3, 2, 4: covariance 4.5 over sqrt(4.5 x 5).
    value = information_coefficient([1, 2, 2, 3], [1, 3, 2, 4], min_names=4)
    assert value == pytest.approx(4.5 / np.sqrt(22.5), abs=1e-15)


def test_undefined_sessions_are_nan_without_a_warning() -> None:
    nan = np.nan
    signals = np.array([[1, 2, 3, 4, 5], [1, 1, 1, 1, 1], [nan] * 5, [1, 2, 3, 4, nan]])
    returns = np.array([[2, 1, 3, 4, 5.0]] * 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        daily = information_coefficients(signals, returns)
    assert np.isnan(daily).tolist() == [False, True, True, True]
    assert effective_pairs(signals, returns).tolist() == [5, 5, 0, 4]


def test_no_sessions_and_no_names() -> None:
    assert information_coefficients(np.empty((0, 4)), np.empty((0, 4))).shape == (0,)
    assert np.isnan(information_coefficients(np.empty((2, 0)), np.empty((2, 0)))).all()


def test_an_open_label_costs_only_its_own_session() -> None:
    rng = np.random.default_rng(5)
    signals, returns = rng.normal(size=(2, 10, 20))
    complete = information_coefficients(signals, returns)
    returns[-1] = np.nan
    np.testing.assert_array_equal(information_coefficients(signals, returns)[:-1], complete[:-1])


def test_mismatched_sides_and_too_few_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3,\) and returns \(4,\)"):
        information_coefficient([1, 2, 3], [1, 2, 3, 4])
    with pytest.raises(ValueError, match="2 axes expected"):
        information_coefficients([1, 2, 3], [1, 2, 3])
    with pytest.raises(ValueError, match="min_names is 1"):
        information_coefficient([1, 2, 3], [1, 2, 3], min_names=1)


def test_labelled_series_are_paired_by_label() -> None:
    signals = pd.Series([1.0, 2, 3, 4, 5, 9], index=list("abcdex"))
    returns = pd.Series([5.0, 4, 3, 2, 1, 0], index=list("edcbay"))
    assert calculate_ic(signals, returns) == 1.0
    # Without labels the same values are paired by position, in opposite order.
    assert calculate_ic(signals.to_numpy(), returns.to_numpy()) == -1.0


def test_a_label_that_occurs_twice_is_refused() -> None:
    signals = pd.Series([1.0, 2, 3], index=list("aab"))
    with pytest.raises(ValueError, match="signals hold a label twice"):
        calculate_ic(signals, signals.reset_index(drop=True))


def test_a_year_of_five_hundred_names_is_quick() -> None:
    signals, returns = np.random.default_rng(0).normal(size=(2, 250, 500))
    started = time.perf_counter()
    information_coefficients(signals, returns)
    assert time.perf_counter() - started < 1.0
