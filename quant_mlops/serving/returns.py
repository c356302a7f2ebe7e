"""What the strategy earned by session, from its stored predictions and the closes then known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.instants import MICROSECOND, from_microseconds
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.market.known_closes import closes_as_known
from quant_mlops.market.strategy_tickers import traded_tickers
from quant_mlops.serving.signals import read_signals
from quant_mlops.training.portfolio import long_short_weights, portfolio_returns

Sessions = npt.NDArray[np.datetime64]


@dataclass(frozen=True)
class PortfolioRules:
    """How signals become positions and what trading costs.

    Attributes
    ----------
    min_names : int
        A session with fewer predictions holds nothing.
    cost_per_turnover : float
        Fraction of capital per unit of turnover.
    """

    min_names: int
    cost_per_turnover: float


@dataclass(frozen=True)
class ReturnsWritten:
    """Sessions with a return, and those whose return was new or had changed."""

    offered: int
    stored: int


def write_strategy_returns(
    database: Database,
    calendar: TradingCalendar,
    *,
    strategy_id: str,
    sessions: Sessions,
    rules: PortfolioRules,
    evaluation_lag: timedelta,
    universe: str | None = None,
) -> ReturnsWritten:
    """Store the return of each session on the positions taken at the close before it.

    The positions held over a session come from the signals of the session before; both closes
    are those known `evaluation_lag` after the session's close. A session without positions, or
    without a price of any name held, has no row. A stored return changes only where what it rests
    on was stored after it, such as predictions that were made later; the earlier one goes to the
    history.

    Parameters
    ----------
    database : Database
    calendar : TradingCalendar
    strategy_id : str
    sessions : ndarray of datetime64[D], shape (S,)
        Consecutive, ascending.
    rules : PortfolioRules
    evaluation_lag : timedelta
        After the close, when a session is evaluated.
    universe : str, optional
        Index whose members the strategy trades. The market's return is the mean over its tickers
        without one, and over every ticker with one.
    """
    if len(sessions) == 0:
        return ReturnsWritten(0, 0)
    # Weights of the two sessions before the first give its positions and its turnover.
    first = calendar.previous(sessions[0].item(), 2)
    deciding = calendar.sessions(first, sessions[-1].item())[:-1]
    signals = read_signals(database, strategy_id, deciding)
    if signals is None:
        return ReturnsWritten(0, 0)
    evaluated_at = calendar.closes(sessions) + evaluation_lag // MICROSECOND
    closes = closes_as_known(
        database,
        calendar,
        sessions,
        evaluated_at=evaluated_at,
        lags=(0, 1),
        chosen=traded_tickers(database, strategy_id, universe=universe),
    )
    weights = long_short_weights(signals.signals, min_names=rules.min_names)
    returns = signals.align(closes.tickers, closes.returns(1))
    earned = portfolio_returns(
        weights[1:], returns, cost_per_turnover=rules.cost_per_turnover, before=weights[0]
    )
    ends = calendar.closes(sessions)
    rows = [
        {
            "strategy_id": strategy_id,
            "session": sessions[i].item(),
            "event_time": from_microseconds(int(ends[i])),
            "model_id": signals.model_ids[i + 1],
            "names": int(earned.names[i]),
            "gross_return": float(earned.gross[i]),
            "turnover": float(earned.turnover[i]),
            "cost": float(earned.cost[i]),
            "net_return": float(earned.net[i]),
            "market_return": float(earned.market[i]),
        }
        for i in np.flatnonzero(np.isfinite(earned.net))
    ]
    return ReturnsWritten(len(rows), _write(database, rows))


def _write(database: Database, rows: list[dict[str, object]]) -> int:
    if not rows:
        return 0
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.executemany(query("move_changed_strategy_returns"), rows)
        cursor.executemany(query("insert_strategy_return"), rows)
        return cursor.rowcount
