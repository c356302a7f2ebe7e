"""What the names with the highest signals earned above those with the lowest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quant_mlops.training.portfolio import average_ranks

Floats = npt.NDArray[np.float64]

QUANTILES = 5
# A group of one name is that name's own noise.
NAMES_A_GROUP = 2


def quantile_spreads(
    signals: Floats, labels: Floats, *, min_names: int, quantiles: int = QUANTILES
) -> Floats:
    """Return the mean label of the top less that of the bottom quantile, by session.

    Parameters
    ----------
    signals, labels : ndarray of float64, shape (S, N)
        NaN where a name has none; only names with both count.
    min_names : int
        Fewest names with both for a value.
    quantiles : int
        Groups of a session, at least 2. With fewer than two names each the session is cut into
        fewer groups, at the least into halves: 8 names into quartiles, 6 into terciles, 5 into
        halves with the one in the middle in neither.

    Returns
    -------
    ndarray of float64, shape (S,)
        In the unit of the labels: not annualised, before cost. NaN with fewer than `min_names`
        names, and where all signals are equal.

    Notes
    -----
    Of n names in q groups, one of average rank r (from 1) is in the bottom group if its place
    (r - 1/2) / n is below 1 / q, and in the top one if it is above 1 - 1 / q. Names with equal
    signals have one rank and hence stand or fall together; where the tie at an end is wider than
    the group, the group is that tie, as nothing tells its names apart.
    """
    usable = np.isfinite(signals) & np.isfinite(labels)
    count = usable.sum(axis=1, keepdims=True)
    groups = np.clip(count // NAMES_A_GROUP, 2, quantiles)
    upwards = average_ranks(np.where(usable, signals, np.inf))
    bottom = _ends(upwards, usable, count, groups)
    top = _ends(count + 1 - upwards, usable, count, groups)
    earned = np.where(usable, labels, 0.0)
    spread = _mean(earned, top) - _mean(earned, bottom)
    # One tie across the whole session makes both groups of the same names.
    defined = (count[:, 0] >= max(min_names, 2)) & ~(top & bottom).any(axis=1)
    return np.where(defined, spread, np.nan)


def _ends(
    ranks: Floats,
    usable: npt.NDArray[np.bool_],
    count: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Tell which names are in the group at rank 1, in whole numbers so that no edge is missed."""
    lowest = np.where(usable, ranks, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    within = (2.0 * ranks - 1.0) * groups < 2.0 * count
    return np.asarray(usable & (within | (ranks == lowest)))


def _mean(values: Floats, chosen: npt.NDArray[np.bool_]) -> Floats:
    size = chosen.sum(axis=1)
    total = np.where(chosen, values, 0.0).sum(axis=1)
    return np.asarray(total / np.maximum(size, 1))
