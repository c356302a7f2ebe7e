"""Dating a change in the mean against the answer file, brute force and Andrews' tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_mlops.statistics import most_likely_change, supremum_f_tail


def test_answer_file(
    change_point_case: tuple[str, dict[str, Any]], arrays: Callable[[str], np.ndarray]
) -> None:
    name, expected = change_point_case
    series = arrays(name)
    found = most_likely_change(series)
    assert found is not None
    assert found.index == expected["numpy_max_meanshift_index"]
    assert found.statistic == pytest.approx(expected["numpy_supF"], abs=1e-9)
    assert found.observations == expected["n"]
    if expected["true_break_index"] is None:
        assert found.p_value > 0.2


@given(st.lists(st.integers(-20, 20), min_size=10, max_size=50), st.floats(0.01, 0.45))
def test_equals_trying_every_split(values: list[int], trim: float) -> None:
    series = np.array(values, dtype=float)
    n, edge = len(series), max(2, math.ceil(trim * len(series)))
    found = most_likely_change(series, trim=trim, min_segment=2)
    total = ((series - series.mean()) ** 2).sum()
    if total == 0.0 or n < 2 * edge:
        assert found is None
        return
    assert found is not None
    splits = range(edge, n - edge + 1)
    within = [
        sum(((side - side.mean()) ** 2).sum() for side in np.split(series, [k])) for k in splits
    ]
    least = min(within)
    assert within[found.index - edge] == pytest.approx(least, abs=1e-9 * total)
    if least > 1e-9 * total:
        assert found.statistic == pytest.approx(
            (n - 2) * (total - least) / least, rel=1e-6, abs=1e-9
        )
    assert 0.0 <= found.p_value <= 1.0


def test_a_clear_break_is_dated() -> None:
    noise = np.random.default_rng(1).normal(size=250)
    found = most_likely_change(noise + np.where(np.arange(250) < 170, 1.5, 0.0))
    assert found is not None
    assert abs(found.index - 170) <= 3
    assert found.p_value < 1e-6
    assert found.mean_before > 1.2 > 0.3 > found.mean_after


def test_an_exact_step_and_positions_with_gaps() -> None:
    series = np.repeat([1.0, 3.0], 10)
    gapped = np.insert(series, [0, 4, 10], np.nan)
    for values, index in ((series, 10), (gapped, 13)):
        found = most_likely_change(values)
        assert found is not None
        assert (found.index, found.statistic, found.p_value) == (index, math.inf, 0.0)
        assert (found.mean_before, found.mean_after, found.observations) == (1.0, 3.0, 20)


@pytest.mark.parametrize(
    "values",
    [[], [1.0, 2.0], [0.001] * 30, [math.nan] * 30, [*np.arange(20.0), math.inf], np.arange(9.0)],
    ids=["empty", "two", "constant", "missing", "infinite", "too-few-either-side"],
)
def test_no_change_can_be_dated(values: list[float]) -> None:
    assert most_likely_change(values) is None


def test_a_value_of_two_rows_on_either_side_is_the_least() -> None:
    found = most_likely_change([0.0, 1.0, 5.0, 7.0], min_segment=2)
    assert found is not None
    # Between 30.25 on one degree, within 2.5 on two.
    assert found.statistic == pytest.approx(30.25 / (2.5 / 2), rel=1e-12)


def test_overlapping_labels_do_not_look_like_a_change_once_the_lag_is_given() -> None:
    rng = np.random.default_rng(9)
    naive, robust = [], []
    for _ in range(200):
        series = np.convolve(rng.normal(size=319), np.full(20, 0.05), mode="valid")
        for p_values, lag in ((naive, 0), (robust, 19)):
            found = most_likely_change(series, lag=lag)
            assert found is not None
            p_values.append(found.p_value)
    assert np.mean(np.array(naive) < 0.05) > 0.8
    assert np.mean(np.array(robust) < 0.05) < 0.35


@pytest.mark.parametrize(("level", "critical"), [(0.10, 7.12), (0.05, 8.68), (0.01, 12.16)])
def test_tail_agrees_with_the_tables_at_fifteen_per_cent(level: float, critical: float) -> None:
    assert supremum_f_tail(critical, trim=0.15) == pytest.approx(level, rel=0.13)


@given(st.floats(0, 60), st.floats(0, 20), st.floats(0.01, 0.5))
def test_tail_is_a_decreasing_probability(statistic: float, step: float, trim: float) -> None:
    low = supremum_f_tail(statistic + step, trim=trim)
    assert 0.0 <= low <= supremum_f_tail(statistic, trim=trim) <= 1.0


def test_tail_at_its_ends() -> None:
    assert supremum_f_tail(0.0) == pytest.approx(1.0, abs=0.01)
    assert supremum_f_tail(math.inf) == 0.0
    assert math.isnan(supremum_f_tail(math.nan))


def test_false_alarms_come_at_the_stated_rate() -> None:
    rng = np.random.default_rng(12)
    found = [most_likely_change(rng.normal(size=300)) for _ in range(2000)]
    alarms = np.mean([change is not None and change.p_value < 0.05 for change in found])
    assert 0.02 < alarms < 0.06


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"trim is 0.5"):
        most_likely_change(np.arange(30.0), trim=0.5)
    with pytest.raises(ValueError, match="min_segment is 0"):
        most_likely_change(np.arange(30.0), min_segment=0)
    with pytest.raises(ValueError, match="lag is -1"):
        most_likely_change(np.arange(30.0), lag=-1)
    with pytest.raises(ValueError, match="one axis"):
        most_likely_change([[1.0, 2.0]])
