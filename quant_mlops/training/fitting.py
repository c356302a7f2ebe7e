"""Fitting one learner to one snapshot, with everything a registry needs to keep of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import pyarrow as pa

from quant_mlops.statistics import ReferenceProfile, reference_profile
from quant_mlops.training.evaluation import EvaluationSettings, backtest_metrics, signal_metrics
from quant_mlops.training.learners import (
    Example,
    FittedModel,
    LearnerConfig,
    learner_named,
)
from quant_mlops.training.matrices import TrainingRows, training_rows
from quant_mlops.training.out_of_sample import walk_forward_metrics
from quant_mlops.training.recipe import CONFIG, Recipe
from quant_mlops.training.splits import SplitSizes, split_sessions
from quant_mlops.training.walk_forward import WalkForwardSizes

PROFILE_BINS = 10


@dataclass(frozen=True)
class TrainedModel:
    """A fitted model as data: weights, metrics by data set, and profiles of its training rows.

    Attributes
    ----------
    artifacts : dict of str to bytes
        By file name: weights, what else the learner predicts from, and the recipe as
        `config.json`.
    metrics : dict of str to dict
        By dataset type: train, val, test, and backtest (the portfolio over the test split).
    profiles : dict of str to ReferenceProfile
        By feature, over the rows it was trained on.
    last_fitted : date
        Last session of decision that decided anything: the end of the validation split. Its
        label ends a horizon later.
    """

    config: LearnerConfig
    feature_names: tuple[str, ...]
    artifacts: dict[str, bytes]
    metrics: dict[str, dict[str, float]]
    profiles: dict[str, ReferenceProfile]
    last_fitted: date


def training_key(
    fingerprint: str,
    config: LearnerConfig,
    sizes: SplitSizes,
    *,
    folds: WalkForwardSizes | None = None,
) -> str:
    """Return the digest of all that decides a model's weights and metrics.

    Without folds it is that of the time before there were any, so that no model is trained again.
    """
    identity: dict[str, Any] = {
        "fingerprint": fingerprint,
        "learner": config.name,
        "params": config.params,
        "seed": config.seed,
        "splits": [sizes.val_sessions, sizes.test_sessions, sizes.embargo_sessions],
    }
    if folds is not None:
        identity["walk_forward"] = asdict(folds)
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def fit_model(
    table: pa.Table,
    feature_names: list[str],
    *,
    config: LearnerConfig,
    sizes: SplitSizes,
    evaluation: EvaluationSettings,
    folds: WalkForwardSizes | None = None,
) -> TrainedModel:
    """Fit a learner on the train split, choose on val, and judge on all three.

    Parameters
    ----------
    table : pyarrow.Table
        A verified snapshot.
    feature_names : list of str
        Columns to learn from, in this order.
    config : LearnerConfig
    sizes : SplitSizes
    evaluation : EvaluationSettings
    folds : WalkForwardSizes, optional
        Judge the learner by walking forward as well, which fits it once more a fold; the metrics
        are among those of the backtest, and the weights do not depend on it.

    Raises
    ------
    TrainingError
        The snapshot is too short for the splits or the folds, or the learner refused it.
    """
    rows = training_rows(table, feature_names)
    splits = split_sessions(rows.sessions, sizes, horizon=evaluation.horizon)
    parts = {name: rows.within(sessions) for name, sessions in splits.named().items()}
    learner = learner_named(config.name)
    model = learner.fit(_example(parts["train"]), _example(parts["val"]), config)
    artifacts = model.to_artifacts()
    # What is judged is what was written: the model as it will be loaded.
    model = learner.load(artifacts)
    metrics = {
        name: signal_metrics(part, model.predict(part.features), evaluation)
        for name, part in parts.items()
    }
    test = parts["test"]
    metrics["backtest"] = backtest_metrics(test, model.predict(test.features), evaluation)
    if folds is not None:
        metrics["backtest"] |= walk_forward_metrics(
            table, feature_names, config=config, sizes=folds, evaluation=evaluation
        )
    return TrainedModel(
        config=config,
        feature_names=tuple(feature_names),
        artifacts={
            **artifacts,
            CONFIG: Recipe(
                config, tuple(feature_names), tuple(artifacts), sizes, evaluation
            ).to_bytes(),
        },
        metrics=metrics,
        profiles={
            name: reference_profile(parts["train"].features[:, i], bins=PROFILE_BINS)
            for i, name in enumerate(feature_names)
        },
        last_fitted=splits.val[-1].item(),
    )


def load_model(recipe: Recipe, artifacts: Mapping[str, bytes]) -> FittedModel:
    """Return a model from the files it is kept in, by name."""
    return learner_named(recipe.learner.name).load(artifacts)


def _example(rows: TrainingRows) -> Example:
    return Example(rows.features, rows.excess_label())
