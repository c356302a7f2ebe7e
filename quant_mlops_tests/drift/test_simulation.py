"""Simulated series, and the metrics made of them."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import pytest

from quant_mlops.drift.rules import AlertConfig
from quant_mlops.drift.simulation import (
    PSI_OF_BREAK,
    Draw,
    HealthyHistory,
    StatedLaw,
    block_places,
    broken,
    rolling_mean_and_error,
    rolling_sharpe_and_error,
)
from quant_mlops.drift.watching import lower_cusum, watch
from quant_mlops.statistics import (
    newey_west_standard_error,
    rolling_sharpe,
    sharpe_standard_error,
)

NAN = math.nan


@pytest.fixture(scope="module")
def series() -> np.ndarray:
    return np.random.default_rng(4).normal(0.001, 0.01, (90, 3))


@pytest.mark.parametrize("lag", [0, 1, 4, 30])
def test_rolling_means_and_errors_are_those_of_each_window(series: np.ndarray, lag: int) -> None:
    mean, error = rolling_mean_and_error(series, window=20, lag=lag)
    assert np.isnan(mean[:19]).all()
    assert np.isnan(error[:19]).all()
    for end in (20, 47, 90):
        window = series[end - 20 : end, 1]
        assert mean[end - 1, 1] == pytest.approx(window.mean())
        expected = newey_west_standard_error(window, lag=lag)
        assert error[end - 1, 1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("window", [5, 60])
def test_rolling_sharpe_ratios_and_errors_are_those_of_each_window(
    series: np.ndarray, window: int
) -> None:
    sharpe, error = rolling_sharpe_and_error(series, window=window)
    for path in range(3):
        expected = rolling_sharpe(series[:, path], window=window)
        np.testing.assert_allclose(sharpe[:, path], expected, rtol=1e-9)
    for end in (60, 77, 90):
        alone = sharpe_standard_error(series[end - window : end, 2])
        assert error[end - 1, 2] == pytest.approx(alone, rel=1e-8)


def test_constant_returns_have_no_sharpe_ratio() -> None:
    sharpe, _ = rolling_sharpe_and_error(np.full((30, 1), 0.001), window=5)
    assert np.isnan(sharpe).all()


def test_blocks_follow_one_another_in_the_circle_and_have_the_length_asked_for() -> None:
    places = block_places(50, (2000, 20), block=8, random=np.random.default_rng(1))
    follows = (places[1:] - places[:-1]) % 50 == 1
    # One block in fifty begins where the one before it would have gone on.
    assert follows.mean() == pytest.approx(1 - (1 / 8) * (49 / 50), abs=0.01)
    assert (places.min(), places.max()) == (0, 49)
    np.testing.assert_allclose(np.bincount(places.ravel()) / places.size, 1 / 50, atol=0.005)


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    random = np.random.default_rng(3)
    history = HealthyHistory(
        date(2020, 1, 2), date(2020, 3, 2), *(random.normal(size=40) for _ in range(4)),
        horizon=2, psi_window=10,
    )  # fmt: skip
    for source in (StatedLaw(ic_autocorrelation=0.5), history):
        one, two, other = (source.draw(50, 3, seed=(seed, 0)) for seed in (1, 1, 2))
        np.testing.assert_array_equal(one.ic, two.ic)
        np.testing.assert_array_equal(one.psi, two.psi)
        assert not (one.ic == other.ic).all()
    drawn = history.draw(50, 3, seed=(1, 0))
    assert set(drawn.net.ravel()) <= set(history.net)
    # A session's PSI keeps its own bound.
    bound = dict(zip(history.psi, history.psi_no_drift_95, strict=True))
    assert [bound[value] for value in drawn.psi.ravel()] == drawn.psi_no_drift_95.ravel().tolist()


def test_correlated_ics_have_the_moments_stated() -> None:
    ic = StatedLaw(ic_autocorrelation=0.5).draw(400, 400, seed=(1,)).ic
    assert ic.mean() == pytest.approx(0.05, abs=0.002)
    assert ic.std() == pytest.approx(0.10, abs=0.002)
    assert np.corrcoef(ic[1:].ravel(), ic[:-1].ravel())[0, 1] == pytest.approx(0.5, abs=0.01)


def test_a_break_takes_the_mean_away_and_fills_the_window_of_the_psi() -> None:
    law = StatedLaw(psi_window=4)
    flat = Draw(*(np.full((8, 1), value) for value in (law.ic_mean, law.net_mean, 0.0, 0.1)))
    after = broken(law, flat, at=2)
    assert after.ic[:, 0].tolist() == [0.05] * 2 + [0.0] * 6
    assert after.net[:, 0].tolist() == [law.net_mean] * 2 + [0.0] * 6
    shares = np.array([0, 0, 1, 2, 3, 4, 4, 4]) / 4
    np.testing.assert_allclose(after.psi[:, 0], PSI_OF_BREAK * shares**2)


def test_a_cusum_is_the_sum_that_never_falls_below_nothing() -> None:
    values = np.round(np.random.default_rng(2).normal(0, 1, 300), 2)
    values[[0, 7, 8, 40]] = NAN
    found, total = lower_cusum(values, 0.1), 0.0
    for value, sum_now in zip(values, found, strict=True):
        if math.isnan(value):
            assert math.isnan(sum_now)
            continue
        total = max(0.0, total + 0.1 - value)
        assert sum_now == pytest.approx(total, abs=1e-9)
    both = lower_cusum(np.stack([values, -values], axis=1), 0.1)
    np.testing.assert_array_equal(both[:, 0], found)


def test_a_gate_needs_its_size_and_its_error_and_looks_at_the_bound_beyond_it() -> None:
    rule = next(r for r in AlertConfig().rules("gated") if r.name == "ic_negative")
    metrics = {
        "ic": np.array([-0.1, -0.1, -0.1, -0.1, NAN]),
        "ic_names": np.array([10.0, 9.0, 10.0, 10.0, 10.0]),
        "ic_20d_mean": np.array([-0.03, -0.03, -0.02, NAN, -0.03]),
        "ic_20d_se": np.full(5, 0.025),
    }
    values, cleared = watch(rule, metrics)
    assert np.isnan(values).tolist() == [False, True, False, True, True]
    assert cleared[[0, 2]].tolist() == [True, False]
    psi = next(r for r in AlertConfig().rules("gated") if r.name == "psi_mild")
    noise = {
        "psi": np.array([0.2, 0.2, 0.2]),
        "psi_no_drift_95": np.array([0.19, 0.2, 0.21]),
        "psi_rows": np.array([250.0, 249.0, 250.0]),
    }
    values, cleared = watch(psi, noise)
    assert np.isnan(values).tolist() == [False, True, False]
    assert cleared.tolist() == [True, False, False]
