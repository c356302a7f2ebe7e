"""The information coefficient: how well predictions ordered the returns that followed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

DEFAULT_MIN_NAMES = 5


def information_coefficient(
    signals: ArrayLike, returns: ArrayLike, *, min_names: int = DEFAULT_MIN_NAMES
) -> float:
    """Spearman correlation of one session's predictions and realised returns.

    Parameters
    ----------
    signals, returns
        Shape (names,), paired by position: element i of both must be the same name. Any unit,
        since only the order counts. A pair with a NaN or an infinity on either side is left out.
    min_names
        Fewest usable pairs that give a value, at least 2. Set too low, a thin session reports a
        correlation of 1 or -1 that says nothing.

    Returns
    -------
    float
        Between -1 and 1; NaN with fewer than `min_names` usable pairs, or when all usable values
        of one side are equal.

    Raises
    ------
    ValueError
        The two sides do not have the same one-dimensional shape, or `min_names` is below 2.

    Notes
    -----
    Spearman (1904), American Journal of Psychology 15(1), 72-101: the product-moment correlation
    of the ranks, where tied values share the average of the ranks they occupy. Ranking ties by
    position instead would score an undecided model by the order of its input.

    """
    left, right = _paired(signals, returns, dimensions=1)
    return float(information_coefficients(left[None], right[None], min_names=min_names)[0])


def information_coefficients(
    signals: ArrayLike, returns: ArrayLike, *, min_names: int = DEFAULT_MIN_NAMES
) -> NDArray[np.float64]:
    """Information coefficient of every session at once.

    Parameters
    ----------
    signals, returns
        Shape (sessions, names); row s holds one session, NaN where a name has no value. Sessions
        do not influence each other, so an open label of the newest session costs only its own row.
    min_names
        As in `information_coefficient`.

    Returns
    -------
    ndarray
        Shape (sessions,), NaN for the sessions where the coefficient is undefined.

    Raises
    ------
    ValueError
        The two sides do not have the same two-dimensional shape, or `min_names` is below 2.

    """
    if min_names < 2:
        raise ValueError(f"min_names is {min_names}; a correlation needs at least 2 names.")
    left, right = _paired(signals, returns, dimensions=2)
    usable = np.isfinite(left) & np.isfinite(right)
    pairs = np.count_nonzero(usable, axis=1)
    left_ranks = _centred_ranks(left, usable, pairs)
    right_ranks = _centred_ranks(right, usable, pairs)

    covariance = np.einsum("ij,ij->i", left_ranks, right_ranks)
    # Ranks are multiples of one half, so these sums are exact and a constant side is exactly zero.
    scale = np.sqrt(
        np.einsum("ij,ij->i", left_ranks, left_ranks)
        * np.einsum("ij,ij->i", right_ranks, right_ranks)
    )
    coefficients: NDArray[np.float64] = np.full(len(left), np.nan)
    np.divide(covariance, scale, out=coefficients, where=(pairs >= min_names) & (scale > 0.0))
    np.clip(coefficients, -1.0, 1.0, out=coefficients)
    return coefficients


def effective_pairs(signals: ArrayLike, returns: ArrayLike) -> NDArray[np.int64]:
    """Count the pairs an information coefficient rests on.

    Parameters
    ----------
    signals, returns
        Shape (..., names), the same for both.

    Returns
    -------
    ndarray
        Shape (...), int64: how many names are finite on both sides; zero-dimensional for a single
        session.

    Raises
    ------
    ValueError
        The two sides differ in shape.

    """
    left, right = _paired(signals, returns, dimensions=None)
    counts = np.count_nonzero(np.isfinite(left) & np.isfinite(right), axis=-1)
    return np.asarray(counts, dtype=np.int64)


def _paired(
    signals: ArrayLike, returns: ArrayLike, *, dimensions: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    left = np.asarray(signals, dtype=np.float64)
    right = np.asarray(returns, dtype=np.float64)
    if left.shape != right.shape:
        raise ValueError(
            f"signals have shape {left.shape} and returns {right.shape}; "
            "they are paired by position and must agree."
        )
    if left.ndim == 0 or (dimensions is not None and left.ndim != dimensions):
        wanted = "at least 1 axis" if dimensions is None else f"{dimensions} axes"
        raise ValueError(f"signals and returns have shape {left.shape}; {wanted} expected.")
    return left, right


def _centred_ranks(
    values: NDArray[np.float64], usable: NDArray[np.bool_], pairs: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Average ranks of the usable values of each row less their mean; zero where not usable."""
    # An infinity sorts behind every usable value, so the ranks of these are not disturbed.
    filled = np.where(usable, values, np.inf)
    order = np.argsort(filled, axis=1)
    ordered = np.take_along_axis(filled, order, axis=1)

    width = values.shape[1]
    position = np.broadcast_to(np.arange(width), values.shape)
    starts = np.ones(values.shape, dtype=np.bool_)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    ends = np.ones(values.shape, dtype=np.bool_)
    ends[:, :-1] = starts[:, 1:]
    first = np.maximum.accumulate(np.where(starts, position, 0), axis=1)
    last = np.minimum.accumulate(np.where(ends, position, width)[:, ::-1], axis=1)[:, ::-1]

    ranks = np.empty_like(values)
    np.put_along_axis(ranks, order, (first + last) / 2.0, axis=1)
    return np.where(usable, ranks - (pairs[:, None] - 1) / 2.0, 0.0)
