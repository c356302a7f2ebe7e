"""The IC of labels of several lengths, each of the newest session whose label is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from quant_mlops.drift.observations import HorizonOutcomes
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.statistics import newey_west_standard_error

Sessions = npt.NDArray[np.datetime64]
Floats = npt.NDArray[np.float64]

ROLLING = 20


@dataclass(frozen=True)
class HorizonIC:
    """How well the signals of one session ordered the returns over so many sessions.

    Attributes
    ----------
    horizon : int
        Sessions from decision to the end of the label.
    session : date or None
        The session of decision; None without any pair of signal and return.
    names : int
        Pairs that the IC rests on.
    ic : float
    ic_20d_mean, ic_20d_se : float
        Over the newest 20 sessions, which must all have a value, with a Newey-West standard error
        whose lag is the horizon minus one.
    """

    horizon: int
    session: date | None
    names: int
    ic: float
    ic_20d_mean: float
    ic_20d_se: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON holds it; what is undefined is null."""
        numbers = {name: getattr(self, name) for name in ("ic", "ic_20d_mean", "ic_20d_se")}
        return {
            "horizon": self.horizon,
            "session": None if self.session is None else self.session.isoformat(),
            "names": self.names,
            **{name: v if np.isfinite(v) else None for name, v in numbers.items()},
        }


def horizon_ics(
    outcomes: Mapping[int, HorizonOutcomes],
    calendar: TradingCalendar,
    history: Sessions,
    *,
    start: int,
) -> list[tuple[HorizonIC, ...]]:
    """Return for each session of the history from `start` on its ICs, shortest label first.

    Parameters
    ----------
    outcomes : mapping of int to HorizonOutcomes
        By horizon, for every session of the history.
    calendar : TradingCalendar
    history : ndarray of datetime64[D]
        Consecutive sessions; with fewer than 20 before `start`, the first have no mean.
    start : int
    """
    by_horizon = [
        _of_one_horizon(horizon, outcomes[horizon], calendar, history, start)
        for horizon in sorted(outcomes)
    ]
    return list(zip(*by_horizon, strict=True))


def rolling_mean(ic: Floats, at: int, *, lag: int) -> tuple[float, float]:
    """Return mean and Newey-West standard error of the 20 values up to one, NaN if one is."""
    month = ic[max(at - ROLLING + 1, 0) : at + 1]
    if len(month) < ROLLING or not np.isfinite(month).all():
        return np.nan, np.nan
    return float(month.mean()), newey_west_standard_error(month, lag=lag)


def _of_one_horizon(
    horizon: int,
    outcomes: HorizonOutcomes,
    calendar: TradingCalendar,
    history: Sessions,
    start: int,
) -> list[HorizonIC]:
    decided = calendar.sessions(
        calendar.offset(history[start].item(), -horizon), history[-1].item()
    )
    found = []
    for at in range(start, len(history)):
        names = int(outcomes.names[at])
        mean, error = rolling_mean(outcomes.ic, at, lag=horizon - 1)
        found.append(
            HorizonIC(
                horizon=horizon,
                session=decided[at - start].item() if names else None,
                names=names,
                ic=float(outcomes.ic[at]),
                ic_20d_mean=mean,
                ic_20d_se=error,
            )
        )
    return found
