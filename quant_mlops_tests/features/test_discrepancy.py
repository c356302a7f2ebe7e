from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quant_mlops.errors import InvalidValueError
from quant_mlops.features.discrepancy import Explanation, Values, differs, explain

DEPTH = 5
SESSIONS, ENTITIES = 3, 10
SHIFTS = [k for k in range(-DEPTH, DEPTH + 1) if k]


@pytest.fixture
def window() -> Values:
    """Give recomputed values that all differ: three sessions and five more on either side."""
    return np.random.default_rng(11).normal(50.0, 20.0, (SESSIONS + 2 * DEPTH, ENTITIES))


def shifted(window: Values, sessions: int) -> Values:
    return window[DEPTH - sessions : DEPTH - sessions + SESSIONS].copy()


def test_equal_values_are_identical(window: Values) -> None:
    served = shifted(window, 0)
    assert explain(served, window) == Explanation("identical", 0)
    assert math.isnan(explain(served * (1 + 1e-12), window).share)
    assert str(explain(served, window)) == "served as recomputed"


@pytest.mark.parametrize("side", ["served", "recomputed"])
def test_where_nothing_can_be_compared_nothing_is_called_identical(
    window: Values, side: str
) -> None:
    served = np.full((SESSIONS, ENTITIES), np.nan) if side == "served" else shifted(window, 0)
    found = explain(served, window if side == "served" else np.full_like(window, np.nan))
    assert found == Explanation("none", 0)
    assert str(found) == "no value could be compared"


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_shift_is_named_with_its_sessions_and_direction(window: Values, shift: int) -> None:
    found = explain(shifted(window, shift), window)
    assert found == Explanation("shift", 30, explained=30, shift=shift)
    assert found.share == 1.0
    assert (" old (" in str(found)) == (shift > 0)
    assert (" ahead (" in str(found)) == (shift < 0)


def test_one_cell_is_enough_for_a_shift(window: Values) -> None:
    served = shifted(window, 0)
    served[1, 4] = window[DEPTH, 4]
    found = explain(served, window)
    assert found == Explanation("shift", 1, explained=1, shift=1)
    assert str(found) == "served values are 1 session old (1 of 1 mismatching values)"


def test_a_longer_shift_than_there_are_sessions_around_is_not_tried(window: Values) -> None:
    assert explain(shifted(window, 3), window[2:-2]).shift == 3
    assert explain(shifted(window, 3), window[3:-3]) == Explanation("none", 30)
    assert explain(shifted(window, 1), shifted(window, 0)) == Explanation("none", 30)


def test_a_flipped_sign_is_named(window: Values) -> None:
    found = explain(-shifted(window, 0), window)
    assert found == Explanation("sign", 30, explained=30)
    assert "opposite sign" in str(found)


@pytest.mark.parametrize("factor", [100.0, 0.01, -2.0, math.sqrt(252)])
def test_a_scale_is_named_with_its_factor(window: Values, factor: float) -> None:
    found = explain(shifted(window, 0) * factor, window)
    assert found == Explanation("scale", 30, explained=30, factor=found.factor)
    assert found.factor == pytest.approx(factor, rel=1e-12)
    assert f"{factor:.6g} times" in str(found)


def test_another_version_is_named(window: Values) -> None:
    other = np.sqrt(np.abs(shifted(window, 0)))
    found = explain(other, window, versions={3: shifted(window, 0), 2: other})
    assert found == Explanation("version", 30, explained=30, version=2)
    assert "those of version 2" in str(found)


def test_noise_has_no_explanation(window: Values) -> None:
    noise = np.random.default_rng(12).uniform(1e-6, 2e-6, (SESSIONS, ENTITIES))
    found = explain(shifted(window, 0) + noise, window, versions={2: shifted(window, 0) + 1})
    assert found == Explanation("none", 30)
    assert (found.explained, found.share) == (0, 0.0)
    assert str(found) == "no single transformation explains 30 mismatching values"


@pytest.mark.parametrize(("stray", "kind"), [(2, "shift"), (3, "shift"), (4, "none")])
def test_nine_of_ten_mismatching_cells_must_be_explained(
    window: Values, stray: int, kind: str
) -> None:
    served = shifted(window, 2)
    served.flat[:stray] += 1.0
    found = explain(served, window)
    assert found.kind == kind
    assert found.explained == (30 - stray if kind == "shift" else 0)


def test_only_mismatching_cells_are_the_measure(window: Values) -> None:
    served = shifted(window, 0)
    served[2] = window[DEPTH + 1]
    served[0, :3] = np.nan
    window[DEPTH, 3:6] = np.nan
    assert explain(served, window) == Explanation("shift", 10, explained=10, shift=1)


def test_a_shift_into_missing_values_explains_nothing(window: Values) -> None:
    served = shifted(window, -1)
    window[DEPTH + 1 :, :2] = np.nan
    served[1:] = window[DEPTH + 1 : DEPTH + SESSIONS]
    assert explain(served, window) == Explanation("none", 10)


def test_of_equal_shares_the_simplest_explanation_wins(window: Values) -> None:
    served = -shifted(window, 0)
    assert explain(served, window, versions={7: served, 2: served}).version == 2
    assert explain(served, window).kind == "sign"
    alternating = window[np.arange(len(window)) % 2]
    assert explain(shifted(alternating, 1), alternating).shift == 1
    window[DEPTH + 1 : DEPTH + 1 + SESSIONS] = window[DEPTH - 2 : DEPTH - 2 + SESSIONS]
    assert explain(shifted(window, -1), window).shift == -1
    doubling = 2.0 ** np.arange(len(window))[:, None] * np.arange(1.0, 11.0)
    assert explain(shifted(doubling, 1), doubling).kind == "shift"
    assert explain(shifted(doubling, 0) * 2.0**9, doubling).kind == "scale"


def test_the_larger_share_wins_over_the_simpler_explanation(window: Values) -> None:
    served = shifted(window, 4)
    almost = served.copy()
    almost[0, 0] += 1.0
    found = explain(served, window, versions={2: almost})
    assert found == Explanation("shift", 30, explained=30, shift=4)


def test_a_constant_feature_explains_nothing_by_a_shift() -> None:
    constant = np.full((SESSIONS + 2 * DEPTH, ENTITIES), 5.0)
    assert explain(shifted(constant, 0) + 1.0, constant) == Explanation("none", 30)
    # Within the tolerance of a neighbour, which is within the tolerance of the value itself.
    trembling = constant + 3e-9 * (np.arange(len(constant)) % 2)[:, None]
    assert explain(shifted(trembling, 0) + 6e-9, trembling) == Explanation("none", 30)


@pytest.mark.parametrize(
    ("recomputed", "kind"),
    [
        ([2.0], "none"),
        ([2.0, 3.0], "none"),
        ([2.0, 3.0, 3.0, 2.0, 2.0], "none"),
        ([2.0, 3.0, 3.0 + 1e-12, 2.0], "none"),
        ([2.0, 3.0, 4.0], "scale"),
        ([50.0] * 9 + [1.0], "none"),
    ],
)
def test_a_scale_needs_three_cells_with_three_distinct_values(
    recomputed: list[float], kind: str
) -> None:
    right = np.array([recomputed])
    assert explain(right * 10.0, right).kind == kind


def test_a_stray_cell_does_not_move_the_factor(window: Values) -> None:
    served = shifted(window, 0) * 100.0
    served[0, 0] = 1e300
    window[DEPTH, 1] = 0.0
    found = explain(served, window)
    assert (found.kind, found.explained) == ("scale", 28)
    assert found.factor == pytest.approx(100.0)


def test_zeros_served_are_no_scale(window: Values) -> None:
    assert explain(np.zeros((SESSIONS, ENTITIES)), window) == Explanation("none", 30)


def test_small_values_are_no_scale_of_each_other() -> None:
    right = np.linspace(1.0, 2.0, 30).reshape(SESSIONS, ENTITIES)
    served = np.random.default_rng(5).normal(0, 1e-11, right.shape)
    assert explain(served, right) == Explanation("none", 30)


def test_numbers_at_the_end_of_the_range_are_no_error() -> None:
    right = np.array([[1e308, 1e-310, 5e-324, 0.0]])
    assert explain(np.array([[-1e308, 1e300, 1e300, 1.0]]), right) == Explanation("none", 4)


def test_no_entities_at_all_are_nothing_compared() -> None:
    assert explain(np.empty((3, 0)), np.empty((13, 0))) == Explanation("none", 0)


@pytest.mark.parametrize(
    ("window_shape", "version_shape"),
    [((2, 4), (3, 4)), ((4, 4), (3, 4)), ((5, 3), (3, 4)), ((5, 4), (5, 4))],
)
def test_shapes_that_do_not_fit_are_refused(
    window_shape: tuple[int, int], version_shape: tuple[int, int]
) -> None:
    with pytest.raises(InvalidValueError, match="as many sessions before"):
        explain(np.zeros((3, 4)), np.zeros(window_shape), versions={2: np.zeros(version_shape)})


def test_the_tolerance_is_relative_above_one_and_absolute_below() -> None:
    reference = np.array([1e-6, 1.0, 1e6, np.nan])
    assert list(differs(reference + 1e-8, reference, tolerance=1e-9)) == [True, True, False, False]
    assert not differs(reference + 1e-8, reference, tolerance=1e-7).any()


def by_hand(served: Values, window: Values, versions: dict[int, Values]) -> Explanation:
    """Search cell by cell for the best of all transformations but a scale."""
    sessions, entities = served.shape
    depth = (len(window) - sessions) // 2
    cells = [
        (t, n)
        for t in range(sessions)
        for n in range(entities)
        if abs(served[t, n] - window[depth + t, n]) > 1e-9  # false for NaN
    ]
    if not cells:
        equal = (served == window[depth : depth + sessions]).any()
        return Explanation("identical" if equal else "none", 0)
    rules = [
        (Explanation("version", 0, version=v), lambda t, n, v=v: versions[v][t, n])
        for v in sorted(versions)
    ]
    rules += [(Explanation("sign", 0), lambda t, n: -window[depth + t, n])]
    rules += [
        (Explanation("shift", 0, shift=k), lambda t, n, k=k: window[depth + t - k, n])
        for size in range(1, depth + 1)
        for k in (size, -size)
    ]
    best = Explanation("none", len(cells))
    for name, rule in rules:
        count = sum(served[t, n] == rule(t, n) for t, n in cells)
        if count > best.explained:
            best = replace(name, mismatching=len(cells), explained=int(count))
    return best if best.explained >= 0.9 * len(cells) else Explanation("none", len(cells))


SMALL = st.sampled_from([-1.0, 0.0, 1.0, 2.0, math.nan])


@given(
    served=arrays(np.float64, (2, 2), elements=SMALL),
    window=arrays(np.float64, (6, 2), elements=SMALL),
    other=arrays(np.float64, (2, 2), elements=SMALL),
)
def test_a_search_by_hand_finds_the_same(served: Values, window: Values, other: Values) -> None:
    found = explain(served, window, versions={2: other})
    expected = by_hand(served, window, {2: other})
    if found.kind == "scale":
        assert expected.explained < found.explained
    else:
        assert found == expected
