"""Which one transformation turns recomputed feature values into the ones that were served."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from quant_mlops.errors import InvalidValueError

Values = npt.NDArray[np.float64]
Cells = npt.NDArray[np.bool_]
Kind = Literal["identical", "shift", "sign", "scale", "version", "late_prices", "none"]

EXPLAINED_SHARE = 0.9
SCALE_EVIDENCE = 3


@dataclass(frozen=True)
class Explanation:
    """How served values differ from recomputed ones.

    Attributes
    ----------
    kind : {"identical", "shift", "sign", "scale", "version", "late_prices", "none"}
        "identical" where cells were compared and none differs; "late_prices" where no
        transformation explains enough of them, and some were written before bars that count as
        known by then; "none" where nothing does, or where nothing could be compared.
    mismatching : int
        Cells that differ.
    explained : int
        How many of them the transformation, or late prices, explain; 0 for "identical" and "none".
    shift : int, optional
        Sessions: k where served[t] equals recomputed[t - k]. Positive means that the served value
        is that many sessions old, negative that it looks ahead.
    factor : float, optional
        For "scale": served over recomputed.
    version : int, optional
        For "version": the version of the feature that was served in fact.
    ticker, session : str, date, optional
        For "late_prices": the newest bar that was loaded after a value.
    """

    kind: Kind
    mismatching: int
    explained: int = 0
    shift: int | None = None
    factor: float | None = None
    version: int | None = None
    ticker: str | None = None
    session: date | None = None

    @property
    def share(self) -> float:
        """Share of the mismatching cells that is explained; NaN where no cell differs."""
        return self.explained / self.mismatching if self.mismatching else float("nan")

    def __str__(self) -> str:
        """Return the explanation as words, with its evidence."""
        if self.kind == "identical":
            return "served as recomputed"
        if self.kind == "none":
            return (
                f"no single transformation explains {self.mismatching} mismatching values"
                if self.mismatching
                else "no value could be compared"
            )
        if self.kind == "late_prices":
            return (
                f"{self.explained} of {self.mismatching} mismatching values were computed before "
                f"prices loaded later with an earlier known_at (such as {self.ticker} "
                f"{self.session})"
            )
        return f"{self._words()} ({self.explained} of {self.mismatching} mismatching values)"

    def _words(self) -> str:
        if self.kind == "shift" and self.shift is not None:
            plural = "" if abs(self.shift) == 1 else "s"
            age = "old" if self.shift > 0 else "ahead"
            return f"served values are {abs(self.shift)} session{plural} {age}"
        if self.kind == "scale":
            return f"served values are {self.factor:.6g} times the recomputed ones"
        if self.kind == "version":
            return f"served values are those of version {self.version}"
        return "served values have the opposite sign"


def differs(values: Values, reference: Values, *, tolerance: float) -> Cells:
    """Say where both are numbers and |values - reference| > tolerance * max(1, |reference|)."""
    with np.errstate(over="ignore"):  # an infinite distance differs as well
        return np.abs(values - reference) > tolerance * np.maximum(1.0, np.abs(reference))


def explain(
    served: Values,
    recomputed_window: Values,
    *,
    versions: Mapping[int, Values] = MappingProxyType({}),
    tolerance: float = 1e-9,
) -> Explanation:
    """Find the transformation of the recomputed values that explains most mismatching cells.

    Parameters
    ----------
    served : ndarray of float64, shape (S, N)
        Sessions by entities; NaN where nothing was served.
    recomputed_window : ndarray of float64, shape (S + 2 K, N)
        The same sessions with K more before and K more after them, consecutive; NaN where there
        is no value. Shifts of up to K sessions are tried. With other rows than these, a shift is
        given a wrong number of sessions.
    versions : mapping of int to ndarray, shape (S, N)
        What other versions of the feature give for the sessions of `served`.
    tolerance : float
        As in `differs`. A scale is compared in relative terms alone, as anything small would be a
        scale of anything small otherwise.

    Returns
    -------
    Explanation
        Compared is by the share of mismatching cells that are explained, and a share below 90% is
        no explanation. Of equal shares the simplest wins: another version, the sign, a shift (the
        shortest first, then the one to the past), a scale.

    Raises
    ------
    InvalidValueError
        The shapes do not fit.

    Notes
    -----
    A cell counts as explained only where the candidate differs from the recomputed value, so a
    feature that does not move between two sessions is no evidence of a shift. A scale needs three
    cells with three distinct values, since some factor fits any one of them.
    """
    depth = _depth(served, recomputed_window, versions)
    recomputed = recomputed_window[depth : depth + len(served)]
    mismatching = differs(served, recomputed, tolerance=tolerance)
    count = int(mismatching.sum())
    if count == 0:
        compared = (np.isfinite(served) & np.isfinite(recomputed)).any()
        return Explanation("identical" if compared else "none", 0)
    wrong, right = served[mismatching], recomputed[mismatching]
    found = []
    for candidate, values in _candidates(mismatching, recomputed_window, versions):
        matched = np.isfinite(values) & ~differs(wrong, values, tolerance=tolerance)
        matched &= differs(values, right, tolerance=tolerance)
        found.append(replace(candidate, mismatching=count, explained=int(matched.sum())))
    found.append(_scale(wrong, right, tolerance=tolerance))
    best = max(found, key=lambda explanation: explanation.explained)  # the first of equals
    return best if best.share >= EXPLAINED_SHARE else Explanation("none", count)


def _depth(served: Values, recomputed_window: Values, versions: Mapping[int, Values]) -> int:
    shapes = {version: values.shape for version, values in versions.items()}
    beyond = len(recomputed_window) - len(served)
    if (
        beyond < 0
        or beyond % 2
        or served.shape[1:] != recomputed_window.shape[1:]
        or any(shape != served.shape for shape in shapes.values())
    ):
        raise InvalidValueError(
            f"served values have shape {served.shape}, recomputed ones {recomputed_window.shape} "
            f"and other versions {shapes or 'none'}; give the recomputed values of as many "
            f"sessions before the served ones as after them, and versions of the served shape"
        )
    return beyond // 2


def _candidates(
    mismatching: Cells, recomputed_window: Values, versions: Mapping[int, Values]
) -> Iterator[tuple[Explanation, Values]]:
    """Yield every transformation but a scale, the simplest first, with what it gives there."""
    sessions = len(mismatching)
    depth = (len(recomputed_window) - sessions) // 2
    for version in sorted(versions):
        yield Explanation("version", 0, version=version), versions[version][mismatching]
    recomputed = recomputed_window[depth : depth + sessions]
    yield Explanation("sign", 0), -recomputed[mismatching]
    for length in range(1, depth + 1):
        for shift in (length, -length):
            start = depth - shift
            moved = recomputed_window[start : start + sessions]
            yield Explanation("shift", 0, shift=shift), moved[mismatching]


def _scale(wrong: Values, right: Values, *, tolerance: float) -> Explanation:
    """Return the scale by the median ratio, which stray cells do not move."""
    nothing = Explanation("none", len(right))
    usable = right != 0.0
    if not usable.any():
        return nothing
    with np.errstate(over="ignore"):
        factor = float(np.median(wrong[usable] / right[usable]))
    # Zeros in place of values are no scale of them: any feature would fit.
    if factor == 0.0 or not np.isfinite(factor):
        return nothing
    with np.errstate(over="ignore"):
        scaled = factor * right
        matched = usable & (np.abs(wrong - scaled) <= tolerance * np.abs(scaled))
    values = np.sort(right[matched])
    distinct = 1 + int(differs(values[1:], values[:-1], tolerance=tolerance).sum())
    if min(len(values), distinct) < SCALE_EVIDENCE:
        return nothing
    return Explanation("scale", len(right), explained=len(values), factor=factor)
