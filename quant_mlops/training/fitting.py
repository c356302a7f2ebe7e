"""Fitting one learner to one snapshot, with everything a registry needs to keep of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

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
from quant_mlops.training.recipe import CONFIG, Recipe
from quant_mlops.training.splits import SplitSizes, split_sessions

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
    """

    config: LearnerConfig
    feature_names: tuple[str, ...]
    artifacts: dict[str, bytes]
    metrics: dict[str, dict[str, float]]
    profiles: dict[str, ReferenceProfile]


def training_key(fingerprint: str, config: LearnerConfig, sizes: SplitSizes) -> str:
    """Return the digest of all that decides a model's weights and metrics."""
    identity = {
        "fingerprint": fingerprint,
        "learner": config.name,
        "params": config.params,
        "seed": config.seed,
        "splits": [sizes.val_sessions, sizes.test_sessions, sizes.embargo_sessions],
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def fit_model(
    table: pa.Table,
    feature_names: list[str],
    *,
    config: LearnerConfig,
    sizes: SplitSizes,
    evaluation: EvaluationSettings,
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
    )


def load_model(recipe: Recipe, artifacts: Mapping[str, bytes]) -> FittedModel:
    """Return a model from the files it is kept in, by name."""
    return learner_named(recipe.learner.name).load(artifacts)


def _example(rows: TrainingRows) -> Example:
    return Example(rows.features, rows.excess_label())
