"""What is kept of a fitted model, and what makes two trainings the same one."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from quant_mlops.errors import TrainingError
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.statistics import reference_profile
from quant_mlops.training.evaluation import EvaluationSettings, signal_metrics
from quant_mlops.training.fitting import fit_model, load_model, training_key
from quant_mlops.training.learners import LearnerConfig
from quant_mlops.training.matrices import training_rows
from quant_mlops.training.recipe import CONFIG, Recipe, read_recipe
from quant_mlops.training.splits import SplitSizes, split_sessions
from quant_mlops.training.walk_forward import WalkForwardSizes

SIZES = SplitSizes(8, 8, 1)
EVALUATION = EvaluationSettings(horizon=2, min_names=3, cost_per_turnover=0.0)
RIDGE = LearnerConfig("ridge", {"penalties": [0.1]})


@pytest.fixture(scope="module")
def table(calendar: TradingCalendar) -> pa.Table:
    random = np.random.default_rng(4)
    days = calendar.sessions(date(2024, 1, 2), date(2024, 6, 3))[:60]
    count = len(days) * 6
    features = random.normal(size=(count, 2))
    return pa.table(
        {
            "session": pa.array(np.repeat(days, 6)).cast(pa.date32()),
            "entity_key": pa.array([f"T{i}" for i in range(6)] * len(days)),
            "a": features[:, 0],
            "b": features[:, 1],
            "label": features @ [0.01, -0.02] + random.normal(0, 0.01, count),
            "next_session_return": random.normal(0, 0.01, count),
        }
    )


@pytest.mark.parametrize(
    "config", [RIDGE, LearnerConfig("xgboost", {"rounds": 10})], ids=lambda c: c.name
)
def test_a_fitted_model_is_judged_as_it_will_be_loaded(
    table: pa.Table, config: LearnerConfig
) -> None:
    trained = fit_model(table, Recipe(config, ("b", "a"), SIZES, EVALUATION))
    recipe = read_recipe(trained.artifacts[CONFIG])
    assert recipe.features == ("b", "a")
    assert set(trained.artifacts) == {CONFIG, *recipe.artifacts}
    assert (recipe.learner, recipe.sizes, recipe.evaluation) == (config, SIZES, EVALUATION)
    model, names = load_model(recipe, trained.artifacts), recipe.features
    rows = training_rows(table, names)
    splits = split_sessions(rows.sessions, SIZES, horizon=2)
    assert set(trained.metrics) == {"train", "val", "test", "backtest"}
    for name, sessions in splits.named().items():
        part = rows.within(sessions)
        expected = signal_metrics(part, model.predict(part.features), EVALUATION)
        assert trained.metrics[name] == expected
    train = rows.within(splits.train)
    for i, name in enumerate(names):
        profile = trained.profiles[name]
        np.testing.assert_array_equal(
            profile.cuts, np.quantile(train.features[:, i], np.arange(1, 10) / 10)
        )
        assert profile.n == len(train.label)
    assert trained.signal_profile == reference_profile(model.predict(train.features))


def test_the_test_split_does_not_touch_the_weights(table: pa.Table) -> None:
    sessions = np.unique(table["session"].to_numpy().astype("datetime64[D]"))
    splits = split_sessions(sessions, SIZES, horizon=2)
    late = np.isin(table["session"].to_numpy().astype("datetime64[D]"), splits.test)
    label = np.where(late, 9.0, table["label"].to_numpy())
    changed = table.set_column(table.column_names.index("label"), "label", pa.array(label))
    for config in (RIDGE, LearnerConfig("xgboost", {"rounds": 10})):
        one, other = (
            fit_model(each, Recipe(config, ("a", "b"), SIZES, EVALUATION))
            for each in (table, changed)
        )
        assert one.artifacts == other.artifacts


def test_everything_that_decides_a_model_is_in_its_key() -> None:
    recipe = Recipe(RIDGE, ("a", "b"), SIZES, EVALUATION)
    changes: list[dict[str, Any]] = [
        {},
        {"learner": LearnerConfig("xgboost", {"penalties": [0.1]})},
        {"learner": LearnerConfig("ridge", {"penalties": [0.2]})},
        {"learner": LearnerConfig("ridge", {"penalties": [0.1]}, seed=8)},
        {"features": ("b", "a")},
        {"sizes": SplitSizes(9, 8, 1)},
        {"sizes": SplitSizes(8, 9, 1)},
        {"sizes": SplitSizes(8, 8, 2)},
        {"evaluation": replace(EVALUATION, min_names=4)},
        {"evaluation": replace(EVALUATION, cost_per_turnover=0.001)},
        {"folds": WalkForwardSizes(8, 8, 2)},
        {"folds": WalkForwardSizes(8, 8, 2, 30)},
    ]
    keys = [training_key("one", "f" * 64, replace(recipe, **change)) for change in changes] + [
        training_key("one", "e" * 64, recipe),
        training_key("other", "f" * 64, recipe),
    ]
    assert all(a != b for a, b in itertools.combinations(keys, 2))
    # Neither does it matter what was written afterwards, nor in which order parameters stand.
    assert training_key("one", "f" * 64, replace(recipe, artifacts=("weights.npz",))) == keys[0]
    params = {"b": 1, "a": 2}
    one, swapped = (
        replace(recipe, learner=LearnerConfig("x", each))
        for each in (params, dict(reversed(params.items())))
    )
    assert training_key("one", "f", one) == training_key("one", "f", swapped)


def test_too_little_history_is_refused(table: pa.Table) -> None:
    with pytest.raises(TrainingError, match="cannot be split"):
        fit_model(table.slice(0, 90), Recipe(RIDGE, ("a",), SIZES, EVALUATION))
