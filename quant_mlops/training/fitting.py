"""Fitting one learner to one snapshot, with everything a registry needs to keep of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import pyarrow as pa

from quant_mlops.statistics import ReferenceProfile, reference_profile
from quant_mlops.training.evaluation import backtest_metrics, signal_metrics
from quant_mlops.training.learners import FittedModel, learner_named
from quant_mlops.training.matrices import TrainingRows, training_rows
from quant_mlops.training.out_of_sample import walk_forward_metrics
from quant_mlops.training.recipe import CONFIG, Recipe
from quant_mlops.training.splits import Splits, split_sessions

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
    signal_profile : ReferenceProfile
        Of the model's own signals on those rows.
    last_fitted : date
        Last session of decision that decided anything: the end of the validation split. Its
        label ends a horizon later.
    """

    recipe: Recipe
    artifacts: dict[str, bytes]
    metrics: dict[str, dict[str, float]]
    profiles: dict[str, ReferenceProfile]
    signal_profile: ReferenceProfile
    last_fitted: date


def training_key(strategy_id: str, fingerprint: str, recipe: Recipe) -> str:
    """Return the digest of all that decides a strategy's model, its weights and its metrics."""
    unfitted = replace(recipe, artifacts=())
    identity = f"{strategy_id}\n{fingerprint}\n".encode() + unfitted.to_bytes()
    return hashlib.sha256(identity).hexdigest()


def fit_model(table: pa.Table, recipe: Recipe) -> TrainedModel:
    """Fit a learner on the train split, choose on val, and judge on all three.

    Parameters
    ----------
    table : pyarrow.Table
        A verified snapshot.
    recipe : Recipe
        With folds, the learner is fitted once more a fold and judged by walking forward as well;
        the metrics are among those of the backtest.

    Raises
    ------
    TrainingError
        The snapshot is too short for the splits or the folds, or the learner refused it.
    """
    rows, splits = split_rows(table, recipe)
    train, val = rows.within(splits.train), rows.within(splits.val)
    learner = learner_named(recipe.learner.name)
    model = learner.fit(train.example(), val.example(), recipe.learner)
    artifacts = model.to_artifacts()
    recipe = replace(recipe, artifacts=tuple(artifacts))
    # What is judged is what was written: the model as it will be loaded.
    written = learner.load(artifacts)
    metrics = _judge(rows, splits, recipe, written)
    if recipe.folds is not None:
        metrics["backtest"] |= walk_forward_metrics(
            table,
            list(recipe.features),
            config=recipe.learner,
            sizes=recipe.folds,
            evaluation=recipe.evaluation,
        )
    return TrainedModel(
        recipe=recipe,
        artifacts={**artifacts, CONFIG: recipe.to_bytes()},
        metrics=metrics,
        profiles={
            name: reference_profile(train.features[:, i], bins=PROFILE_BINS)
            for i, name in enumerate(recipe.features)
        },
        signal_profile=reference_profile(written.predict(train.features), bins=PROFILE_BINS),
        last_fitted=splits.val[-1].item(),
    )


def judge_model(table: pa.Table, recipe: Recipe, model: FittedModel) -> dict[str, dict[str, float]]:
    """Return the metrics of a fitted model on the splits of its training set, by data set."""
    return _judge(*split_rows(table, recipe), recipe, model)


def _judge(
    rows: TrainingRows, splits: Splits, recipe: Recipe, model: FittedModel
) -> dict[str, dict[str, float]]:
    metrics = {}
    for name, sessions in splits.named().items():
        part = rows.within(sessions)
        signals = model.predict(part.features)
        metrics[name] = signal_metrics(part, signals, recipe.evaluation)
        if name == "test":
            metrics["backtest"] = backtest_metrics(part, signals, recipe.evaluation)
    return metrics


def load_model(recipe: Recipe, artifacts: Mapping[str, bytes]) -> FittedModel:
    """Return a model from the files it is kept in, by name."""
    return learner_named(recipe.learner.name).load(artifacts)


def split_rows(
    table: pa.Table, recipe: Recipe, *, features: Sequence[str] | None = None
) -> tuple[TrainingRows, Splits]:
    """Return the rows of a training set and how a recipe splits their sessions.

    Parameters
    ----------
    table : pyarrow.Table
        As `snapshot.collect_snapshot` returns it.
    recipe : Recipe
    features : sequence of str, optional
        Columns of the rows; those of the recipe by default.
    """
    rows = training_rows(table, recipe.features if features is None else features)
    splits = split_sessions(rows.sessions, recipe.sizes, horizon=recipe.evaluation.horizon)
    return rows, splits
