"""Weights and returns against an explicit loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata

from quant_mlops.training.portfolio import long_short_weights, portfolio_returns

SIGNALS = arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(1, 9)),
    elements=st.sampled_from([-1.5, -0.0, 0.0, 0.25, 0.25, 3.0, np.nan]),
)


@given(signals=SIGNALS, min_names=st.integers(2, 6))
def test_weights_are_centred_average_ranks_scaled_to_one(
    signals: np.ndarray, min_names: int
) -> None:
    weights = long_short_weights(signals, min_names=min_names)
    for row, found in zip(signals, weights, strict=True):
        known = ~np.isnan(row)
        expected = np.zeros(len(row))
        if known.sum() >= min_names:
            ranks = rankdata(row[known]) - (known.sum() + 1) / 2
            if np.abs(ranks).sum() > 0:
                expected[known] = ranks / np.abs(ranks).sum()
        np.testing.assert_array_equal(found, expected)
        assert abs(found.sum()) < 1e-12
        assert abs(found).sum() == pytest.approx(1.0) or not found.any()


def test_ties_share_a_weight_and_infinities_are_no_predictions() -> None:
    weights = long_short_weights(np.array([[1.0, 1.0, 2.0, np.inf, -np.inf]]), min_names=3)
    np.testing.assert_allclose(weights, [[-0.25, -0.25, 0.5, 0.0, 0.0]])


def test_too_few_names_or_one_opinion_hold_nothing() -> None:
    signals = np.array([[1.0, 2.0, np.nan, np.nan], [5.0, 5.0, 5.0, 5.0]])
    assert not long_short_weights(signals, min_names=3).any()


def test_no_names_at_all_give_no_weights() -> None:
    assert long_short_weights(np.empty((3, 0)), min_names=2).shape == (3, 0)


def explicit_loop(
    weights: np.ndarray, returns: np.ndarray, cost: float, before: np.ndarray
) -> list[dict[str, float]]:
    rows = []
    held = list(before)
    for target, earned in zip(weights.tolist(), returns.tolist(), strict=True):
        turnover = sum(abs(new - old) for new, old in zip(target, held, strict=True))
        mine = [(w, r) for w, r in zip(target, earned, strict=True) if w != 0]
        if any(not np.isnan(r) for _, r in mine):
            gross = sum(w * (0.0 if np.isnan(r) else r) for w, r in mine)
            market = sum(0.0 if np.isnan(r) else r for _, r in mine) / len(mine)
        else:
            gross = market = np.nan
        rows.append(
            {
                "gross": gross,
                "turnover": turnover,
                "cost": turnover * cost,
                "net": gross - turnover * cost,
                "market": market,
                "names": len(mine),
            }
        )
        held = target
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_returns_are_those_of_a_loop_over_sessions(seed: int) -> None:
    random = np.random.default_rng(seed)
    signals = random.normal(size=(40, 8))
    signals[random.random(signals.shape) < 0.2] = np.nan
    signals[7] = np.nan
    returns = random.normal(0, 0.02, size=signals.shape)
    returns[random.random(returns.shape) < 0.1] = np.nan
    returns[11] = np.nan
    weights = long_short_weights(signals, min_names=5)
    before = random.normal(size=8)
    found = portfolio_returns(weights, returns, cost_per_turnover=0.0007, before=before)
    expected = explicit_loop(weights, returns, 0.0007, before)
    for name in ("gross", "turnover", "cost", "net", "market", "names"):
        np.testing.assert_allclose(
            getattr(found, name), [row[name] for row in expected], atol=1e-15, err_msg=name
        )
    assert np.isnan(found.net[[7, 11]]).all()


def test_the_first_position_pays_for_being_built() -> None:
    weights = np.array([[0.5, -0.5], [0.5, -0.5]])
    found = portfolio_returns(weights, np.zeros((2, 2)), cost_per_turnover=0.001)
    np.testing.assert_allclose(found.turnover, [1.0, 0.0])
    np.testing.assert_allclose(found.net, [-0.001, 0.0])


def test_two_stretches_that_meet_are_one() -> None:
    random = np.random.default_rng(5)
    weights = long_short_weights(random.normal(size=(20, 6)), min_names=2)
    returns = random.normal(size=(20, 6))
    whole = portfolio_returns(weights, returns, cost_per_turnover=0.01)
    left = portfolio_returns(weights[:9], returns[:9], cost_per_turnover=0.01)
    right = portfolio_returns(weights[9:], returns[9:], cost_per_turnover=0.01, before=weights[8])
    np.testing.assert_array_equal(np.concatenate([left.net, right.net]), whole.net)
