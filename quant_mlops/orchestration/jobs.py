"""Jobs of a strategy: history, training, monitoring, the daily run, and what keeps it in order."""

# Dagster reads the annotation of `context` as it stands, so it must not be postponed to a string.

from dataclasses import dataclass
from datetime import date

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from quant_mlops.orchestration.partitions import sessions_pool
from quant_mlops.orchestration.resources import Server
from quant_mlops.pipeline import revise_features
from quant_mlops.retraining import request_retraining
from quant_mlops.strategy import Strategy

HISTORY = ("price_bars", "feature_events")
TRAINING = ("training_snapshots", "models", "model_deployments")
MONITORING = ("predictions", "strategy_returns", "feature_drift", "drift_metrics", "alerts")
REPORT = ("monitoring_report",)
# Each step is forked from a process that has imported these, which alone takes two seconds: what
# every step needs, and what those that draw do. A user's own modules are not among them, as one
# that fails would end that process.
PRELOADED = [
    "quant_mlops.orchestration.strategy_set",
    "dagster_postgres",
    "exchange_calendars",
    "quant_mlops.session_figures",
]
EXECUTORS = {
    "in_process": dg.in_process_executor,
    "multiprocess": dg.multiprocess_executor.configured(
        {"start_method": {"forkserver": {"preload_modules": PRELOADED}}}
    ),
}
# The one check that no other job runs: it takes as long as building the snapshots did.
VERIFICATION = "snapshots_are_reproducible"
STRATEGY_TAG = "quant_mlops/strategy"
REQUEST_OP = "request_retraining"
SCHEDULED = "monthly schedule"


StrategyJob = UnresolvedAssetJobDefinition | dg.JobDefinition


@dataclass(frozen=True)
class StrategyJobs:
    """The jobs of one strategy."""

    history: UnresolvedAssetJobDefinition
    training: UnresolvedAssetJobDefinition
    monitoring: UnresolvedAssetJobDefinition
    daily: UnresolvedAssetJobDefinition
    report: UnresolvedAssetJobDefinition
    verification: UnresolvedAssetJobDefinition
    revision: dg.JobDefinition
    retraining_request: dg.JobDefinition

    def all(self) -> list[StrategyJob]:
        """Return every job."""
        return list(vars(self).values())


def strategy_jobs(strategy: Strategy, *, executor: str = "in_process") -> StrategyJobs:
    """Return the jobs of a strategy.

    Parameters
    ----------
    strategy : Strategy
    executor : {"in_process", "multiprocess"}
        Steps one after another in the process of the run, or each in a process of its own, which
        costs more than most steps take.
    """
    verification = dg.AssetCheckKey(
        dg.AssetKey([strategy.name, "training_snapshots"]), VERIFICATION
    )

    def job(name: str, tables: tuple[str, ...], description: str) -> UnresolvedAssetJobDefinition:
        keys = [dg.AssetKey([strategy.name, table]) for table in tables]
        chosen = dg.AssetSelection.assets(*keys) - dg.AssetSelection.checks(verification)
        return _asset_job(strategy, name, chosen, description, executor=executor)

    return StrategyJobs(
        history=job("history", HISTORY, "Prices and features of a range of sessions."),
        training=job("training", TRAINING, "Snapshot, models, and the promotion decision."),
        monitoring=job("monitoring", MONITORING, "From predictions to alerts."),
        daily=job("daily", HISTORY + MONITORING, "Everything a session needs, once a session."),
        report=job("report", REPORT, "The HTML report."),
        verification=_asset_job(
            strategy, "verification", dg.AssetSelection.checks(verification),
            "Verifies the newest snapshots by file and from the database.", executor=executor,
        ),
        revision=_op_job(
            strategy, "revision", _revision_op(strategy),
            "Carries restated prices into the features that they touch.", executor=executor,
        ),
        retraining_request=_op_job(
            strategy, "retraining_request", _retraining_request_op(strategy),
            "Asks for a retraining, which the sensor starts; a request that is open, or one "
            "answered within the cool-down, takes it in.", executor=executor,
        ),
    )  # fmt: skip


def _asset_job(
    strategy: Strategy,
    name: str,
    selection: dg.AssetSelection,
    description: str,
    *,
    executor: str,
) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        f"{strategy.name}_{name}",
        selection=selection,
        description=description,
        executor_def=EXECUTORS[executor],
        tags={STRATEGY_TAG: strategy.name},
    )


def _op_job(
    strategy: Strategy, name: str, op: dg.OpDefinition, description: str, *, executor: str
) -> dg.JobDefinition:
    """Return a job of one step that fills no table of its own."""
    return dg.GraphDefinition(f"{strategy.name}_{name}", node_defs=[op]).to_job(
        description=description,
        executor_def=EXECUTORS[executor],
        tags={STRATEGY_TAG: strategy.name},
    )


def _revision_op(strategy: Strategy) -> dg.OpDefinition:
    table = dg.AssetKey([strategy.name, "feature_events"])

    @dg.op(name=f"{strategy.name}__revise_features", pool=sessions_pool(strategy))
    def revise(context: dg.OpExecutionContext, server: Server) -> None:
        stored = revise_features(server.strategy(strategy, context.run_id))
        context.log_event(dg.AssetObservation(table, metadata={"revisions": stored}))

    return revise


class RequestConfig(dg.Config):
    """The session whose knowledge a retraining is to have."""

    session: str


def _retraining_request_op(strategy: Strategy) -> dg.OpDefinition:
    @dg.op(name=f"{strategy.name}__{REQUEST_OP}")
    def request(context: dg.OpExecutionContext, server: Server, config: RequestConfig) -> None:
        session = date.fromisoformat(config.session)
        found = request_retraining(server.strategy(strategy), session, by=SCHEDULED)
        context.log.info("request %d is %s", found.request_id, found.status)

    return request
