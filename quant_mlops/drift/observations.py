"""What the tables say about a strategy's sessions, arranged by session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from uuid import UUID

import numpy as np
import numpy.typing as npt

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.instants import MICROSECOND, from_microseconds
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.known_closes import closes_as_known
from quant_mlops.serving.signals import read_signals
from quant_mlops.statistics import effective_pairs, information_coefficients

Sessions = npt.NDArray[np.datetime64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class HorizonOutcomes:
    """By session judged, shape (S,), for a label of one length.

    Attributes
    ----------
    ic : ndarray of float64
        Of the predictions whose label ends with the session; NaN where undefined.
    names : ndarray of int64
        Pairs of prediction and return that the IC rests on.
    """

    ic: Floats
    names: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Outcomes:
    """By session judged, shape (S,).

    Attributes
    ----------
    by_horizon : dict of int to HorizonOutcomes
        Each horizon by itself: the newest sessions have a 1-session IC while longer labels of the
        same predictions are open.
    priced, predicted : ndarray of bool
        Whether any price, and any prediction, of the session itself is there.
    """

    by_horizon: dict[int, HorizonOutcomes]
    priced: Flags
    predicted: Flags


@dataclass(frozen=True)
class FeatureStability:
    """Mean and largest PSI over the features of one session, and the feature it belongs to."""

    mean: float
    largest: float
    feature: str


def read_outcomes(
    database: Database,
    calendar: TradingCalendar,
    sessions: Sessions,
    *,
    strategy_id: str,
    horizons: Sequence[int],
    min_names: int,
    evaluation_lag: timedelta,
    tickers: Sequence[str] | None = None,
) -> Outcomes:
    """Return what each of some consecutive sessions says about the predictions it ends.

    Closes are those known `evaluation_lag` after the close of the session judged, of the
    strategy's tickers or of all.
    """
    reach, count = max(horizons), len(sessions)
    deciding = calendar.sessions(calendar.offset(sessions[0].item(), -reach), sessions[-1].item())
    closes = closes_as_known(
        database,
        calendar,
        sessions,
        evaluated_at=calendar.closes(sessions) + evaluation_lag // MICROSECOND,
        lags=(0, *horizons),
        chosen=tickers,
    )
    priced = _any_known(closes.by_lag[0])
    signals = read_signals(database, strategy_id, deciding)
    if signals is None:
        nothing = np.zeros(count, dtype=np.int64)
        undefined = HorizonOutcomes(np.full(count, np.nan), nothing)
        return Outcomes(dict.fromkeys(horizons, undefined), priced, nothing.astype(np.bool_))
    by_horizon = {}
    for horizon in horizons:
        labels = signals.align(closes.tickers, closes.returns(horizon))
        decided = signals.signals[reach - horizon :][:count]
        by_horizon[horizon] = HorizonOutcomes(
            ic=information_coefficients(decided, labels, min_names=min_names),
            names=effective_pairs(decided, labels),
        )
    return Outcomes(by_horizon, priced, predicted=_any_known(signals.signals[reach:]))


def read_returns(
    database: Database, strategy_id: str, sessions: Sessions
) -> tuple[Floats, list[UUID | None]]:
    """Return the net return of each session, NaN where it has none, and the model behind it."""
    rows = database.fetch_all(
        query("select_net_returns"), [strategy_id, sessions[0].item(), sessions[-1].item()]
    )
    net = np.full(len(sessions), np.nan)
    models: list[UUID | None] = [None] * len(sessions)
    place = {session: i for i, session in enumerate(sessions.tolist())}
    for session, model_id, value in rows:
        net[place[session]], models[place[session]] = value, model_id
    return net, models


def read_stability(
    database: Database, strategy_id: str, sessions: Sessions
) -> dict[date, FeatureStability]:
    """Return the PSI of each session on which any feature's could be computed."""
    rows = database.fetch_all(
        query("select_aggregate_psi"), [strategy_id, sessions[0].item(), sessions[-1].item()]
    )
    return {session: FeatureStability(*values) for session, *values in rows}


def live_at_open(
    database: Database, calendar: TradingCalendar, strategy_id: str, sessions: Sessions
) -> Flags:
    """Tell for each session whether a model was live when it opened."""
    opens = [from_microseconds(int(instant)) for instant in calendar.opens(sessions)]
    rows = database.fetch_all(query("select_live_at"), [opens, strategy_id])
    return np.array([live for (live,) in rows], dtype=np.bool_)


def _any_known(matrix: Floats) -> Flags:
    return np.asarray(np.isfinite(matrix).any(axis=1), dtype=np.bool_)
