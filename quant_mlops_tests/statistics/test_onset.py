"""The interval of an onset against brute force, and how often it holds planted changes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_mlops.statistics import (
    change_interval,
    coverage,
    most_likely_change,
    simulate_change,
    split_statistics,
    split_tail,
)
from quant_mlops.statistics.onset import ONSET_TRIM

NAN = math.nan


def brute_force_statistic(values: np.ndarray, split: int, before: float, after: float) -> float:
    total = 0.0
    for side, variance in ((values[:split], before), (values[split:], after)):
        running = 0.0
        for value in side:
            running += value - side.mean()
            total += running**2 / (variance * len(side) ** 2)
    return total


@given(
    st.lists(st.floats(-5, 5, allow_subnormal=False), min_size=2, max_size=30),
    st.floats(0.1, 9.0),
    st.floats(0.1, 9.0),
)
def test_every_split_is_scored_as_its_definition_says(
    values: list[float], before: float, after: float
) -> None:
    sample = np.array(values)
    found = split_statistics(sample - sample.mean(), variance_before=before, variance_after=after)
    expected = [
        brute_force_statistic(sample, split, before, after) for split in range(1, len(sample))
    ]
    assert found == pytest.approx(expected, abs=1e-9)


def test_the_tail_is_that_of_two_squared_brownian_bridges() -> None:
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(4000, 2, 400))
    bridges = np.cumsum(noise - noise.mean(axis=2, keepdims=True), axis=2)
    simulated = (bridges**2).sum(axis=(1, 2)) / 400**2
    for level in (0.9, 0.5, 0.1, 0.05, 0.01):
        share = np.mean(split_tail(simulated) < level)
        assert share == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / 4000))


def test_the_tail_at_its_ends() -> None:
    assert split_tail([0.607, 0.748]) == pytest.approx([0.10, 0.05], abs=2e-4)
    assert split_tail([0.0, 0.001, 100.0]) == pytest.approx([1.0, 1.0, 0.0])
    assert (np.diff(split_tail(np.linspace(0.0, 3.0, 500))) <= 1e-9).all()


SETTINGS: dict[str, dict[str, Any]] = {
    "IC 0.05 to 0, a year": {"n": 250, "after": 0.0},
    "IC 0.05 to 0, half a year": {"n": 120, "after": 0.0},
    "IC 0.05 to 0, two years": {"n": 500, "after": 0.0},
    "IC 0.05 to -0.02, half a year": {"n": 120, "after": -0.02, "at": 0.7},
    "IC 0.05 to -0.02, two years": {"n": 500, "after": -0.02},
    "IC 0.05 to -0.20, a year": {"n": 250, "after": -0.2},
    "5-session labels, 0.05 to 0": {"kind": "overlapping", "n": 250, "after": 0.0, "lag": 4},
    "5-session labels, 0.05 to -0.02": {"kind": "overlapping", "n": 120, "after": -0.02, "lag": 4},
    "5-session labels, 0.05 to -0.10": {"kind": "overlapping", "n": 500, "after": -0.1, "lag": 4},
    "5-session labels, 0.05 to -0.25": {"kind": "overlapping", "n": 250, "after": -0.25, "lag": 4},
    "returns, Sharpe 2 to -4": {"kind": "heavy_tailed", "n": 250, "before": 0.00126,
                                "after": -0.0025, "deviation": 0.01},
    "returns, a crash": {"kind": "heavy_tailed", "n": 250, "before": 0.001, "after": -0.02,
                         "deviation": 0.01, "at": 0.7},
    "IC 0.05 to -0.10, ten sessions ago": {"n": 250, "after": -0.1, "at": 0.96},
    "PSI of a day": {"kind": "stability", "n": 250, "before": 0.005, "after": 0.3, "at": 0.4},
    "PSI of 20 days": {"kind": "stability", "n": 250, "before": 0.01, "after": 0.3, "lag": 19},
    "PSI of 60 days": {"kind": "stability", "n": 400, "before": 0.02, "after": 0.4, "lag": 59},
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_nine_in_ten_intervals_hold_the_planted_date(name: str) -> None:
    setting = {"kind": "independent", "before": 0.05, "deviation": 0.1, "at": 0.5} | SETTINGS[name]
    n, share = setting.pop("n"), setting.pop("at")
    result = coverage(**setting, observations=n, position=int(n * share))
    assert result.cases == 500
    assert result.held == round(result.share * 500)
    assert result.share >= 0.90


def test_intervals_are_short_where_the_change_is_large() -> None:
    lengths = [
        coverage(
            "independent", observations=250, before=0.05, after=after, deviation=0.1, position=125,
            cases=100,
        ).median_length
        for after in (0.0, -0.1, -0.25)
    ]  # fmt: skip
    assert lengths[0] > 60 > 40 > lengths[1] > lengths[2]
    assert lengths[2] < 15


def test_ignoring_the_overlap_of_labels_loses_the_date() -> None:
    series = simulate_change(
        "overlapping", shape=(200, 250), before=0.05, after=-0.1, deviation=0.1, position=125,
        lag=4, seed=3,
    )  # fmt: skip
    held = {0: 0, 4: 0}
    for values in series:
        for lag in held:
            onset = change_interval(values, lag=lag)
            held[lag] += onset is not None and onset.first <= 125 <= onset.last
    assert held[4] > 180
    assert held[0] < 140


def test_a_higher_level_gives_a_longer_interval_around_the_same_date() -> None:
    (values,) = simulate_change(
        "independent", shape=(1, 250), before=0.05, after=-0.1, deviation=0.1, position=170, seed=2
    )
    change = most_likely_change(values, trim=ONSET_TRIM)
    assert change is not None
    ends = []
    for level in (0.8, 0.9, 0.95, 0.99):
        onset = change_interval(values, level=level)
        assert onset is not None
        assert (onset.index, onset.p_value) == (change.index, change.p_value)
        assert (onset.mean_before, onset.mean_after) == (change.mean_before, change.mean_after)
        assert (onset.level, onset.observations) == (level, 250)
        ends.append((onset.first, onset.last))
    assert [first for first, _ in ends] == sorted((f for f, _ in ends), reverse=True)
    assert [last for _, last in ends] == sorted(last for _, last in ends)
    assert ends[0] != ends[-1]


def test_gaps_count_as_sessions_and_a_change_inside_one_is_held() -> None:
    values = np.where(np.arange(100) < 40, 1.0, 3.0)
    exact = change_interval(values)
    assert exact is not None
    assert (exact.index, exact.first, exact.last, exact.p_value) == (40, 40, 40, 0.0)
    values[35:45] = NAN
    gapped = change_interval(values)
    assert gapped is not None
    assert (gapped.index, gapped.first, gapped.last, gapped.observations) == (45, 35, 45, 90)


def test_gaps_shift_the_interval_of_a_noisy_series_by_their_length() -> None:
    (values,) = simulate_change(
        "independent", shape=(1, 200), before=1.0, after=-1.0, deviation=1.0, position=90, seed=4
    )
    plain = change_interval(values)
    gapped = change_interval(np.insert(values, [0, 0, 0], NAN))
    assert plain is not None
    assert gapped is not None
    assert (gapped.index, gapped.first, gapped.last) == (
        plain.index + 3, plain.first + 3, plain.last + 3,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("values", "lag"),
    [
        ([], 0),
        ([0.1, 0.2], 0),
        ([0.001] * 50, 0),
        ([NAN] * 50, 0),
        ([*np.sin(np.arange(50.0)), math.inf], 0),
        (np.sin(np.arange(38.0) ** 2), 9),
        (np.arange(200.0), 0),
        (np.concatenate([np.sin(np.arange(80.0) ** 2), 9 + np.sin(np.arange(80.0) ** 2)] * 2), 0),
    ],
    ids=["empty", "two", "constant", "missing", "infinite", "used-up", "trend", "three-changes"],
)
def test_where_nothing_can_be_dated_there_is_no_interval(values: Any, lag: int) -> None:
    assert change_interval(values, lag=lag) is None


def test_a_series_without_a_change_gets_the_whole_range_and_no_small_p_value() -> None:
    values = np.random.default_rng(8).normal(size=250)
    onset = change_interval(values)
    assert onset is not None
    assert onset.p_value > 0.05
    assert onset.last - onset.first > 200


def test_settings_out_of_range_are_refused() -> None:
    values = np.arange(30.0)
    for level in (0.4, 1.0):
        with pytest.raises(ValueError, match=f"level is {level}"):
            change_interval(values, level=level)
    with pytest.raises(ValueError, match="window is 0"):
        change_interval(values, window=0)
    with pytest.raises(ValueError, match="lag is -1"):
        change_interval(np.sin(values), lag=-1)
    with pytest.raises(ValueError, match="one axis"):
        change_interval([[1.0, 2.0]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cases": 0}, "cases is 0"),
        ({"position": 250}, "position is 250"),
        ({"deviation": 0.0}, "deviation is 0.0"),
        ({"lag": -1}, "lag is -1"),
        ({"kind": "stability"}, "PSI goes from 0.05 to 0.0"),
    ],
)
def test_simulations_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "kind": "independent", "observations": 250, "before": 0.05, "after": 0.0,
        "deviation": 0.1, "position": 100,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        coverage(**given | changes)


def test_the_same_seed_gives_the_same_coverage() -> None:
    given: dict[str, Any] = {
        "observations": 120, "before": 0.05, "after": -0.1, "deviation": 0.1, "position": 60,
        "cases": 40,
    }  # fmt: skip
    assert coverage("independent", **given) == coverage("independent", **given)
    assert coverage("independent", **given) != coverage("independent", **given, seed=1)


def test_simulated_series_have_the_moments_asked_for() -> None:
    for kind, lag in (("independent", 0), ("overlapping", 4), ("heavy_tailed", 0)):
        series = simulate_change(
            kind, shape=(400, 100), before=1.0, after=-2.0, deviation=0.5, position=60, lag=lag,
        )  # type: ignore[arg-type]  # fmt: skip
        assert series[:, :60].mean() == pytest.approx(1.0, abs=0.03)
        assert series[:, 60:].mean() == pytest.approx(-2.0, abs=0.03)
        assert series[:, :60].std() == pytest.approx(0.5, rel=0.1)
        neighbours = np.corrcoef(series[:, 10], series[:, 11])[0, 1]
        assert neighbours == pytest.approx(lag / (lag + 1), abs=0.2)
    psi = simulate_change(
        "stability", shape=(100, 150), before=0.02, after=0.4, deviation=1.0, position=60, lag=9
    )
    assert psi[:, :60].mean() == pytest.approx(0.02, rel=0.1)
    assert psi[:, 70:].mean() == pytest.approx(0.4, rel=0.1)
    assert psi[:, 62].mean() < 0.2
