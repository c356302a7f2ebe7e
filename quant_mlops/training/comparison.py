"""Champion against challenger: a paired comparison over the same sessions."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from quant_mlops.statistics import newey_west_standard_error

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PromotionGate:
    """When a challenger replaces the champion.

    Attributes
    ----------
    min_sessions : int
        Fewest sessions on which both have an IC.
    min_probability : float
        Least probability that the challenger's mean IC is the higher one, by a normal law with
        the paired Newey-West error. 0.5 promotes whatever looks better, noise included.
    """

    min_sessions: int = 60
    min_probability: float = 0.8


@dataclass(frozen=True)
class Comparison:
    """Evidence for one verdict; differences are challenger minus champion."""

    sessions: int
    champion_ic: float
    challenger_ic: float
    ic_difference: float
    ic_difference_se: float
    probability_better: float
    promoted: bool
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with None for what could not be computed."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }


def compare_models(
    champion: Floats, challenger: Floats, *, lag: int, gate: PromotionGate
) -> Comparison:
    """Compare two series of daily IC over the same sessions.

    Parameters
    ----------
    champion, challenger : ndarray of float64, shape (S,)
        IC by session; a session where either is NaN does not count.
    lag : int
        Label horizon minus one.
    gate : PromotionGate

    Returns
    -------
    Comparison
        Not promoted when the difference or its error cannot be computed, nor when there is no
        difference at all.
    """
    both = np.isfinite(champion) & np.isfinite(challenger)
    difference = (challenger - champion)[both]
    count = int(both.sum())
    mean = float(difference.mean()) if count else math.nan
    error = newey_west_standard_error(difference, lag=lag)
    same = bool(count and np.all(difference == 0.0))
    if same:
        probability = 0.5
    elif math.isfinite(error) and error > 0:
        probability = float(ndtr(mean / error))
    else:
        probability = math.nan
    enough = count >= gate.min_sessions
    promoted = bool(enough and not same and probability >= gate.min_probability)
    if not enough:
        reason = f"only {count} sessions to compare, {gate.min_sessions} are asked for"
    elif same:
        reason = f"the two models order the names alike on each of {count} sessions"
    else:
        relation = "at least" if promoted else "below"
        reason = (
            f"the challenger's mean IC differs by {mean:+.4f} (s.e. {error:.4f}) over {count} "
            f"sessions; probability of being better {probability:.2f}, {relation} the "
            f"{gate.min_probability:.2f} asked for"
        )
    return Comparison(
        sessions=count,
        champion_ic=float(champion[both].mean()) if count else math.nan,
        challenger_ic=float(challenger[both].mean()) if count else math.nan,
        ic_difference=mean,
        ic_difference_se=error,
        probability_better=probability,
        promoted=promoted,
        reason=reason,
    )
