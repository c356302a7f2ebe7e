"""Training: the tables `training_snapshots`, `models` and `model_deployments`."""

# Dagster reads the annotation of `context` as it stands, so it must not be postponed to a string.

from datetime import UTC, datetime

import dagster as dg

from quant_mlops.alerts.retraining import RetrainRequest, open_request
from quant_mlops.errors import TrainingError
from quant_mlops.orchestration.metadata import markdown_table
from quant_mlops.orchestration.resources import Server
from quant_mlops.pipeline import StrategyContext, build_snapshot
from quant_mlops.retraining import RetrainOutcome, decide, train_models
from quant_mlops.strategy import Strategy
from quant_mlops.training.snapshot_files import Snapshot, list_snapshots

GROUP = "training"
POOL = "training"
METRICS_SHOWN = (
    "ic_mean_train", "ic_mean_val", "ic_mean_test", "ic_mean_se_test",
    "sharpe_ratio_backtest", "sharpe_ratio_se_backtest",
)  # fmt: skip


class TrainingRun(dg.Config):  # type: ignore[misc]
    """What one training run works on.

    Attributes
    ----------
    as_of : str
        Knowledge time in ISO 8601 with a zone; empty means the start of the run.
    request_id : int
        Retraining request that it answers; 0 means none.
    """

    as_of: str = ""
    request_id: int = 0


def training_assets(strategy: Strategy) -> list[dg.AssetsDefinition]:
    """Return the assets from snapshot to deployment of a strategy."""
    owners = [strategy.owner] if strategy.owner else None

    @dg.asset(
        key=[strategy.name, "training_snapshots"],
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
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        work = server.strategy(strategy, context.run_id)
        snapshot = build_snapshot(work, _as_of(context, config))
        return dg.MaterializeResult(
            data_version=dg.DataVersion(snapshot.fingerprint),
            metadata={
                "snapshot_id": str(snapshot.snapshot_id),
                "fingerprint": snapshot.fingerprint,
                "knowledge_time": snapshot.knowledge_time.isoformat(),
                "rows": snapshot.row_count,
                "first_session": snapshot.first_session.isoformat(),
                "last_session": snapshot.last_session.isoformat(),
                "left_out": markdown_table(("reason", "rows"), list(snapshot.left_out.items())),
                "file": dg.MetadataValue.path(str(snapshot.folder)),
            },
        )

    @dg.asset(
        key=[strategy.name, "models"],
        deps=[dg.AssetKey([strategy.name, "training_snapshots"])],
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
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        work = server.strategy(strategy, context.run_id)
        trained = train_models(work, _snapshot(work, _as_of(context, config)))
        rows = [
            (m.model.label, *(m.metrics.get(name) for name in METRICS_SHOWN), m.trained_now)
            for m in trained
        ]
        return dg.MaterializeResult(
            metadata={"models": markdown_table(("model", *METRICS_SHOWN, "trained now"), rows)}
        )

    @dg.asset(
        key=[strategy.name, "model_deployments"],
        deps=[dg.AssetKey([strategy.name, "models"])],
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
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        work = server.strategy(strategy, context.run_id)
        as_of = _as_of(context, config)
        snapshot = _snapshot(work, as_of)
        outcome = decide(
            work, snapshot, train_models(work, snapshot),
            as_of=as_of, request=_request(work, config),
        )  # fmt: skip
        return dg.MaterializeResult(metadata=_verdict(outcome))

    return [training_snapshots, models, model_deployments]


def _as_of(context: dg.AssetExecutionContext, config: TrainingRun) -> datetime:
    """Return the knowledge time of a run, the same for each of its assets."""
    if config.as_of:
        return datetime.fromisoformat(config.as_of)
    record = context.instance.get_run_record_by_id(context.run_id)
    if record is None:
        raise TrainingError(f"run {context.run_id} is not known to the instance; give as_of")
    return record.create_timestamp.astimezone(UTC)


def _snapshot(work: StrategyContext, as_of: datetime) -> Snapshot:
    """Return the snapshot that was built for a knowledge time, building it if it was not."""
    for snapshot in list_snapshots(work.database, work.strategy.name):
        if snapshot.knowledge_time == as_of:
            return snapshot
    return build_snapshot(work, as_of)


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
        "status": outcome.status,
        "promoted": outcome.promoted,
        "reason": comparison.reason if comparison else "first model of the strategy",
        "snapshot": outcome.snapshot.fingerprint,
    }
