"""Drift by session: what the IC, PSI and Sharpe of a strategy were, as known when it was judged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import numpy as np
import numpy.typing as npt

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.drift.drift_metrics import DriftMetrics, MetricsWritten
from quant_mlops.drift.horizon_ics import ROLLING, horizon_ics, rolling_mean
from quant_mlops.drift.missing_data import missing_data
from quant_mlops.drift.observations import (
    read_outcomes,
    read_returns,
    read_stability,
)
from quant_mlops.drift.prediction_drift import read_prediction_psi
from quant_mlops.drift.rules import AlertConfig, Metric
from quant_mlops.errors import MonitoringError
from quant_mlops.market.calendar import trading_calendar
from quant_mlops.market.strategy_tickers import traded_tickers
from quant_mlops.statistics import (
    rolling_sharpe,
    rolling_sharpe_evidence,
)

__all__ = ["DriftMetrics", "DriftMonitor", "MetricsWritten"]

Sessions = npt.NDArray[np.datetime64]
Floats = npt.NDArray[np.float64]

IC_AVERAGE, IC_AVERAGE_LEAST = 5, 3
SHARPE_WINDOWS = (5, 20, 60)


class DriftMonitor:
    """Daily metrics of one strategy, for one session or for many at once.

    Parameters
    ----------
    dsn : str or Database
    strategy_id : str
    config : AlertConfig
    calendar : str
        Exchange whose sessions are counted.
    horizon : int
        Sessions of the label: the IC known on a session is that of so many sessions before.
    min_names : int
        Fewest names for an IC.
    evaluation_lag : timedelta
        After the close, when a session is judged.
    ic_horizons : sequence of int
        Further labels, in sessions, whose IC is taken beside those of one session and of
        `horizon`. A long one has every run read the prices of as many sessions more.
    psi_window : int
        Sessions pooled where drift is measured for this monitor; see `write_feature_drift`.
    universe : str, optional
        Index whose members the strategy trades.

    Raises
    ------
    MonitoringError
        A horizon is below 1.
    """

    def __init__(
        self,
        dsn: str | Database,
        strategy_id: str = "default",
        config: AlertConfig | None = None,
        *,
        calendar: str = "XNYS",
        horizon: int = 1,
        min_names: int = 5,
        evaluation_lag: timedelta = timedelta(hours=4),
        ic_horizons: Sequence[int] = (),
        psi_window: int = 60,
        universe: str | None = None,
    ) -> None:
        self.database = dsn if isinstance(dsn, Database) else Database(dsn)
        self.strategy_id = strategy_id
        self.config = config or AlertConfig()
        self.calendar = trading_calendar(calendar)
        self.horizon = horizon
        self.min_names = min_names
        self.evaluation_lag = evaluation_lag
        self.horizons = tuple(sorted({1, horizon, *ic_horizons}))
        if self.horizons[0] < 1:
            raise MonitoringError(
                f"a horizon of {self.horizons[0]} sessions was asked for; a label ends at least 1 "
                f"session after its decision"
            )
        self.psi_window = psi_window
        self.universe = universe

    @property
    def tickers(self) -> list[str] | None:
        """What the strategy trades, see `traded_tickers`; None for every ticker."""
        return traded_tickers(self.database, self.strategy_id, universe=self.universe)

    def evaluation_time(self, session: date) -> datetime:
        """Return the instant at which a session is judged."""
        return self.calendar.close_time(session) + self.evaluation_lag

    def calculate_metrics(self, date: date) -> DriftMetrics:
        """Return the metrics of one session as they were known when it was judged."""
        return self.calculate_range(date, date)[0]

    def calculate_range(self, first: date, last: date) -> list[DriftMetrics]:
        """Return the metrics of every session in a range, set-based.

        Raises
        ------
        NotASessionError
            The range is one day that is not a session.
        """
        if first == last:
            self.calendar.positions(np.array([first], dtype="datetime64[D]"))
        sessions = self.calendar.sessions(first, last)
        if not len(sessions):
            return []
        history = self.calendar.sessions(
            self.calendar.previous(sessions[0].item(), max(*SHARPE_WINDOWS, ROLLING)),
            sessions[-1].item(),
        )
        start = len(history) - len(sessions)
        outcomes = read_outcomes(
            self.database,
            self.calendar,
            history,
            strategy_id=self.strategy_id,
            horizons=self.horizons,
            min_names=self.min_names,
            evaluation_lag=self.evaluation_lag,
            tickers=self.tickers,
        )
        primary = outcomes.by_horizon[self.horizon]
        ic, names = primary.ic, primary.names
        by_horizon = horizon_ics(outcomes.by_horizon, self.calendar, history, start=start)
        net, models = read_returns(self.database, self.strategy_id, history)
        sharpe = {window: rolling_sharpe(net, window=window) for window in SHARPE_WINDOWS}
        evidence = {
            window: rolling_sharpe_evidence(net, window=window) for window in SHARPE_WINDOWS
        }
        stability = read_stability(self.database, self.strategy_id, sessions)
        signals = read_prediction_psi(self.database, self.strategy_id, sessions)
        drifts = [stability.get(session) for session in sessions.tolist()]
        missing = missing_data(
            self.database,
            self.calendar,
            sessions,
            strategy_id=self.strategy_id,
            horizon=self.horizon,
            outcomes=outcomes,
            measured=np.array([drift is not None for drift in drifts]),
            net=net,
        )
        metrics = []
        for i, session in enumerate(sessions):
            at = start + i
            drift = drifts[i]
            recent = ic[max(at - IC_AVERAGE + 1, 0) : at + 1]
            recent = recent[np.isfinite(recent)]
            month_mean, month_error = rolling_mean(ic, at, lag=self.horizon - 1)
            known_label = np.isfinite(ic[at]) or names[at] > 0
            values = {
                "ic": float(ic[at]),
                "psi": drift.mean if drift else np.nan,
                "sharpe_5d": float(sharpe[5][at]),
            }
            metrics.append(
                DriftMetrics(
                    date=session.item(),
                    strategy_id=self.strategy_id,
                    evaluation_time=self.evaluation_time(session.item()),
                    model_id=models[at],
                    ic_session=self.calendar.offset(session.item(), -self.horizon)
                    if known_label
                    else None,
                    ic_names=int(names[at]),
                    ic=values["ic"],
                    ic_5d_avg=float(recent.mean()) if len(recent) >= IC_AVERAGE_LEAST else np.nan,
                    ic_20d_mean=month_mean,
                    ic_20d_se=month_error,
                    ic_by_horizon=by_horizon[i],
                    psi=values["psi"],
                    psi_max=drift.largest if drift else np.nan,
                    psi_max_feature=drift.feature if drift else None,
                    prediction_psi=signals.get(session.item(), np.nan),
                    sharpe_5d=values["sharpe_5d"],
                    sharpe_5d_se=float(evidence[5].standard_error[at]),
                    sharpe_20d=float(sharpe[20][at]),
                    sharpe_20d_se=float(evidence[20].standard_error[at]),
                    sharpe_60d=float(sharpe[60][at]),
                    sharpe_60d_se=float(evidence[60].standard_error[at]),
                    probabilistic_sharpe_60d=float(evidence[60].probability[at]),
                    ic_alert=self._level("ic", values),
                    psi_alert=self._level("psi", values),
                    sharpe_alert=self._level("sharpe_5d", values),
                    no_data=bool(missing[i]),
                    missing=missing[i],
                )
            )
        return metrics

    def save_metrics(self, metrics: DriftMetrics) -> MetricsWritten:
        """Store the metrics of one session; an earlier row that differs goes to the history."""
        return self.save_range([metrics])

    def save_range(self, metrics: list[DriftMetrics]) -> MetricsWritten:
        """Store metrics, all or none; see `save_metrics`."""
        rows = [m.row() for m in metrics]
        if not rows:
            return MetricsWritten(0, 0)
        with self.database.transaction() as connection, connection.cursor() as cursor:
            cursor.executemany(query("move_changed_drift_metrics"), rows)
            cursor.executemany(query("insert_drift_metrics"), rows)
            return MetricsWritten(len(rows), cursor.rowcount)

    def run_daily(self, date: date | None = None) -> DriftMetrics:
        """Calculate and store a session's metrics, by default the newest that can be judged."""
        if date is None:
            date = self.calendar.session_of(self.database.now() - self.evaluation_lag)
        metrics = self.calculate_metrics(date)
        self.save_metrics(metrics)
        return metrics

    def _level(self, metric: Metric, values: dict[str, float]) -> str | None:
        return self.config.level(metric, values[metric])
