"""The numbers and plots that sum up a strategy, for the terminal, for JSON and for the report."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from quant_mlops.alerts.outbox import count_by_severity
from quant_mlops.alerts.states import StrategyState, current_state
from quant_mlops.database.queries import query
from quant_mlops.registry.records import ModelInfo
from quant_mlops.reports.figures import (
    alerts_figure,
    cumulative_return_figure,
    information_coefficient_figure,
    psi_figure,
)
from quant_mlops.reports.history import load_monitoring_history
from quant_mlops.reports.html import write_report
from quant_mlops.reports.onsets import newest_that_stands_out
from quant_mlops.strategy_context import StrategyContext
from quant_mlops.training.snapshot_files import Snapshot, find_snapshot

REPORT_FILE = "report.html"


@dataclass(frozen=True)
class StrategySummary:
    """What a strategy's tables hold.

    Attributes
    ----------
    prices, events : int
        Rows of `price_bars`, and rows of `feature_events` of the strategy's features.
    model : ModelInfo or None
        The newest live version, with its metrics and its snapshot.
    retrains : dict of str to int
        Finished retraining requests by verdict.
    sessions : int
        Sessions judged, from `first` to `last`.
    """

    strategy_id: str
    prices: int
    tickers: int
    events: int
    versions: list[str]
    model: ModelInfo | None
    metrics: dict[str, float]
    weights_digest: str | None
    snapshot: Snapshot | None
    sessions: int
    first: date | None
    last: date | None
    mean_ic: float | None
    alerts: dict[str, int]
    retrains: dict[str, int]
    state: StrategyState
    server: str
    timescaledb: str | None

    def rows(self) -> list[tuple[str, str]]:
        """Return the summary as names and texts, for a table."""
        m = self.metrics
        verdicts = ", ".join(f"{n} {v}" for v, n in self.retrains.items()) or "none"
        rows = [
            ("price bars", f"{self.prices:,} of {self.tickers} tickers"),
            ("feature events", f"{self.events:,}"),
            ("snapshot", _snapshot_text(self.snapshot)),
            ("model versions", _version_ranges(self.versions) or "none"),
            ("live model", self.model.label if self.model else "none"),
            ("test IC", _with_error(m, "ic_mean_test", "ic_mean_se_test")),
            ("test Sharpe", _with_error(m, "sharpe_ratio_backtest", "sharpe_ratio_se_backtest")),
            ("monitored", f"{self.sessions} sessions, {self.first} to {self.last}"),
            ("live IC", "none" if self.mean_ic is None else f"{self.mean_ic:+.4f}"),
            ("alerts", ", ".join(f"{n} {s}" for s, n in self.alerts.items() if n) or "none"),
            ("retrains", verdicts),
            ("state", self.state.words()),
            ("database", f"PostgreSQL {self.server}, TimescaleDB {self.timescaledb or 'not used'}"),
        ]
        return rows


def summarise(context: StrategyContext) -> StrategySummary:
    """Count what a strategy's tables hold."""
    database, name = context.database, context.strategy.name
    counts = database.fetch_one(
        query("count_strategy_rows"),
        {
            "strategy_id": name,
            "names": list(context.strategy.feature_versions),
            "tickers": context.tickers,
        },
    )
    assert counts is not None
    prices, tickers, events, sessions, first, last, mean_ic, server, timescaledb = counts
    deployments = context.registry.deployments(name)
    model = context.registry.get_model_by_id(deployments[-1].model_id) if deployments else None
    snapshot_id = model.snapshot_id if model else None
    return StrategySummary(
        strategy_id=name,
        prices=prices,
        tickers=tickers,
        events=events,
        versions=[m.label for m in context.registry.list_models(strategy_type=name)],
        model=model,
        metrics=context.registry.get_metrics(model.model_id) if model else {},
        weights_digest=_weights_digest(context, model),
        snapshot=find_snapshot(database, snapshot_id) if snapshot_id else None,
        sessions=sessions,
        first=first,
        last=last,
        mean_ic=mean_ic,
        alerts=count_by_severity(database, name),
        retrains=dict(database.fetch_all(query("count_retrains"), [name])),
        state=current_state(database, name, at=None),
        server=server,
        timescaledb=timescaledb,
    )


def monitoring_figures(context: StrategyContext) -> dict[str, Figure]:
    """Return the plots of the report by name."""
    history = load_monitoring_history(context.database, context.strategy.name)
    days = history.sessions
    figures = {
        "information coefficient": information_coefficient_figure(
            days,
            history.drift.ic,
            rolling_mean=history.drift.ic_20d_mean,
            rolling_error=history.drift.ic_20d_error,
            levels=history.levels,
            onset=newest_that_stands_out(history.alerts, series="ic"),
        ),
        "PSI by feature": psi_figure(
            days,
            {name: history.features.psi[:, i] for i, name in enumerate(history.features.names)},
            aggregate=history.drift.psi,
            signals=history.drift.prediction_psi,
            levels=history.levels,
        ),
        "cumulative return": cumulative_return_figure(
            days,
            history.returns.net,
            market_returns=history.returns.market,
            position_scale=history.returns.position_scale,
            deployments=history.deployments,
        ),
    }
    if len(days):
        first, last = _day(np.min(days)), _day(np.max(days))
        figures["alerts"] = alerts_figure(history.alerts, history.retrains, first=first, last=last)
    return figures


def report_path(context: StrategyContext) -> Path:
    """Return where a strategy's report is written."""
    return context.settings.reports_folder / context.strategy.name / REPORT_FILE


def write_strategy_report(context: StrategyContext) -> Path:
    """Write the HTML report of a strategy and return its path."""
    history = load_monitoring_history(context.database, context.strategy.name)
    return write_report(
        history,
        report_path(context),
        title=f"Strategy {context.strategy.name}",
        summary_rows=summarise(context).rows(),
    )


def _weights_digest(context: StrategyContext, model: ModelInfo | None) -> str | None:
    if model is None:
        return None
    artifacts = context.registry.list_artifacts(model.model_id)
    return next((a.checksum for a in artifacts if a.artifact_type.startswith("weights")), None)


def _day(session: np.datetime64) -> date:
    found: date = session.astype("datetime64[D]").item()
    return found


def _version_ranges(labels: list[str]) -> str:
    """Return labels such as `ridge v1` with the versions of each name put together."""
    versions: dict[str, list[int]] = {}
    for label in labels:
        name, _, version = label.rpartition(" v")
        versions.setdefault(name, []).append(int(version))
    texts = []
    for name, found in versions.items():
        dense = len(found) > 2 and max(found) - min(found) == len(found) - 1
        shown = [f"v{min(found)} to v{max(found)}"] if dense else [f"v{n}" for n in found]
        texts.append(f"{name} {', '.join(shown)}")
    return "; ".join(texts)


def _snapshot_text(snapshot: Snapshot | None) -> str:
    if snapshot is None:
        return "none"
    return f"{snapshot.fingerprint[:16]}, {snapshot.row_count:,} rows"


def _with_error(metrics: dict[str, float], value: str, error: str) -> str:
    if value not in metrics:
        return "undefined"
    spread = f"{metrics[error]:.4f}" if error in metrics else "undefined"
    return f"{metrics[value]:+.4f} (s.e. {spread})"
