"""KS, Wasserstein and PSI of two samples against brute force, and features that hide drift."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import pytest
from scipy import stats

from quant_mlops.drift.sample_comparison import compare_samples, held_in_place
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.statistics import calculate_psi


def share_at_most(sample: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.array([np.mean(sample <= point) for point in points])


@pytest.mark.parametrize(("rows", "now"), [(300, 80), (2_500, 700)])
def test_the_measures_are_those_of_their_definitions(rows: int, now: int) -> None:
    random = np.random.default_rng(3)
    reference, current = random.normal(size=rows), random.normal(0.4, 1.5, now)
    reference[:10], current[:20] = np.nan, np.nan
    found = compare_samples(reference, current)
    a, b = reference[10:], current[20:]
    points = np.sort(np.concatenate([a, b]))
    gap = np.abs(share_at_most(a, points) - share_at_most(b, points))
    assert found.ks_statistic == pytest.approx(gap.max(), abs=1e-12)
    # The distance is the area between the two distribution functions.
    assert found.wasserstein == pytest.approx(np.sum(gap[:-1] * np.diff(points)), rel=1e-9)
    assert found.wasserstein_in_deviations == pytest.approx(found.wasserstein / a.std(), rel=1e-9)
    size = len(a) * len(b) / (len(a) + len(b))
    law = stats.kstwobign.sf(math.sqrt(size) * gap.max())
    assert found.ks_p_value == pytest.approx(law, rel=0.5)
    assert found.psi == pytest.approx(calculate_psi(reference, current), abs=1e-12)
    assert (found.n_reference, found.n_current, found.bins) == (rows, now, 11)
    assert (found.missing_reference, found.missing_current) == (10 / rows, 20 / now)
    quantile = stats.chi2.ppf(0.95, 10) * (1 / rows + 1 / now)
    assert found.psi_no_drift_95 == pytest.approx(quantile, rel=1e-9)


def test_equal_samples_are_at_no_distance() -> None:
    sample = np.random.default_rng(1).normal(size=400)
    found = compare_samples(sample, sample[::-1].copy())
    assert (found.psi, found.ks_statistic, found.ks_p_value) == (0.0, 0.0, 1.0)
    assert found.wasserstein == pytest.approx(0.0, abs=1e-15)


def test_what_cannot_be_computed_is_nan() -> None:
    some, none = np.arange(9.0), np.full(4, np.nan)
    for reference, current in ((some, none), (none, some), (some, some[:0]), (none, none)):
        found = compare_samples(reference, current)
        assert math.isnan(found.ks_statistic)
        assert math.isnan(found.ks_p_value)
        assert math.isnan(found.wasserstein)
    assert compare_samples(some, none).missing_current == 1.0
    assert math.isnan(compare_samples(some, some[:0]).missing_current)
    constant = compare_samples(np.full(9, 2.0), some)
    assert math.isnan(constant.wasserstein_in_deviations)
    assert constant.wasserstein > 0
    infinite = compare_samples(some, np.array([np.inf, 1.0, -np.inf]))
    assert np.isfinite([infinite.psi, infinite.ks_statistic, infinite.wasserstein]).all()


@pytest.mark.parametrize("seed", range(5))
def test_features_that_are_standardised_by_session_are_told_from_those_that_are_not(
    calendar: TradingCalendar, seed: int
) -> None:
    random = np.random.default_rng(seed)
    days = calendar.sessions(date(2023, 1, 3), date(2023, 6, 30))[:80]
    raw = random.standard_t(4, (80, 30)) + random.normal(0, 0.5, (80, 1))
    noise = random.normal(size=(80, 30))
    rank = stats.rankdata(raw, axis=1) / 30
    score = (raw - raw.mean(axis=1, keepdims=True)) / raw.std(axis=1, keepdims=True)
    # Of a rank some names are lost, such as those whose label is not known.
    holes = random.random(raw.shape) < 0.05
    holed = np.where(holes, np.nan, rank)
    sessions = np.repeat(days, 30)
    found = [held_in_place(v.ravel(), sessions) for v in (rank, score, holed, raw, noise)]
    assert found == [True, True, True, False, False]


def test_too_little_says_nothing(calendar: TradingCalendar) -> None:
    days = calendar.sessions(date(2023, 1, 3), date(2023, 6, 30))
    rank = np.tile(np.arange(8.0), 9)
    assert not held_in_place(rank, np.repeat(days[:9], 8))
    assert held_in_place(np.append(rank, np.arange(8.0)), np.repeat(days[:10], 8))
    assert not held_in_place(np.tile(np.arange(4.0), 20), np.repeat(days[:20], 4))
    assert not held_in_place(np.full(160, 3.0), np.repeat(days[:20], 8))
    assert not held_in_place(np.full(160, np.nan), np.repeat(days[:20], 8))
