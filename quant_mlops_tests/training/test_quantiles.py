"""Top less bottom quantile against a loop over sessions and names."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata

from quant_mlops.training.quantiles import quantile_spreads

NAN = np.nan


def loop(signals: np.ndarray, labels: np.ndarray, min_names: int, quantiles: int) -> float:
    known = [
        (s, r) for s, r in zip(signals, labels, strict=True) if np.isfinite(s) and np.isfinite(r)
    ]
    n = len(known)
    if n < max(min_names, 2) or len({s for s, _ in known}) == 1:
        return math.nan
    groups = min(quantiles, max(2, n // 2))
    ranks = rankdata([s for s, _ in known])
    bottom, top = [], []
    for rank, (_, label) in zip(ranks.tolist(), known, strict=True):
        if 2 * n - (2 * rank - 1) * groups > 0 or rank == min(ranks):
            bottom.append(label)
        if 2 * n - (2 * (n + 1 - rank) - 1) * groups > 0 or rank == max(ranks):
            top.append(label)
    return sum(top) / len(top) - sum(bottom) / len(bottom)


SHAPES = st.shared(st.tuples(st.integers(1, 5), st.integers(0, 17)), key="shape")


@given(
    signals=arrays(np.float64, SHAPES, elements=st.sampled_from([0.0, 1.0, 2.0, 3.0, 9.0, NAN])),
    labels=arrays(np.float64, SHAPES, elements=st.sampled_from([-0.5, 0.25, 1.0, 3.0, NAN])),
    min_names=st.integers(2, 6),
    quantiles=st.integers(2, 6),
)
def test_spreads_are_those_of_a_loop(
    signals: np.ndarray, labels: np.ndarray, min_names: int, quantiles: int
) -> None:
    found = quantile_spreads(signals, labels, min_names=min_names, quantiles=quantiles)
    expected = [
        loop(row, label, min_names, quantiles) for row, label in zip(signals, labels, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("names", "each"), [(20, 4), (10, 2), (9, 2), (8, 2), (7, 2), (6, 2), (5, 2), (4, 2), (2, 1)]
)
def test_a_group_has_a_fifth_of_the_names_or_two(names: int, each: int) -> None:
    label = np.arange(names, dtype=float) ** 2
    expected = label[-each:].mean() - label[:each].mean()
    shuffled = np.random.default_rng(names).permutation(names)
    found = quantile_spreads(shuffled[None, :].astype(float), label[shuffled][None, :], min_names=2)
    assert found == pytest.approx([expected])


def test_names_that_tie_stand_or_fall_together() -> None:
    label = np.arange(10.0)[None, :]
    tied = np.array([[1, 1, 1, 1, 2, 3, 4, 5, 6, 7]], dtype=float)
    # Nothing tells the four at the bottom apart: all of them are the bottom.
    assert quantile_spreads(tied, label, min_names=5) == pytest.approx([8.5 - 1.5])
    assert np.isnan(quantile_spreads(np.ones((1, 10)), label, min_names=5)).all()


def test_the_market_and_the_order_of_the_names_do_not_matter() -> None:
    random = np.random.default_rng(0)
    signals, labels = random.normal(size=(2, 30, 12))
    found = quantile_spreads(signals, labels, min_names=5)
    order = random.permutation(12)
    moved = labels + random.normal(size=(30, 1))
    np.testing.assert_allclose(
        quantile_spreads(signals[:, order], moved[:, order], min_names=5), found, atol=1e-14
    )
    np.testing.assert_allclose(quantile_spreads(-signals, labels, min_names=5), -found, atol=1e-14)
