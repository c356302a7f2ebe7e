"""Since when: the onset of what an alert is about, with the interval of sessions it lies in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from quant_mlops.database import Database
from quant_mlops.drift.observations import read_returns
from quant_mlops.drift.rules import Rule
from quant_mlops.statistics import change_interval

# Two years: a longer past holds several changes, and the interval is that of a single one.
SESSIONS_SEARCHED = 500
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class OnsetSettings:
    """How far back the values of the monitored metrics reach.

    Attributes
    ----------
    horizon : int
        Sessions of a label. The IC of overlapping labels is correlated over horizon - 1 sessions,
        and the IC judged on a session is that of predictions made `horizon` sessions earlier.
    psi_window : int
        Sessions pooled in each PSI.
    """

    horizon: int = 1
    psi_window: int = 1


UNCORRELATED = OnsetSettings()


def onset_evidence(
    database: Database,
    *,
    strategy_id: str,
    rule: Rule,
    sessions: npt.NDArray[np.datetime64],
    values: Floats,
    model_ids: Sequence[UUID | None],
    settings: OnsetSettings,
) -> dict[str, Any]:
    """Date the change behind an alert; an empty mapping where nothing can be dated.

    Parameters
    ----------
    database : Database
    strategy_id : str
    rule : Rule
    sessions : ndarray of datetime64[D], shape (S,)
        Consecutive, up to the one that opened the alert: what came later does not exist here.
    values : ndarray of float64, shape (S,)
        The rule's metric on those sessions, NaN where there is none.
    model_ids : sequence of UUID or None, of length S
        The model behind each value.
    settings : OnsetSettings

    Returns
    -------
    dict
        Empty, or `onset` with the sessions on which the change showed: `session`, the most likely
        one, and `first` and `last`, its interval; `p_value`, `mean_before`, `mean_after`, `level`,
        and what the interval was computed from. The newest 500 sessions are searched.

    Notes
    -----
    A rule on the IC is dated in the IC, with the lag of overlapping labels; `known_after` sessions
    lie between a prediction and the session on which its IC is judged. A rule on the Sharpe ratio
    is dated in the net returns under it, since a ratio over 5 sessions smears the date. A PSI is
    dated in its logarithm, whose noise is more even, under the live model only, since another
    model has another reference; its values share all but one of their sessions, so the lag is the
    window less one and the interval begins that much earlier. That takes more than 4 windows.
    """
    start = max(len(sessions) - SESSIONS_SEARCHED, 0)
    lag, window, known_after = 0, 1, 0
    series: str = rule.metric
    if rule.metric == "ic":
        lag, known_after = settings.horizon - 1, settings.horizon
    elif rule.metric == "psi":
        window = settings.psi_window
        lag = window - 1
        start = max(start, _reign(model_ids))
    else:
        series = "net_return"
        values, _ = read_returns(database, strategy_id, sessions)
    days, given = sessions[start:], values[start:]
    logarithmic = rule.metric == "psi" and bool((given[~np.isnan(given)] > 0.0).all())
    onset = change_interval(np.log(given) if logarithmic else given, lag=lag, window=window)
    if onset is None:
        return {}
    named = days.tolist()
    means = [float(np.nanmean(side)) for side in (given[: onset.index], given[onset.index :])]
    present = np.flatnonzero(~np.isnan(given))
    return {
        "onset": {
            "series": series,
            "session": named[onset.index].isoformat(),
            "first": named[onset.first].isoformat(),
            "last": named[onset.last].isoformat(),
            "level": onset.level,
            "p_value": None if math.isnan(onset.p_value) else onset.p_value,
            "mean_before": means[0],
            "mean_after": means[1],
            "deviation": _deviation(given, onset.index, means),
            "observations": onset.observations,
            "position": int(np.searchsorted(present, onset.index)),
            "lag": lag,
            "known_after": known_after,
        }
    }


def _reign(model_ids: Sequence[UUID | None]) -> int:
    """Return the first position from which the newest model was live without a break."""
    start = len(model_ids) - 1
    while start > 0 and model_ids[start - 1] == model_ids[-1]:
        start -= 1
    return max(start, 0)


def _deviation(values: Floats, index: int, means: Sequence[float]) -> float:
    centred = values - np.where(np.arange(len(values)) < index, means[0], means[1])
    present = centred[~np.isnan(centred)]
    return math.sqrt(float(present @ present) / (len(present) - 2))
