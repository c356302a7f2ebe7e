"""When a challenger wins."""

from __future__ import annotations

import json
import math
from datetime import date

import numpy as np
import pytest
from scipy.stats import norm

from quant_mlops.statistics import automatic_lag, newey_west_standard_error
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


RETURNS = RANDOM.normal(0.0005, 0.01, 100)


def test_returns_are_compared_on_their_own_sessions_with_a_lag_of_their_own() -> None:
    other = RETURNS + RANDOM.normal(0.0002, 0.004, 100)
    other[:10], champion = math.nan, RETURNS.copy()
    champion[90:] = math.nan
    found = compare_models(
        CHAMPION, CHAMPION + NOISE, lag=4, gate=GATE,
        champion_returns=champion, challenger_returns=other,
    )  # fmt: skip
    difference = other[10:90] - champion[10:90]
    assert automatic_lag(80) == 3
    error = newey_west_standard_error(difference, lag=3)
    returns = found.returns
    assert returns is not None
    assert (found.sessions, returns.sessions) == (100, 80)
    assert returns.champion == pytest.approx(champion[10:90].mean())
    assert returns.challenger == pytest.approx(other[10:90].mean())
    assert returns.difference == pytest.approx(difference.mean())
    assert returns.difference_se == pytest.approx(error)
    assert returns.probability_better == pytest.approx(norm.cdf(difference.mean() / error))
    assert found.to_json()["returns"]["sessions"] == 80


@pytest.mark.parametrize(
    ("least", "shift", "promoted"),
    [(0.0, -0.01, True), (0.9, -0.01, False), (0.9, 0.01, True), (0.1, math.nan, False)],
)
def test_a_better_order_that_earns_less_is_refused_only_where_the_gate_asks(
    least: float, shift: float, promoted: bool
) -> None:
    gate = PromotionGate(min_sessions=40, min_probability=0.8, min_return_probability=least)
    found = compare_models(
        CHAMPION, CHAMPION + NOISE + 0.02, lag=0, gate=gate,
        champion_returns=RETURNS, challenger_returns=RETURNS + 0.02 * NOISE + shift,
    )  # fmt: skip
    assert found.promoted is promoted
    assert ("earning more after cost" in found.reason) is (least > 0)
    without = compare_models(CHAMPION, CHAMPION + NOISE + 0.02, lag=0, gate=gate)
    assert without.promoted is (least == 0.0)


def test_returns_alone_do_not_promote() -> None:
    gate = PromotionGate(min_sessions=40, min_probability=0.8, min_return_probability=0.8)
    found = compare_models(
        CHAMPION, CHAMPION + NOISE - 0.02, lag=0, gate=gate,
        champion_returns=RETURNS, challenger_returns=RETURNS + 0.02 * NOISE + 0.01,
    )  # fmt: skip
    assert not found.promoted
    assert "at least the 0.80 asked for" in found.reason


def test_differences_that_cancel_are_no_two_models_alike() -> None:
    base = np.zeros(40)
    found = compare_models(base, np.tile([0.5, -0.5], 20), lag=0, gate=GATE)
    assert (found.ic_difference, found.probability_better) == (0.0, 0.5)
    assert "alike" not in found.reason


@pytest.mark.parametrize(
    ("until", "saw"),
    [(None, None), (date(2024, 1, 9), 0), (date(2024, 1, 10), 1), (date(2024, 3, 1), 5)],
)
def test_sessions_that_the_champion_was_trained_on_are_counted(
    until: date | None, saw: int | None
) -> None:
    days = np.arange("2024-01-10", "2024-01-15", dtype="datetime64[D]")
    found = compare_models(CHAMPION, CHAMPION + NOISE, lag=0, gate=GATE)
    placed = found.over(days, champion_trained_until=until)
    assert (placed.first_session, placed.last_session) == (date(2024, 1, 10), date(2024, 1, 14))
    assert (placed.champion_trained_until, placed.sessions_champion_saw) == (until, saw)
    document = json.loads(json.dumps(placed.to_json(), allow_nan=False))
    assert document["champion_trained_until"] == (None if until is None else until.isoformat())
    assert document["sessions_champion_saw"] == saw
    assert found.over(days[:0], champion_trained_until=until) == found
