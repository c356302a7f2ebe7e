"""The last check before training: no feature may know what only its decisions' future tells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant_mlops.errors import LookAheadError
from quant_mlops.statistics import information_coefficients, newey_west_standard_error
from quant_mlops.training.matrices import TrainingRows

# A feature equal to the return over h sessions that it is to predict, or to one that began up to
# h sessions earlier, has an IC of at least 1 / sqrt(h) with one of the two outcomes below. What
# honest features of prices reach is a few hundredths.
DEFAULT_LIMIT = 0.15
STANDARD_ERRORS = 5.0
FEWEST_SESSIONS = 20
MOST_SESSIONS = 250

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FeatureForesight:
    """How well one feature alone orders what followed its decisions.

    Attributes
    ----------
    outcome : str
        Of the outcomes below, the one that it orders best.
    ic_mean, ic_mean_se : float
        Mean over sessions of the IC with that outcome, and its Newey-West error; NaN where it is
        defined on too few sessions.
    suspect : bool
        The mean is beyond the limit, and beyond what chance gives.
    """

    feature_name: str
    outcome: str
    ic_mean: float
    ic_mean_se: float
    suspect: bool


def measure_foresight(
    rows: TrainingRows,
    feature_names: Sequence[str],
    *,
    horizon: int,
    min_names: int,
    limit: float = DEFAULT_LIMIT,
) -> list[FeatureForesight]:
    """Measure each feature against outcomes that lay ahead of its decision.

    Two outcomes are looked at: the label, and the return of the session at whose open the
    decision was taken, from the close before it. A label that was shifted by a few sessions, or
    today's close taken for yesterday's, shows in one of them.

    Parameters
    ----------
    rows : TrainingRows
    feature_names : sequence of str
        Names of the columns of `rows.features`.
    horizon : int
        Sessions of the label, for the standard error.
    min_names : int
        Fewest names for the IC of a session.
    limit : float
        Absolute mean IC that no honest feature reaches. Set too high, a label shifted far and
        therefore diluted passes; too low, a strong feature is refused.
    """
    sessions = rows.sessions
    chosen = np.unique(np.linspace(0, len(sessions) - 1, MOST_SESSIONS).astype(np.int64))
    following = rows.by_session(rows.next_return)
    same_session = np.full_like(following, np.nan)
    same_session[1:] = following[:-1]
    outcomes = {
        "the label": rows.by_session(rows.label)[chosen],
        "the return of the session that begins with the decision": same_session[chosen],
    }
    found = []
    for i, name in enumerate(feature_names):
        values = rows.by_session(rows.features[:, i])[chosen]
        candidates = [
            _judge(name, outcome, information_coefficients(values, returns, min_names=min_names),
                   horizon=horizon, limit=limit)
            for outcome, returns in outcomes.items()
        ]  # fmt: skip
        found.append(
            max(
                candidates,
                key=lambda c: (c.suspect, -1.0 if math.isnan(c.ic_mean) else abs(c.ic_mean)),
            )
        )
    return found


def refuse_look_ahead(
    rows: TrainingRows,
    feature_names: Sequence[str],
    *,
    horizon: int,
    min_names: int,
    limit: float = DEFAULT_LIMIT,
) -> None:
    """Refuse to train on a feature that orders the future as no honest feature does.

    Parameters are those of `measure_foresight`.

    Raises
    ------
    LookAheadError
        A feature is suspect; each of them is named with its figures.
    """
    suspects = [
        f"{found.feature_name} has a mean IC of {found.ic_mean:+.2f} {_error(found.ic_mean_se)} "
        f"with {found.outcome}"
        for found in measure_foresight(
            rows, feature_names, horizon=horizon, min_names=min_names, limit=limit
        )
        if found.suspect
    ]
    if suspects:
        raise LookAheadError(
            f"nothing was trained, since a feature seems to know the future: "
            f"{'; '.join(suspects)}; the limit is {limit:g}; look at who wrote its values and "
            f"when with `quant-mlops features history ENTITY NAME`, and leave it out; a limit that "
            f"is too strict for honest features is training.max_feature_ic of the strategy"
        )


def _error(ic_mean_se: float) -> str:
    return f"(s.e. {ic_mean_se:.2f})" if math.isfinite(ic_mean_se) else "on each session alike"


def _judge(
    name: str, outcome: str, daily: Floats, *, horizon: int, limit: float
) -> FeatureForesight:
    known = daily[np.isfinite(daily)]
    if len(known) < FEWEST_SESSIONS:
        return FeatureForesight(name, outcome, math.nan, math.nan, suspect=False)
    mean = float(known.mean())
    error = newey_west_standard_error(known, lag=horizon - 1)
    # A feature that equals the outcome has no error at all.
    beyond_chance = not abs(mean) <= STANDARD_ERRORS * (error if math.isfinite(error) else 0.0)
    return FeatureForesight(name, outcome, mean, error, abs(mean) > limit and beyond_chance)
