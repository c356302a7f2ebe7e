"""Training: the tables `training_snapshots`, `models` and `model_deployments`."""

# Dagster reads the annotation of `context` as it stands, so it must not be postponed to a string.

from datetime import UTC, datetime
from uuid import UUID

import dagster as dg

from quant_mlops.alerts.retraining import RetrainRequest, open_request
from quant_mlops.errors import TrainingError
from quant_mlops.orchestration.jobs import TRAINING
from quant_mlops.orchestration.metadata import Materialized, inline_plot, shown_table
from quant_mlops.orchestration.resources import Server
from quant_mlops.pipeline import build_snapshot
from quant_mlops.retraining import RetrainOutcome, decide, train_models
from quant_mlops.storage import place
from quant_mlops.strategy import Strategy
from quant_mlops.strategy_context import StrategyContext, evaluation_time
from quant_mlops.training.snapshot_files import Snapshot, find_snapshot

GROUP = "training"
POOL = "training"
SNAPSHOT_ID = "snapshot_id"
METRICS_SHOWN = (
    "ic_mean_train", "ic_mean_val", "ic_mean_test", "ic_mean_se_test",
    "sharpe_ratio_backtest", "sharpe_ratio_se_backtest",
)  # fmt: skip


class TrainingRun(dg.Config):
    """What one training run works on.

    Attributes
    ----------
    as_of : str
        Knowledge time in ISO 8601 with a zone; empty means the start of the run, or when the
        last session of a strategy that has ended was judged.
    request_id : int
        Retraining request that it answers; 0 means none.
    """

    as_of: str = ""
    request_id: int = 0


def training_assets(strategy: Strategy) -> list[dg.AssetsDefinition]:
    """Return the assets from snapshot to deployment of a strategy."""
    owners = [strategy.owner] if strategy.owner else None
    keys = {table: dg.AssetKey([strategy.name, table]) for table in TRAINING}

    @dg.asset(
        key=keys["training_snapshots"],
        deps=[dg.AssetKey([strategy.name, "feature_events"])],
        group_name=GROUP,
        kinds={"parquet"},
        owners=owners,
        pool=POOL,
        code_version="1",
        description="Immutable training set: decision times, features as known then, labels known "
        "by the knowledge time. Its data version is its fingerprint.",
    )
    def training_snapshots(
        context: dg.AssetExecutionContext, server: Server, config: TrainingRun
    ) -> Materialized:
        work = server.strategy(strategy, context.run.run_id)
        snapshot = build_snapshot(work, knowledge_time(context, work, config))
        return dg.MaterializeResult(
            data_version=dg.DataVersion(snapshot.fingerprint),
            metadata={
                SNAPSHOT_ID: str(snapshot.snapshot_id),
                "fingerprint": snapshot.fingerprint,
                "knowledge_time": snapshot.knowledge_time.isoformat(),
                "rows": snapshot.row_count,
                "first_session": snapshot.first_session.isoformat(),
                "last_session": snapshot.last_session.isoformat(),
                "left_out": shown_table(("reason", "rows"), list(snapshot.left_out.items())),
                "file": dg.MetadataValue.path(place(snapshot.data_uri)),
            },
        )

    @dg.asset(
        key=keys["models"],
        deps=[keys["training_snapshots"]],
        group_name=GROUP,
        kinds={"xgboost", "postgres"},
        owners=owners,
        pool=POOL,
        code_version="1",
        description="Every learner of the strategy trained on the snapshot and registered with "
        "metrics on train, val, test and backtest; what was trained before is found again.",
    )
    def models(
        context: dg.AssetExecutionContext, server: Server, config: TrainingRun
    ) -> Materialized:
        work = server.strategy(strategy, context.run.run_id)
        snapshot = _snapshot(context, work, config)
        trained = train_models(work, snapshot)
        models = [(m.model.label, m.model.model_id, m.trained_now) for m in trained]
        # A row for each metric: with a column for each, the last ones lie outside the page.
        metrics = [(name, *(m.metrics.get(name) for m in trained)) for name in METRICS_SHOWN]
        # Matplotlib takes half a second to import, and what loads the definitions draws nothing.
        from quant_mlops.session_figures import learner_metrics

        return dg.MaterializeResult(
            metadata={
                "trained_on": dg.MetadataValue.asset(keys["training_snapshots"]),
                SNAPSHOT_ID: str(snapshot.snapshot_id),
                "snapshot": snapshot.fingerprint,
                "models": shown_table(("model", "model_id", "trained now"), models),
                "metrics": shown_table(("metric", *(m.model.label for m in trained)), metrics),
                "metrics of the learners": inline_plot(learner_metrics(trained), "IC by split"),
            }
        )

    @dg.asset(
        key=keys["model_deployments"],
        deps=[keys["models"]],
        group_name=GROUP,
        kinds={"postgres"},
        owners=owners,
        pool=POOL,
        code_version="1",
        description="Promotion of the best candidate if the gate lets it replace the champion; "
        "the verdict and its evidence are stored either way. A new model turns older monitoring "
        "partitions stale in this view: they were judged with the model live then, and stay.",
    )
    def model_deployments(
        context: dg.AssetExecutionContext, server: Server, config: TrainingRun
    ) -> Materialized:
        work = server.strategy(strategy, context.run.run_id)
        request = _request(work, config)
        snapshot = _snapshot(context, work, config)
        outcome = decide(
            work, snapshot, train_models(work, snapshot),
            as_of=snapshot.knowledge_time, request=request,
        )  # fmt: skip
        return dg.MaterializeResult(
            metadata={"chosen_from": dg.MetadataValue.asset(keys["models"]), **_verdict(outcome)}
        )

    return [training_snapshots, models, model_deployments]


def knowledge_time(
    context: dg.AssetExecutionContext, work: StrategyContext, config: TrainingRun
) -> datetime:
    """Return the knowledge time of a run, the same for each of its assets.

    A run that executes another again has that one's, so that it finds what was done already.
    """
    if config.as_of:
        return _instant(config.as_of)
    run_id = context.run.root_run_id or context.run.run_id
    record = context.instance.get_run_record_by_id(run_id)
    if record is None:
        raise TrainingError(f"run {run_id} is not known to the instance; give as_of")
    created: datetime = record.create_timestamp
    last = work.strategy.monitoring.last_session
    return created if last is None else min(created, evaluation_time(work, last))


def _instant(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise TrainingError(
            f"as_of is {text!r}, which is no ISO 8601 time with a zone such as "
            f"2022-06-30T20:00+00:00; correct the run's configuration"
        )
    if moment > datetime.now(UTC):
        raise TrainingError(
            f"as_of is {text}, which lies in the future: what will be known then is not known yet; "
            f"give a time that has passed"
        )
    return moment.astimezone(UTC)


def _snapshot(
    context: dg.AssetExecutionContext, work: StrategyContext, config: TrainingRun
) -> Snapshot:
    """Return the snapshot that this run has built; a run of later assets only builds it."""
    key = dg.AssetKey([work.strategy.name, "training_snapshots"])
    event = context.instance.get_latest_materialization_event(key)
    if event is not None and event.run_id == context.run.run_id and event.asset_materialization:
        stored = event.asset_materialization.metadata[SNAPSHOT_ID].value
        return find_snapshot(work.database, UUID(str(stored)))
    return build_snapshot(work, knowledge_time(context, work, config))


def _request(work: StrategyContext, config: TrainingRun) -> RetrainRequest | None:
    if not config.request_id:
        return None
    request = open_request(work.database, work.strategy.name)
    if request is None or request.request_id != config.request_id:
        raise TrainingError(
            f"retraining request {config.request_id} is not open; it was answered already"
        )
    return request


def _verdict(outcome: RetrainOutcome) -> dict[str, str | float | bool]:
    comparison = outcome.comparison
    return {
        "candidate": outcome.candidate.model.label,
        "model_id": str(outcome.candidate.model.model_id),
        SNAPSHOT_ID: str(outcome.snapshot.snapshot_id),
        "status": outcome.status,
        "promoted": outcome.promoted,
        "reason": comparison.reason if comparison else "first model of the strategy",
        "snapshot": outcome.snapshot.fingerprint,
    }
