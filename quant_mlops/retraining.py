"""Training and retraining: snapshot, learners, comparison with the champion, verdict."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from quant_mlops.alerts.retraining import RetrainRequest, finish_request
from quant_mlops.drift.profiles import store_profiles
from quant_mlops.instants import MICROSECOND
from quant_mlops.pipeline import StrategyContext, build_snapshot
from quant_mlops.registry.records import ModelInfo
from quant_mlops.registry.training_runs import (
    TrainingRun,
    complete_run,
    completed_model,
    training_run,
)
from quant_mlops.serving.live_models import ModelLoader, ServedModel
from quant_mlops.training.code_version import code_version, library_versions
from quant_mlops.training.comparison import Comparison, compare_models
from quant_mlops.training.decision_features import features_as_known
from quant_mlops.training.evaluation import daily_information_coefficients
from quant_mlops.training.fitting import TrainedModel, fit_model, training_key
from quant_mlops.training.learners import LearnerConfig
from quant_mlops.training.look_ahead import refuse_look_ahead
from quant_mlops.training.matrices import training_rows
from quant_mlops.training.snapshot_files import Snapshot, read_snapshot
from quant_mlops.training.splits import split_sessions

SELECTION_METRIC = "ic_mean_val"
TRAINER = "quant_mlops retraining"


@dataclass(frozen=True)
class RegisteredModel:
    """A model in the registry with the newest value of each of its metrics."""

    model: ModelInfo
    metrics: dict[str, float]
    trained_now: bool


@dataclass(frozen=True)
class RetrainOutcome:
    """What came of training on one snapshot.

    Attributes
    ----------
    candidate : RegisteredModel
        Best of the learners on the validation split.
    comparison : Comparison or None
        Against the champion; None if no model was live.
    promoted : bool
    status : str
        `promoted`, `rejected`, or `prepared` where it may not be promoted.
    reason : str
        The verdict as a sentence.
    """

    snapshot: Snapshot
    models: tuple[RegisteredModel, ...]
    candidate: RegisteredModel
    comparison: Comparison | None
    promoted: bool
    status: str
    reason: str


def train_models(context: StrategyContext, snapshot: Snapshot) -> tuple[RegisteredModel, ...]:
    """Train every learner of the strategy on a snapshot and register what is new.

    A learner that was trained on the same data with the same parameters and seed before is found
    in the registry and not trained again.

    Raises
    ------
    LookAheadError
        A feature orders the future as no honest feature does; nothing is trained.
    """
    table = read_snapshot(snapshot)
    strategy = context.strategy
    refuse_look_ahead(
        training_rows(table, snapshot.feature_names),
        snapshot.feature_names,
        horizon=strategy.horizon,
        min_names=strategy.portfolio.min_names,
        limit=strategy.training.max_feature_ic,
    )
    return tuple(_train_one(context, snapshot, table, config) for config in strategy.learners)


def retrain(
    context: StrategyContext,
    *,
    as_of: datetime,
    request: RetrainRequest | None = None,
) -> RetrainOutcome:
    """Train on what was known at an instant and let the best candidate face the champion.

    Parameters
    ----------
    context : StrategyContext
    as_of : datetime
        Knowledge time of the snapshot, and the time from which a promotion holds.
    request : RetrainRequest, optional
        What asked for it; its verdict is stored with it. Without a request, as for the first
        model of a strategy, a promotion is allowed.
    """
    snapshot = build_snapshot(context, as_of)
    models = train_models(context, snapshot)
    return decide(context, snapshot, models, as_of=as_of, request=request)


def decide(
    context: StrategyContext,
    snapshot: Snapshot,
    models: tuple[RegisteredModel, ...],
    *,
    as_of: datetime,
    request: RetrainRequest | None = None,
) -> RetrainOutcome:
    """Choose a candidate on the validation split, compare it with the champion, and act.

    The champion is what was live just before `as_of`, so that a decision that was interrupted
    and is taken again comes out the same.
    """
    strategy = context.strategy
    candidate = max(models, key=lambda m: m.metrics.get(SELECTION_METRIC, -math.inf))
    champion = context.registry.live_model(strategy.name, at=as_of - MICROSECOND)
    may_promote = request is None or request.may_promote
    comparison = None
    if champion is None:
        reason = f"first model of the strategy, best of {len(models)} on the validation split"
        wins = True
    else:
        comparison = _compare(context, snapshot, champion.model_id, candidate.model.model_id)
        reason, wins = comparison.reason, comparison.promoted
    promoted = wins and may_promote
    evidence: dict[str, Any] = {
        "candidates": {
            m.model.label: {SELECTION_METRIC: m.metrics.get(SELECTION_METRIC)} for m in models
        },
        "comparison": None if comparison is None else comparison.to_json(),
        "snapshot": snapshot.fingerprint,
        "request_id": None if request is None else request.request_id,
    }
    if promoted:
        context.registry.promote(
            candidate.model.name,
            candidate.model.version,
            strategy.name,
            by=TRAINER if request is None else request.requested_by,
            reason=reason,
            effective_from=as_of,
            evidence=evidence,
        )
    status = "promoted" if promoted else "rejected" if may_promote else "prepared"
    if request is not None:
        verdict = {**evidence, "candidate": candidate.model.label, "reason": reason}
        with context.database.transaction() as connection:
            finish_request(
                connection,
                request.request_id,
                status=status,
                model_id=candidate.model.model_id,
                verdict=verdict,
            )
    return RetrainOutcome(snapshot, models, candidate, comparison, promoted, status, reason)


def _train_one(
    context: StrategyContext, snapshot: Snapshot, table: pa.Table, config: LearnerConfig
) -> RegisteredModel:
    strategy = context.strategy
    key = training_key(snapshot.fingerprint, config, strategy.split_sizes)
    run = TrainingRun(
        training_key=key,
        params=json.loads(json.dumps(config.params)),
        snapshot_id=snapshot.snapshot_id,
        dataset_start=snapshot.first_session,
        dataset_end=snapshot.last_session,
        seed=config.seed,
        code_version=code_version().label,
        code_dirty=code_version().dirty,
        library_versions=library_versions(),
    )
    found = completed_model(context.database, key)
    trained_now = found is None
    if found is None:
        with training_run(context.database, run) as run_id:
            # Another process may have trained it while this one waited for the key.
            found = completed_model(context.database, key)
            if found is None:
                trained = fit_model(
                    table,
                    snapshot.feature_names,
                    config=config,
                    sizes=strategy.split_sizes,
                    evaluation=strategy.evaluation,
                )
                found = _register(context, snapshot, trained, run_id)
    model = context.registry.get_model_by_id(found)
    return RegisteredModel(model, context.registry.get_metrics(found), trained_now)


def _register(
    context: StrategyContext, snapshot: Snapshot, trained: TrainedModel, run_id: Any
) -> Any:
    """Enter model, metrics, artifacts, profiles and the run's end, all of them or none."""
    strategy, registry = context.strategy, context.registry
    with context.database.transaction() as connection:
        model_id = registry.register_model(
            strategy.model_name(trained.config.name),
            strategy.name,
            {**trained.config.params, "seed": trained.config.seed},
            f"{trained.config.name} on {snapshot.row_count} rows known at "
            f"{snapshot.knowledge_time:%Y-%m-%d}",
            snapshot_id=snapshot.snapshot_id,
            connection=connection,
        )
        for dataset, metrics in trained.metrics.items():
            registry.log_metrics(model_id, metrics, dataset, connection=connection)
        for name, data in trained.artifacts.items():
            registry.store_artifact(model_id, data, name, connection=connection)
        store_profiles(connection, model_id, trained.profiles, versions=snapshot.feature_versions)
        complete_run(connection, run_id, model_id=model_id)
    return model_id


def _compare(
    context: StrategyContext, snapshot: Snapshot, champion: Any, challenger: Any
) -> Comparison:
    """Compare two models on the test split of a snapshot, which neither was trained on."""
    strategy = context.strategy
    table = _test_split(context, read_snapshot(snapshot))
    loader = ModelLoader(context.registry)
    series = []
    for model_id in (champion, challenger):
        model = loader.load(model_id)
        rows = training_rows(_with_features(context, snapshot, table, model), list(model.features))
        complete = np.asarray(np.isfinite(rows.features).all(axis=1))
        signals = np.full(len(rows.label), np.nan)
        signals[complete] = model.predict(rows.features[complete])
        series.append(daily_information_coefficients(rows, signals, strategy.evaluation))
    return compare_models(
        series[0],
        series[1],
        lag=strategy.horizon - 1,
        gate=strategy.promotion_gate,
    )


def _test_split(context: StrategyContext, table: pa.Table) -> pa.Table:
    session = table["session"].to_numpy().astype("datetime64[D]")
    splits = split_sessions(
        np.unique(session), context.strategy.split_sizes, horizon=context.strategy.horizon
    )
    return table.filter(pa.array(np.isin(session, splits.test)))


def _with_features(
    context: StrategyContext, snapshot: Snapshot, table: pa.Table, model: ServedModel
) -> pa.Table:
    """Return the rows with the versions of features that a model was trained on.

    A champion may be older than the strategy's present features: what the snapshot does not hold
    in its version is looked up as it was known at each decision.
    """
    held = snapshot.feature_versions
    others = {n: version for n, version in model.features.items() if held.get(n) != version}
    if not others:
        return table
    spine = pa.table({"entity_key": table["entity_key"], "time": table["decision_time"]})
    known = features_as_known(context.store, spine, others, knowledge_time=snapshot.knowledge_time)
    table = table.drop_columns([name for name in others if name in table.column_names])
    for name in others:
        table = table.append_column(name, known[name])
    return table
