"""What is kept of a reference sample, and later samples counted in its bins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Columns turned into contiguous rows at a time: a block of 20,000 rows stays within the cache.
_BLOCK = 16


@dataclass(frozen=True, slots=True)
class ReferenceProfile:
    """Cuts and counts of a reference sample.

    Attributes
    ----------
    cuts
        Finite, increasing inner cuts, in the feature's unit. Bin i is open on the left and closed
        on the right: (cuts[i - 1], cuts[i]]; the two outer bins are unbounded. Empty when the
        reference had no finite value.
    counts
        Reference rows per bin, len(cuts) + 2 of them; the last is the missing bin.
    n
        Reference rows, missing ones included.

    """

    cuts: tuple[float, ...]
    counts: tuple[int, ...]
    n: int

    def __post_init__(self) -> None:
        """Refuse a profile that contradicts itself, such as one edited by hand in a store."""
        if not all(map(math.isfinite, self.cuts)) or any(a >= b for a, b in pairwise(self.cuts)):
            raise ValueError(f"cuts are {self.cuts}; finite and increasing numbers expected.")
        if len(self.counts) != len(self.cuts) + 2:
            raise ValueError(
                f"{len(self.counts)} counts for {len(self.cuts)} cuts; "
                f"{len(self.cuts) + 2} expected, the missing bin last."
            )
        if any(count < 0 for count in self.counts) or sum(self.counts) != self.n:
            raise ValueError(f"counts {self.counts} do not add up to the {self.n} rows stated.")

    def to_json_dict(self) -> dict[str, Any]:
        """Plain lists and numbers; JSON text made of them restores every cut to the last bit."""
        return {"cuts": list(self.cuts), "counts": list(self.counts), "n": self.n}

    @classmethod
    def from_json_dict(cls, document: Mapping[str, Any]) -> ReferenceProfile:
        """Restore what `to_json_dict` wrote.

        Raises
        ------
        ValueError
            The document contradicts itself.
        KeyError
            A field is absent.

        """
        return cls(
            cuts=tuple(float(cut) for cut in document["cuts"]),
            counts=tuple(int(count) for count in document["counts"]),
            n=int(document["n"]),
        )


def reference_profile(values: ArrayLike, *, bins: int = 10) -> ReferenceProfile:
    """Summarise a reference sample by its quantile bins.

    Parameters
    ----------
    values
        Shape (rows,); NaN is missing. Infinities do not influence the cuts and are counted in the
        outer bins.
    bins
        Quantile bins asked for, at least 2; 10 gives cuts at the deciles 10% to 90%. More bins see
        finer change and need more rows to tell it from noise. Equal cuts are merged, so a sample
        with few distinct values gets fewer bins.

    Returns
    -------
    ReferenceProfile
        Without cuts, and with every row in the missing bin, when no value is finite.

    Raises
    ------
    ValueError
        `values` is not one-dimensional or `bins` is below 2.

    Notes
    -----
    Quantiles interpolate linearly between order statistics: Hyndman and Fan (1996), The American
    Statistician 50(4), 361-365, definition 7. A cut may equal the smallest reference value (a
    constant reference, or one with many equal values at its lower end); what later falls below
    that value shares its bin and cannot be seen.

    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1:
        raise ValueError(f"values have shape {sample.shape}; one axis, of rows, expected.")
    if bins < 2:
        raise ValueError(f"bins is {bins}; at least 2 are needed to see anything move.")
    finite = sample[np.isfinite(sample)]
    if len(finite) == 0:
        return ReferenceProfile(cuts=(), counts=(0, len(sample)), n=len(sample))

    cuts = np.unique(np.quantile(finite, np.arange(1, bins) / bins))
    present = sample[~np.isnan(sample)]
    placed = np.bincount(np.searchsorted(cuts, present, side="left"), minlength=len(cuts) + 1)
    return ReferenceProfile(
        cuts=tuple(cuts.tolist()),
        counts=(*placed.tolist(), len(sample) - len(present)),
        n=len(sample),
    )


def bin_counts(profile: ReferenceProfile, values: ArrayLike) -> NDArray[np.int64]:
    """Count values in the bins of a stored reference.

    Parameters
    ----------
    profile
        Its cuts make the bins; values outside the reference's range fall in the outer bins.
    values
        Shape (rows,); NaN is missing, infinities belong to the outer bins. Counts of separate
        batches may be added, so a window of sessions is a sum of daily counts.

    Returns
    -------
    ndarray
        Shape (len(cuts) + 2,), int64; the last element is the missing bin. With a profile that has
        no cuts nothing can be placed and every row counts as missing.

    Raises
    ------
    ValueError
        `values` is not one-dimensional.

    """
    row = np.asarray(values, dtype=np.float64)
    if row.ndim != 1:
        raise ValueError(f"values have shape {row.shape}; one axis, of rows, expected.")
    counts: NDArray[np.int64] = bin_counts_table([profile.cuts], row[:, None])[0]
    return counts


def bin_counts_table(
    profiles_cuts: Sequence[Sequence[float] | NDArray[np.float64]], matrix: ArrayLike
) -> NDArray[np.int64]:
    """Count the values of many features in the bins of their own references.

    Parameters
    ----------
    profiles_cuts
        One increasing sequence of cuts per feature, lengths may differ.
    matrix
        Shape (rows, features), columns in the order of `profiles_cuts`: a wrong order compares
        features with each other's references and raises nothing.

    Returns
    -------
    ndarray
        Shape (features, most cuts + 2), int64. Bins a feature does not have stay zero; the missing
        bin is the last column for all. Compare with `reference_counts_table`, which is laid out
        the same way.

    Raises
    ------
    ValueError
        The number of columns differs from the number of cut sequences.

    """
    table = np.asarray(matrix, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != len(profiles_cuts):
        raise ValueError(
            f"matrix has shape {table.shape}; (rows, {len(profiles_cuts)}) expected, "
            "one column for each sequence of cuts."
        )
    rows = len(table)
    counts = np.zeros((len(profiles_cuts), _most_cuts(profiles_cuts) + 2), dtype=np.int64)
    for start in range(0, len(profiles_cuts), _BLOCK):
        block = np.ascontiguousarray(table[:, start : start + _BLOCK].T)
        for feature, column in enumerate(block, start):
            edges = profiles_cuts[feature]
            if len(edges) == 0:
                counts[feature, -1] = rows
                continue
            # A few whole-column comparisons are cheaper than one binary search per value.
            at_most = [np.count_nonzero(column <= edge) for edge in (*edges, np.inf)]
            counts[feature, : len(at_most)] = np.diff(at_most, prepend=0)
            counts[feature, -1] = rows - at_most[-1]
    return counts


def bin_counts_by_group(
    profile: ReferenceProfile, values: ArrayLike, group: ArrayLike, *, groups: int
) -> NDArray[np.int64]:
    """Count values in the bins of a stored reference, group by group.

    Parameters
    ----------
    profile
        As in `bin_counts`.
    values
        Shape (rows,), NaN for missing. Contiguous memory is read several times faster.
    group
        Shape (rows,), integers from 0 to `groups` - 1, such as the session of each row.
    groups
        Number of groups.

    Returns
    -------
    ndarray
        Shape (groups, len(cuts) + 2), int64: `bin_counts` of the rows of each group.

    """
    column = np.asarray(values, dtype=np.float64)
    place = np.zeros(len(column), dtype=np.int64)
    width = len(profile.counts)
    if not profile.cuts:
        place += width - 1
    else:
        # A bin is closed on the right, so a value lies beyond each cut that it is greater than.
        # A few whole-column comparisons are cheaper than one binary search per value.
        for cut in profile.cuts:
            place += column > cut
        place[np.isnan(column)] = width - 1
    place += np.asarray(group, dtype=np.int64) * width
    counts = np.bincount(place, minlength=groups * width)
    return counts.astype(np.int64).reshape(groups, width)


def reference_counts_table(profiles: Sequence[ReferenceProfile]) -> NDArray[np.int64]:
    """Lay out the counts of many profiles as `bin_counts_table` does, missing bin last."""
    width = _most_cuts([profile.cuts for profile in profiles]) + 2
    counts = np.zeros((len(profiles), width), dtype=np.int64)
    for row, profile in zip(counts, profiles, strict=True):
        row[: len(profile.counts) - 1] = profile.counts[:-1]
        row[-1] = profile.counts[-1]
    return counts


def _most_cuts(profiles_cuts: Sequence[Sequence[float] | NDArray[np.float64]]) -> int:
    return max((len(cuts) for cuts in profiles_cuts), default=0)
