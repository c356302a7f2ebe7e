"""Champion against challenger: a paired comparison over the same sessions."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from quant_mlops.statistics import automatic_lag, newey_west_standard_error

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
    min_return_probability : float
        The same of the mean daily return after cost; 0 does not ask. A challenger that orders
        names better and trades more than that is worth fails here.
    """

    min_sessions: int = 60
    min_probability: float = 0.8
    min_return_probability: float = 0.0


@dataclass(frozen=True)
class PairedDifference:
    """Challenger minus champion on the sessions on which both have a value.

    Attributes
    ----------
    sessions : int
    champion, challenger, difference : float
        Means.
    difference_se : float
        Newey-West error of the mean difference.
    probability_better : float
        That the true mean difference is above 0, by a normal law; 0.5 where the two are the same
        on every session, NaN where there is no error.
    """

    sessions: int
    champion: float
    challenger: float
    difference: float
    difference_se: float
    probability_better: float

    @property
    def same(self) -> bool:
        """Whether there are sessions, and no difference on any of them."""
        # A mean of exactly 0 may also come of differences that cancel, which have an error.
        return self.probability_better == 0.5 and math.isnan(self.difference_se)


@dataclass(frozen=True)
class Comparison:
    """Evidence for one verdict; differences are challenger minus champion.

    Attributes
    ----------
    sessions, champion_ic, challenger_ic, ic_difference, ic_difference_se, probability_better
        Of the daily IC; see `PairedDifference`.
    returns : PairedDifference or None
        Of the daily return of the long-short portfolio after cost.
    first_session, last_session : date or None
        What was compared.
    champion_trained_until : date or None
        Last close that the champion's fit knew; None if that was not recorded.
    sessions_champion_saw : int or None
        Sessions compared that are not after it. On these the champion is judged on what it has
        learnt: a bias in its favour.
    """

    sessions: int
    champion_ic: float
    challenger_ic: float
    ic_difference: float
    ic_difference_se: float
    probability_better: float
    promoted: bool
    reason: str
    returns: PairedDifference | None = None
    first_session: date | None = None
    last_session: date | None = None
    champion_trained_until: date | None = None
    sessions_champion_saw: int | None = None

    def over(
        self, sessions: npt.NDArray[np.datetime64], *, champion_trained_until: date | None
    ) -> Comparison:
        """Return the comparison with what it was made on, and how much of it the champion knew.

        Parameters
        ----------
        sessions : ndarray of datetime64[D], shape (S,)
            Ascending.
        champion_trained_until : date or None
        """
        if len(sessions) == 0:
            return self
        saw = None
        if champion_trained_until is not None:
            saw = int((sessions <= np.datetime64(champion_trained_until, "D")).sum())
        return replace(
            self,
            first_session=sessions[0].item(),
            last_session=sessions[-1].item(),
            champion_trained_until=champion_trained_until,
            sessions_champion_saw=saw,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with None for what could not be computed."""
        document: dict[str, Any] = _plain(asdict(self))
        return document


def paired_difference(champion: Floats, challenger: Floats, *, lag: int) -> PairedDifference:
    """Compare the means of two series over the sessions on which both are finite.

    Parameters
    ----------
    champion, challenger : ndarray of float64, shape (S,)
        By session, oldest first.
    lag : int
        Of the Newey-West error; too small a one makes noise look like a difference.
    """
    both = np.isfinite(champion) & np.isfinite(challenger)
    difference = (challenger - champion)[both]
    count = int(both.sum())
    mean = float(difference.mean()) if count else math.nan
    error = newey_west_standard_error(difference, lag=lag)
    if count and np.all(difference == 0.0):
        probability = 0.5
    elif math.isfinite(error) and error > 0:
        # SciPy takes a sixth of a second to import, and few commands compare.
        from scipy.special import ndtr

        probability = float(ndtr(mean / error))
    else:
        probability = math.nan
    return PairedDifference(
        sessions=count,
        champion=float(champion[both].mean()) if count else math.nan,
        challenger=float(challenger[both].mean()) if count else math.nan,
        difference=mean,
        difference_se=error,
        probability_better=probability,
    )


def compare_models(
    champion: Floats,
    challenger: Floats,
    *,
    lag: int,
    gate: PromotionGate,
    champion_returns: Floats | None = None,
    challenger_returns: Floats | None = None,
) -> Comparison:
    """Compare two models by their daily IC, and by what they earned if that is given.

    Parameters
    ----------
    champion, challenger : ndarray of float64, shape (S,)
        IC by session; a session where either is NaN does not count.
    lag : int
        Label horizon minus one, for the IC. Returns of one session do not overlap; their lag is
        `automatic_lag` of their number.
    gate : PromotionGate
    champion_returns, challenger_returns : ndarray of float64, shape (S,), optional
        Daily long-short return after cost of the same sessions.

    Returns
    -------
    Comparison
        Not promoted when the difference or its error cannot be computed, nor when there is no
        difference at all; if the gate asks for it, the same holds of the returns.
    """
    found = paired_difference(champion, challenger, lag=lag)
    returns = None
    if champion_returns is not None and challenger_returns is not None:
        pairs = int((np.isfinite(champion_returns) & np.isfinite(challenger_returns)).sum())
        returns = paired_difference(champion_returns, challenger_returns, lag=automatic_lag(pairs))
    promoted, reason = _verdict(found, returns, gate)
    return Comparison(
        sessions=found.sessions,
        champion_ic=found.champion,
        challenger_ic=found.challenger,
        ic_difference=found.difference,
        ic_difference_se=found.difference_se,
        probability_better=found.probability_better,
        promoted=promoted,
        reason=reason,
        returns=returns,
    )


def _verdict(
    ic: PairedDifference, returns: PairedDifference | None, gate: PromotionGate
) -> tuple[bool, str]:
    if ic.sessions < gate.min_sessions:
        return False, f"only {ic.sessions} sessions to compare, {gate.min_sessions} are asked for"
    if ic.same:
        return False, f"the two models order the names alike on each of {ic.sessions} sessions"
    promoted = ic.probability_better >= gate.min_probability
    relation = "at least" if promoted else "below"
    reason = (
        f"the challenger's mean IC differs by {ic.difference:+.4f} (s.e. {ic.difference_se:.4f}) "
        f"over {ic.sessions} sessions; probability of being better {ic.probability_better:.2f}, "
        f"{relation} the {gate.min_probability:.2f} asked for"
    )
    if gate.min_return_probability == 0.0:
        return promoted, reason
    earned = math.nan if returns is None else returns.probability_better
    earns = earned >= gate.min_return_probability
    relation = "at least" if earns else "below"
    reason += (
        f"; of earning more after cost {earned:.2f}, {relation} the "
        f"{gate.min_return_probability:.2f} asked for"
    )
    return promoted and earns, reason


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, date):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value
