"""Jobs of a strategy: history, training, monitoring, the daily run, and the report."""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from quant_mlops.strategy import Strategy

HISTORY = ("price_bars", "feature_events")
TRAINING = ("training_snapshots", "models", "model_deployments")
MONITORING = ("predictions", "strategy_returns", "feature_drift", "drift_metrics", "alerts")
REPORT = ("monitoring_report",)
# Each step is forked from a process that has imported these, which alone takes two seconds; a
# user's own modules are not among them, as one that fails would end that process.
PRELOADED = ["quant_mlops.orchestration.strategy_set", "dagster_postgres"]
EXECUTORS = {
    "in_process": dg.in_process_executor,
    "multiprocess": dg.multiprocess_executor.configured(
        {"start_method": {"forkserver": {"preload_modules": PRELOADED}}}
    ),
}


@dataclass(frozen=True)
class StrategyJobs:
    """The jobs of one strategy."""

    history: UnresolvedAssetJobDefinition
    training: UnresolvedAssetJobDefinition
    monitoring: UnresolvedAssetJobDefinition
    daily: UnresolvedAssetJobDefinition
    report: UnresolvedAssetJobDefinition

    def all(self) -> list[UnresolvedAssetJobDefinition]:
        """Return every job."""
        return [self.history, self.training, self.monitoring, self.daily, self.report]


def strategy_jobs(strategy: Strategy, *, executor: str = "in_process") -> StrategyJobs:
    """Return the jobs of a strategy.

    Parameters
    ----------
    strategy : Strategy
    executor : {"in_process", "multiprocess"}
        Steps one after another in the process of the run, or each in a process of its own, which
        costs more than most steps take.
    """

    def job(name: str, tables: tuple[str, ...], description: str) -> UnresolvedAssetJobDefinition:
        keys = [dg.AssetKey([strategy.name, table]) for table in tables]
        return dg.define_asset_job(
            f"{strategy.name}_{name}",
            selection=dg.AssetSelection.assets(*keys),
            description=description,
            executor_def=EXECUTORS[executor],
        )

    return StrategyJobs(
        history=job("history", HISTORY, "Prices and features of a range of sessions."),
        training=job("training", TRAINING, "Snapshot, models, and the promotion decision."),
        monitoring=job("monitoring", MONITORING, "From predictions to alerts."),
        daily=job("daily", HISTORY + MONITORING, "Everything a session needs, once a session."),
        report=job("report", REPORT, "The HTML report."),
    )
