"""When a challenger wins."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.stats import norm

from quant_mlops.statistics import newey_west_standard_error
from quant_mlops.training.comparison import PromotionGate, compare_models

GATE = PromotionGate(min_sessions=40, min_probability=0.8)
RANDOM = np.random.default_rng(3)
CHAMPION = RANDOM.normal(0.02, 0.1, 100)
NOISE = RANDOM.normal(0.0, 0.05, 100)


def test_the_probability_is_that_of_the_paired_difference() -> None:
    challenger = CHAMPION + NOISE + 0.01
    found = compare_models(CHAMPION, challenger, lag=4, gate=GATE)
    difference = challenger - CHAMPION
    error = newey_west_standard_error(difference, lag=4)
    assert found.sessions == 100
    assert found.champion_ic == pytest.approx(CHAMPION.mean())
    assert found.challenger_ic == pytest.approx(challenger.mean())
    assert found.ic_difference == pytest.approx(difference.mean())
    assert found.ic_difference_se == pytest.approx(error)
    assert found.probability_better == pytest.approx(norm.cdf(difference.mean() / error))


@pytest.mark.parametrize(("shift", "promoted"), [(0.02, True), (-0.02, False)])
def test_a_clearly_better_challenger_is_promoted_and_a_worse_one_is_not(
    shift: float, promoted: bool
) -> None:
    found = compare_models(CHAMPION, CHAMPION + NOISE + shift, lag=0, gate=GATE)
    assert found.promoted is promoted
    assert ("at least" if promoted else "below") in found.reason


@pytest.mark.parametrize("least", [0.5, 0.8])
def test_an_identical_model_is_never_promoted(least: float) -> None:
    gate = PromotionGate(min_sessions=1, min_probability=least)
    found = compare_models(CHAMPION, CHAMPION.copy(), lag=4, gate=gate)
    assert not found.promoted
    assert found.probability_better == 0.5
    assert "alike" in found.reason


def test_a_session_without_a_value_on_either_side_does_not_count() -> None:
    champion, challenger = CHAMPION.copy(), CHAMPION + NOISE + 0.05
    champion[:30], challenger[20:50] = math.nan, math.nan
    found = compare_models(champion, challenger, lag=4, gate=GATE)
    alone = compare_models(CHAMPION[50:], challenger[50:], lag=4, gate=GATE)
    assert found == alone
    assert found.sessions == 50


@pytest.mark.parametrize("count", [0, 1, 39])
def test_too_few_sessions_promote_nothing(count: int) -> None:
    challenger = np.where(np.arange(100) < count, CHAMPION + NOISE + 1.0, math.nan)
    found = compare_models(CHAMPION, challenger, lag=4, gate=GATE)
    assert not found.promoted
    assert f"only {count} sessions" in found.reason
    json.dumps(found.to_json(), allow_nan=False)


def test_an_error_that_cannot_be_computed_promotes_nothing() -> None:
    gate = PromotionGate(min_sessions=1, min_probability=0.5)
    found = compare_models(np.array([0.1]), np.array([0.3]), lag=0, gate=gate)
    assert not found.promoted
    assert math.isnan(found.probability_better)
    assert found.to_json()["probability_better"] is None
