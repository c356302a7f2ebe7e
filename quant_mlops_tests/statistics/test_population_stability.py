"""The population stability index against the answer file, its law and its invariances."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from quant_mlops.statistics import (
    ReferenceProfile,
    bin_counts,
    bin_counts_by_group,
    bin_counts_table,
    calculate_psi,
    categorical_psi,
    count_used_bins,
    population_stability_index,
    psi_no_drift_quantile,
    reference_counts_table,
    reference_profile,
)

VALUES = st.one_of(
    st.floats(-1e6, 1e6),
    st.integers(-3, 3).map(float),
    st.sampled_from([math.nan, math.inf, -math.inf]),
)
SAMPLES = st.lists(VALUES, min_size=1, max_size=60).map(np.array)
REFERENCES = SAMPLES.filter(lambda sample: bool(np.isfinite(sample).any()))


def bin_counts_one_by_one(cuts: tuple[float, ...], values: np.ndarray) -> list[int]:
    counts = [0] * (len(cuts) + 2)
    for value in values:
        if math.isnan(value) or not cuts:
            counts[-1] += 1
        else:
            counts[sum(cut < value for cut in cuts)] += 1
    return counts


def test_answer_file(
    psi_case: tuple[str, dict[str, Any]], arrays: Callable[[str], np.ndarray]
) -> None:
    name, expected = psi_case
    reference, current = arrays(f"psi_{name}_ref"), arrays(f"psi_{name}_cur")
    assert (len(reference), len(current)) == (expected["n_ref"], expected["n_cur"])
    if "def_categorical_eps1e-4" in expected:
        found = categorical_psi(reference, current)
        assert found == pytest.approx(expected["def_categorical_eps1e-4"], abs=1e-9)
        return
    found = calculate_psi(reference, current)
    assert found == pytest.approx(expected["def_q10_open_missbin_eps1e-4"], abs=1e-9)
    profile = reference_profile(reference)
    used = count_used_bins(profile.counts, bin_counts(profile, current))
    assert used == expected["def_bins_used"]
    limit = psi_no_drift_quantile(used, len(reference), len(current), probability=0.999)
    assert limit == pytest.approx(expected["chi2_threshold_p0.001"], abs=1e-9)


def test_one_bad_tick_does_not_hide_a_shift_in_the_answer_file(
    arrays: Callable[[str], np.ndarray],
) -> None:
    for name in ("mean_shift_0.5sd", "mean_shift_0.5sd_one_fat_finger"):
        found = calculate_psi(arrays(f"psi_{name}_ref"), arrays(f"psi_{name}_cur"))
        assert found == pytest.approx(0.253, abs=1e-3)


def test_by_hand() -> None:
    # Thirds put the cuts at 5/3 and 2; 4/4/4 against 2/4/6 of 12.
    reference = np.repeat([1.0, 2.0, 3.0], 4)
    current = np.repeat([0.0, 1.8, 9.0], [2, 4, 6])
    profile = reference_profile(reference, bins=3)
    assert profile.counts == (4, 4, 4, 0)
    assert bin_counts(profile, current).tolist() == [2, 4, 6, 0]
    expected = (2 / 12 - 4 / 12) * math.log(2 / 4) + (6 / 12 - 4 / 12) * math.log(6 / 4)
    assert calculate_psi(reference, current, 3) == pytest.approx(expected, abs=1e-15)


def test_an_empty_bin_is_floored_and_nothing_is_renormalised() -> None:
    found = population_stability_index([50, 50, 0], [100, 0, 0])
    expected = 0.5 * math.log(2) + (1e-4 - 0.5) * math.log(1e-4 / 0.5)
    assert found == pytest.approx(expected, abs=1e-15)


def test_bins_empty_on_both_sides_change_nothing() -> None:
    plain = population_stability_index([30, 70, 0], [60, 40, 0])
    assert population_stability_index([30, 0, 70, 0], [60, 0, 40, 0]) == plain
    assert count_used_bins([30, 0, 70, 0], [60, 0, 40, 0]) == 2


@given(REFERENCES, st.integers(2, 20))
def test_identical_samples_score_zero(sample: np.ndarray, bins: int) -> None:
    assert calculate_psi(sample, sample, bins) == 0.0


@given(REFERENCES, SAMPLES)
def test_is_defined_and_never_negative(reference: np.ndarray, current: np.ndarray) -> None:
    assert calculate_psi(reference, current) >= 0.0


@given(REFERENCES, SAMPLES, st.randoms(use_true_random=False))
def test_is_unmoved_by_order(reference: np.ndarray, current: np.ndarray, random: Any) -> None:
    shuffled = [np.array(random.sample(list(side), len(side))) for side in (reference, current)]
    assert calculate_psi(*shuffled) == calculate_psi(reference, current)


@given(st.lists(st.integers(-100, 100), min_size=20, max_size=60, unique=True))
def test_sees_values_outside_the_reference_range(levels: list[int]) -> None:
    sample = np.array(levels, dtype=float)
    for outside in (sample + 1000.0, sample - 1000.0, np.full(20, np.inf), np.full(20, -np.inf)):
        assert calculate_psi(sample, outside) > 2.0


@given(
    st.lists(st.floats(-5, 5), min_size=20, max_size=60), st.integers(5, 20), st.integers(0, 100)
)
def test_sees_missing_values(levels: list[float], missing: int, seed: int) -> None:
    sample = np.array(levels)
    holes = np.random.default_rng(seed).choice(len(sample), size=missing, replace=False)
    holed = sample.copy()
    holed[holes] = np.nan
    share = missing / len(sample)
    # The missing bin alone contributes this much.
    least = (share - 1e-4) * math.log(share / 1e-4)
    assert calculate_psi(sample, holed) >= least - 1e-12
    assume(missing < len(sample))
    assert calculate_psi(holed, sample) >= least - 1e-12


@given(st.sampled_from([1e5, -1e5, np.inf, -np.inf, 1e300]), st.integers(0, 799))
def test_one_bad_tick_does_not_hide_a_shift(tick: float, position: int) -> None:
    rng = np.random.default_rng(11)
    reference, current = rng.normal(size=2000), rng.normal(0.5, size=800)
    spoilt = current.copy()
    spoilt[position] = tick
    assert calculate_psi(reference, spoilt) == pytest.approx(
        calculate_psi(reference, current), abs=0.01
    )


def test_a_constant_reference_that_rose_is_seen() -> None:
    assert calculate_psi(np.full(50, 3.0), np.full(20, 3.1)) > 15.0
    # By definition the lowest bin is closed at the constant, so a fall shares its bin.
    assert calculate_psi(np.full(50, 3.0), np.full(20, 2.9)) == 0.0


@pytest.mark.parametrize(
    ("reference", "current"),
    [([], [1.0]), ([1.0, 2.0], []), ([math.nan] * 3, [1.0]), ([math.inf] * 3, [math.inf])],
)
def test_undefined_is_nan(reference: list[float], current: list[float]) -> None:
    assert math.isnan(calculate_psi(reference, current))


def test_a_current_side_all_missing_is_drift_not_undefined() -> None:
    assert calculate_psi(np.arange(50.0), np.full(10, np.nan)) > 5.0


@given(SAMPLES, st.integers(2, 20))
def test_profile_survives_json_to_the_last_bit(sample: np.ndarray, bins: int) -> None:
    profile = reference_profile(sample, bins=bins)
    text = json.dumps(profile.to_json_dict(), allow_nan=False)
    assert ReferenceProfile.from_json_dict(json.loads(text)) == profile


@given(SAMPLES, SAMPLES)
def test_counts_equal_those_made_one_by_one(reference: np.ndarray, current: np.ndarray) -> None:
    profile = reference_profile(reference)
    assert bin_counts(profile, current).tolist() == bin_counts_one_by_one(profile.cuts, current)
    assert bin_counts(profile, reference).tolist() == list(profile.counts)
    assert profile.n == len(reference)


@given(
    st.tuples(st.integers(0, 20), st.integers(0, 40)).flatmap(
        lambda shape: hnp.arrays(np.float64, shape, elements=VALUES)
    ),
    st.integers(1, 30),
)
def test_table_equals_one_feature_at_a_time(matrix: np.ndarray, rows: int) -> None:
    rng = np.random.default_rng(rows)
    profiles = [
        reference_profile(np.where(rng.random(rows) < 0.2, np.nan, rng.integers(-3, 3, rows)))
        for _ in range(matrix.shape[1])
    ]
    table = bin_counts_table([profile.cuts for profile in profiles], matrix)
    indices = population_stability_index(reference_counts_table(profiles), table)
    assert indices.shape == (matrix.shape[1],)
    for profile, column, counts, index in zip(profiles, matrix.T, table, indices, strict=True):
        alone = bin_counts(profile, column)
        assert counts[: len(alone) - 1].tolist() == alone[:-1].tolist()
        assert not counts[len(alone) - 1 : -1].any()
        assert counts[-1] == alone[-1]
        expected = population_stability_index(profile.counts, alone)
        assert index == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(SAMPLES, SAMPLES, st.integers(1, 7), st.integers(0, 1_000))
def test_counts_by_group_are_those_of_each_group(
    reference: np.ndarray, current: np.ndarray, groups: int, seed: int
) -> None:
    profile = reference_profile(reference)
    group = np.random.default_rng(seed).integers(0, groups, len(current))
    found = bin_counts_by_group(profile, current, group, groups=groups)
    for nth in range(groups):
        alone = bin_counts_one_by_one(profile.cuts, current[group == nth])
        assert found[nth].tolist() == alone


def test_windowed_counts_give_one_value_per_session() -> None:
    rng = np.random.default_rng(4)
    reference, sessions = rng.normal(size=500), rng.normal(size=(30, 40))
    profile = reference_profile(reference)
    daily = np.array([bin_counts(profile, session) for session in sessions])
    windows = np.lib.stride_tricks.sliding_window_view(daily, 5, axis=0).sum(axis=-1)
    windows = np.concatenate([windows, np.zeros((1, windows.shape[1]), dtype=np.int64)])
    found = population_stability_index(profile.counts, windows)
    assert found.shape == (27,)
    for start in range(26):
        pooled = sessions[start : start + 5].ravel()
        assert found[start] == pytest.approx(calculate_psi(reference, pooled), abs=1e-12)
    assert math.isnan(found[-1])
    assert count_used_bins(profile.counts, windows).shape == (27,)


def test_categories_by_hand() -> None:
    expected = (0.25 - 0.5) * math.log(0.25 / 0.5) + (0.75 - 0.5) * math.log(0.75 / 0.5)
    found = categorical_psi(["a", "a", "b", "b"], np.array(["a", "b", "b", "b"]))
    assert found == pytest.approx(expected, abs=1e-15)
    assert categorical_psi(["b", "a", None], [math.nan, "a", "b"]) == 0.0
    assert categorical_psi(["a"] * 9, ["b"] * 9) > 18.0
    assert math.isnan(categorical_psi([None], ["a"]))
    assert math.isnan(categorical_psi(["a"], []))
    assert math.isnan(categorical_psi([], []))


@given(st.lists(st.sampled_from(["x", "y", "z", None]), min_size=1, max_size=30))
def test_categories_identical_samples_score_zero(levels: list[str | None]) -> None:
    assume(any(level is not None for level in levels))
    assert categorical_psi(levels, levels[::-1]) == 0.0


def test_no_drift_quantile_is_the_scaled_chi_square_and_holds_in_simulation() -> None:
    limit = psi_no_drift_quantile(10, 1000, 500)
    assert limit == pytest.approx(stats.chi2.ppf(0.95, 9) * (1 / 1000 + 1 / 500), rel=1e-12)
    rng = np.random.default_rng(6)
    found = [calculate_psi(rng.normal(size=1000), rng.normal(size=500)) for _ in range(1000)]
    assert np.mean(np.array(found) > limit) == pytest.approx(0.05, abs=0.025)
    assert np.mean(found) == pytest.approx(9 * (1 / 1000 + 1 / 500), rel=0.1)


def test_no_drift_quantile_at_its_edges() -> None:
    assert psi_no_drift_quantile(1, 10, 10) == 0.0
    assert math.isnan(psi_no_drift_quantile(0, 10, 10))
    assert math.isnan(psi_no_drift_quantile(5, 10, 0))
    with pytest.raises(ValueError, match="probability is 95"):
        psi_no_drift_quantile(5, 10, 10, probability=95)


def test_contradictory_input_is_refused() -> None:
    with pytest.raises(ValueError, match="finite and increasing"):
        ReferenceProfile(cuts=(1.0, 1.0), counts=(1, 1, 1, 1), n=4)
    with pytest.raises(ValueError, match="2 counts for 1 cuts"):
        ReferenceProfile(cuts=(1.0,), counts=(1, 1), n=2)
    with pytest.raises(ValueError, match="do not add up to the 9 rows"):
        ReferenceProfile(cuts=(1.0,), counts=(1, 1, 1), n=9)
    with pytest.raises(ValueError, match="bins is 1"):
        reference_profile([1.0], bins=1)
    with pytest.raises(ValueError, match="one axis"):
        reference_profile([[1.0]])
    with pytest.raises(ValueError, match="one axis"):
        bin_counts(reference_profile([1.0]), [[1.0]])
    with pytest.raises(ValueError, match=r"\(rows, 2\) expected"):
        bin_counts_table([(1.0,), (2.0,)], np.zeros((3, 3)))
    with pytest.raises(ValueError, match="must agree"):
        population_stability_index([1, 1, 0], [1, 0])
    with pytest.raises(ValueError, match="a bin and the missing bin"):
        population_stability_index([1], [1])
