"""What a session should have and does not: missing data are told of by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from quant_mlops.database import Database
from quant_mlops.drift.observations import Outcomes, live_at_open
from quant_mlops.market.calendar import TradingCalendar

Sessions = npt.NDArray[np.datetime64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

PRICES, PREDICTIONS, FEATURE_DRIFT = "prices", "predictions", "feature drift"
RETURN, IC = "the return", "the IC"
# Of a session that was never judged, and of one judged before it was kept what was missing.
VERDICT, SOMETHING = "the verdict", "some data"
PLURAL = (PRICES, PREDICTIONS, SOMETHING)


@dataclass(frozen=True)
class MissingData:
    """The condition of an alert that no metric is behind: a session lacks what it should have."""

    name: str = "no_data"
    severity: str = "warning"
    action: str = "check_data"
    sessions: int = 1
    clear_after: int = 1
    cooldown_sessions: int = 0

    def met(self, value: float) -> bool:
        """Tell whether anything is missing, given how many things are."""
        return value > 0

    def describe(self) -> str:
        """Return the condition in words."""
        return "data of the session are missing"


def missing_data(
    database: Database,
    calendar: TradingCalendar,
    sessions: Sessions,
    *,
    strategy_id: str,
    horizon: int,
    outcomes: Outcomes,
    measured: Flags,
    net: Floats,
) -> list[tuple[str, ...]]:
    """Return what each session lacks that a live model makes expected.

    Parameters
    ----------
    sessions : ndarray of datetime64[D], shape (S,)
        Consecutive ones.
    horizon : int
        Sessions of the label whose IC is judged.
    outcomes : Outcomes
        Of sessions that end with those judged.
    measured : ndarray of bool, shape (S,)
        Whether the drift of the session's features was measured.
    net : ndarray of float64, shape (at least S,)
        Net returns of sessions that end with those judged, NaN where there is none.
    """
    count = len(sessions)
    known = calendar.sessions(calendar.offset(sessions[0].item(), -horizon), sessions[-1].item())
    live = live_at_open(database, calendar, strategy_id, known)
    # A return needs a position of the session before, an IC a decision of a label's length before.
    today, before, decided = live[horizon:], live[horizon - 1 : -1], live[:count]
    lacking = {
        PRICES: today & ~outcomes.priced[-count:],
        PREDICTIONS: today & ~outcomes.predicted[-count:],
        FEATURE_DRIFT: today & ~measured,
        RETURN: before & np.isnan(net[-count:]),
        IC: decided & np.isnan(outcomes.by_horizon[horizon].ic[-count:]),
    }
    return [tuple(name for name in lacking if lacking[name][i]) for i in range(count)]


def describe_missing(names: Sequence[str], session: date) -> str:
    """Return what a session lacks in a sentence, such as prices and the IC of ... are missing."""
    *others, newest = names
    listed = f"{', '.join(others)} and {newest}" if others else newest
    return f"{listed} of {session} {'are' if others or newest in PLURAL else 'is'} missing"
