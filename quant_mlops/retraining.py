"""Training and retraining: snapshot, learners, comparison with the champion, verdict."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any

import pyarrow as pa

from quant_mlops.alerts.retraining import (
    RetrainRequest,
    finish_request,
    open_request,
    request_retrain,
)
from quant_mlops.champion_challenger import compare_on_snapshot
from quant_mlops.drift.prediction_drift import store_signal_profile
from quant_mlops.drift.profiles import store_profiles
from quant_mlops.instants import MICROSECOND
from quant_mlops.pipeline import build_snapshot
from quant_mlops.registry.comparisons import record_comparison
from quant_mlops.registry.deployments import promote
from quant_mlops.registry.records import ModelInfo
from quant_mlops.registry.training_runs import (
    TrainingRun,
    complete_run,
    completed_model,
    training_run,
)
from quant_mlops.registry.trials import deflated_sharpe
from quant_mlops.strategy_context import StrategyContext, evaluation_time, newest_judged_session
from quant_mlops.training.code_version import code_version, library_versions
from quant_mlops.training.comparison import Comparison
from quant_mlops.training.fitting import TrainedModel, fit_model, training_key
from quant_mlops.training.learners import LearnerConfig, source_digest
from quant_mlops.training.look_ahead import refuse_look_ahead
from quant_mlops.training.matrices import training_rows
from quant_mlops.training.recipe import Recipe
from quant_mlops.training.snapshot_files import Snapshot, read_snapshot

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
    strategy, table = context.strategy, read_snapshot(snapshot)

    @cache
    def check() -> None:
        refuse_look_ahead(
            training_rows(table, snapshot.feature_names),
            snapshot.feature_names,
            horizon=strategy.horizon,
            min_names=strategy.portfolio.min_names,
            limit=strategy.training.max_feature_ic,
        )

    return tuple(
        _train_one(context, snapshot, table, config, check=check) for config in strategy.learners
    )


def request_retraining(context: StrategyContext, session: date, *, by: str) -> RetrainRequest:
    """Ask for a retraining known by a session, as an alert of that session would.

    It joins a request that is open, or one that was answered within the strategy's cool-down.
    """
    cooldown = context.strategy.monitoring.retrain_cooldown_sessions
    with context.database.transaction() as connection:
        return request_retrain(
            connection,
            strategy_id=context.strategy.name,
            session=session,
            alert_id=None,
            requested_by=by,
            may_promote=True,
            cooldown_start=context.calendar.previous(session, cooldown) if cooldown else None,
        )


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


def retrain_on_request(context: StrategyContext, session: date) -> RetrainOutcome | None:
    """Work on the open retraining request, as of the evaluation of the newest session judged.

    Returns
    -------
    RetrainOutcome or None
        None if no request is open, or if later sessions than this one were judged: a session of
        the past that is run again trains nothing.
    """
    request = open_request(context.database, context.strategy.name)
    newest = newest_judged_session(context)
    if request is None or newest != session or request.session > session:
        return None
    return retrain(context, as_of=evaluation_time(context, session), request=request)


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
        comparison = compare_on_snapshot(
            context, snapshot, champion=champion.model_id, challenger=candidate.model.model_id
        )
        reason, wins = comparison.reason, comparison.promoted
    promoted = wins and may_promote
    status = "promoted" if promoted else "rejected" if may_promote else "prepared"
    evidence: dict[str, Any] = {
        "candidates": {
            m.model.label: {SELECTION_METRIC: m.metrics.get(SELECTION_METRIC)} for m in models
        },
        "comparison": None if comparison is None else comparison.to_json(),
        "snapshot": snapshot.fingerprint,
        "request_id": None if request is None else request.request_id,
    }
    # One transaction: no promotion without its evidence, no verdict on what did not happen.
    with context.database.transaction() as connection:
        record_comparison(
            connection,
            strategy_id=strategy.name,
            champion_id=None if champion is None else champion.model_id,
            challenger_id=candidate.model.model_id,
            snapshot_id=snapshot.snapshot_id,
            as_of=as_of,
            promoted=promoted,
            reason=reason,
            evidence={**evidence, "status": status},
        )
        if promoted:
            promote(
                connection,
                model_id=candidate.model.model_id,
                strategy_id=strategy.name,
                by=TRAINER if request is None else request.requested_by,
                reason=reason,
                effective_from=as_of,
                evidence=evidence,
            )
        if request is not None:
            finish_request(
                connection,
                request.request_id,
                status=status,
                model_id=candidate.model.model_id,
                verdict={**evidence, "candidate": candidate.model.label, "reason": reason},
            )
    return RetrainOutcome(snapshot, models, candidate, comparison, promoted, status, reason)


def _train_one(
    context: StrategyContext,
    snapshot: Snapshot,
    table: pa.Table,
    config: LearnerConfig,
    *,
    check: Callable[[], None],
) -> RegisteredModel:
    strategy = context.strategy
    recipe = Recipe(
        learner=config,
        features=tuple(snapshot.feature_names),
        sizes=strategy.split_sizes,
        evaluation=strategy.evaluation,
        folds=strategy.folds,
        learner_digest=source_digest(config.name),
    )
    key = training_key(strategy.name, snapshot.fingerprint, recipe)
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
                # Inside, so that what was refused is among the runs that failed.
                check()
                found = _register(context, snapshot, fit_model(table, recipe), run_id)
    model = context.registry.get_model_by_id(found)
    return RegisteredModel(model, context.registry.get_metrics(found), trained_now)


def _register(
    context: StrategyContext, snapshot: Snapshot, trained: TrainedModel, run_id: Any
) -> Any:
    """Enter model, metrics, artifacts, profiles and the run's end, all of them or none.

    With them goes the Sharpe ratio deflated by the trials there are by now.
    """
    strategy, registry = context.strategy, context.registry
    learner = trained.recipe.learner
    with context.database.transaction() as connection:
        model_id = registry.register_model(
            strategy.model_name(learner.name),
            strategy.name,
            {**learner.params, "seed": learner.seed},
            f"{learner.name} on {snapshot.row_count} rows known at "
            f"{snapshot.knowledge_time:%Y-%m-%d}",
            snapshot_id=snapshot.snapshot_id,
            connection=connection,
        )
        for dataset, metrics in trained.metrics.items():
            registry.log_metrics(model_id, metrics, dataset, connection=connection)
        for name, data in trained.artifacts.items():
            registry.store_artifact(model_id, data, name, connection=connection)
        store_profiles(connection, model_id, trained.profiles, versions=snapshot.feature_versions)
        store_signal_profile(connection, model_id, trained.signal_profile)
        # Labels reach a horizon beyond the last session that was fitted to.
        known = context.calendar.next(trained.last_fitted, strategy.horizon)
        complete_run(connection, run_id, model_id=model_id, trained_until=known)
        # Last, so that the model counts itself among the trials.
        deflated = deflated_sharpe(connection, model_id)
        registry.log_metrics(model_id, deflated.metrics(), "backtest", connection=connection)
    return model_id
