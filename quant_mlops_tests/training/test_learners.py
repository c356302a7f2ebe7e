"""The same examples give the same bytes, and the bytes give the same predictions."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from quant_mlops.errors import TrainingError
from quant_mlops.training.evaluation import EvaluationSettings
from quant_mlops.training.fitting import load_model
from quant_mlops.training.learner_parameters import PARAMETERS, XgboostParameters
from quant_mlops.training.learners import (
    LEARNERS,
    Example,
    FittedModel,
    LearnerConfig,
    learner_named,
    short_name,
)
from quant_mlops.training.recipe import Recipe, read_recipe
from quant_mlops.training.splits import SplitSizes
from quant_mlops.training.walk_forward import WalkForwardSizes

WEIGHTS = "weights.json"
CONFIGS = [
    LearnerConfig("xgboost", {"max_depth": 3, "rounds": 25, "subsample": 0.7}, seed=11),
    LearnerConfig("ridge", {"penalties": [0.01, 1.0]}),
]


def examples(rows: int = 400, seed: int = 0) -> tuple[Example, Example]:
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, 4)) * [1.0, 10.0, 0.01, 1.0]
    target = features @ [0.3, -0.02, 5.0, 0.0] + random.normal(size=rows)
    half = rows // 2
    return (
        Example(features[:half], target[:half]),
        Example(features[half:], target[half:]),
    )


def recipe_of(config: LearnerConfig, artifacts: Mapping[str, bytes]) -> Recipe:
    return Recipe(
        config,
        ("a", "b", "c", "d"),
        SplitSizes(2, 3, 1),
        EvaluationSettings(5, 5, 0.0005),
        WalkForwardSizes(2, 3, 4),
        tuple(artifacts),
    )


def test_every_learner_is_tested_here() -> None:
    assert {config.name for config in CONFIGS} == set(LEARNERS) == set(PARAMETERS)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_fitting_twice_gives_the_same_bytes(config: LearnerConfig) -> None:
    learner = learner_named(config.name)
    first = learner.fit(*examples(), config).to_artifacts()
    assert learner.fit(*examples(), config).to_artifacts() == first
    assert learner.fit(*examples(seed=1), config).to_artifacts() != first


FIT_ELSEWHERE = """
import hashlib, json, sys
import numpy as np
from quant_mlops.training.learners import Example, LearnerConfig, learner_named
config = LearnerConfig(**json.loads(sys.argv[1]))
random = np.random.default_rng(0)
features = random.normal(size=(400, 4)) * [1.0, 10.0, 0.01, 1.0]
target = features @ [0.3, -0.02, 5.0, 0.0] + random.normal(size=400)
parts = Example(features[:200], target[:200]), Example(features[200:], target[200:])
artifacts = learner_named(config.name).fit(*parts, config).to_artifacts()
print(json.dumps({name: hashlib.sha256(data).hexdigest() for name, data in artifacts.items()}))
"""


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_another_process_gives_the_same_bytes(
    config: LearnerConfig, start_python: Callable[..., Any]
) -> None:
    artifacts = learner_named(config.name).fit(*examples(), config).to_artifacts()
    here = {name: hashlib.sha256(data).hexdigest() for name, data in artifacts.items()}
    document = {"name": config.name, "params": config.params, "seed": config.seed}
    there, error = start_python(FIT_ELSEWHERE, json.dumps(document)).communicate(timeout=60)
    assert error == ""
    assert json.loads(there) == here


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_what_was_written_predicts_what_was_fitted(config: LearnerConfig) -> None:
    learner = learner_named(config.name)
    train, val = examples()
    model = learner.fit(train, val, config)
    artifacts = model.to_artifacts()
    recipe = recipe_of(config, artifacts)
    loaded = load_model(read_recipe(recipe.to_bytes()), artifacts)
    assert read_recipe(recipe.to_bytes()) == recipe
    np.testing.assert_array_equal(loaded.predict(val.features), model.predict(val.features))
    assert loaded.to_artifacts() == model.to_artifacts()
    one_by_one = [float(loaded.predict(row[None])[0]) for row in val.features[:20]]
    np.testing.assert_allclose(one_by_one, model.predict(val.features)[:20], rtol=1e-12)


def test_the_seed_of_the_trees_counts() -> None:
    learner = learner_named("xgboost")
    params = {"subsample": 0.5, "rounds": 5}
    seeds = {
        learner.fit(*examples(), LearnerConfig("xgboost", params, seed)).to_artifacts()[WEIGHTS]
        for seed in (1, 2)
    }
    assert len(seeds) == 2


def test_trees_predict_with_the_rounds_that_were_best_on_validation() -> None:
    train, val = examples()
    config = LearnerConfig("xgboost", {"eta": 0.9, "rounds": 200, "patience": 5})
    model = learner_named("xgboost").fit(train, val, config)
    document = json.loads(model.to_artifacts()[WEIGHTS])
    grown = len(document["learner"]["gradient_booster"]["model"]["trees"])
    best = int(document["learner"]["attributes"]["best_iteration"])
    assert best + 1 < grown < 200
    short = LearnerConfig("xgboost", {"eta": 0.9, "rounds": best + 1, "patience": 500})
    again = learner_named("xgboost").fit(train, val, short)
    np.testing.assert_array_equal(again.predict(val.features), model.predict(val.features))


def test_ridge_with_hardly_any_penalty_is_least_squares() -> None:
    train, val = examples()
    centred = train.features - train.features.mean(axis=0)
    # The target is not centred: the signal orders names, a constant would not.
    weights, *_ = np.linalg.lstsq(centred, train.target, rcond=None)
    model = learner_named("ridge").fit(train, val, LearnerConfig("ridge", {"penalties": [1e-13]}))
    expected = (val.features - train.features.mean(axis=0)) @ weights
    np.testing.assert_allclose(model.predict(val.features), expected, rtol=1e-9, atol=1e-9)


def test_ridge_is_the_closed_form_on_standardised_features() -> None:
    train, val = examples()
    model = learner_named("ridge").fit(train, val, LearnerConfig("ridge", {"penalties": [0.7]}))
    x = (train.features - train.features.mean(axis=0)) / train.features.std(axis=0)
    stacked = np.vstack([x, np.sqrt(0.7 * len(x)) * np.eye(4)])
    weights, *_ = np.linalg.lstsq(stacked, np.append(train.target, np.zeros(4)), rcond=None)
    scaled = (val.features - train.features.mean(axis=0)) / train.features.std(axis=0)
    np.testing.assert_allclose(model.predict(val.features), scaled @ weights, rtol=1e-9)


def test_ridge_takes_the_penalty_with_the_least_error_on_validation() -> None:
    train, val = examples(rows=60)
    errors = {}
    for penalty in (0.01, 0.1, 1.0, 10.0):
        config = LearnerConfig("ridge", {"penalties": [penalty]})
        signals = learner_named("ridge").fit(train, val, config).predict(val.features)
        errors[penalty] = np.mean((signals - val.target) ** 2)
    chosen = learner_named("ridge").fit(train, val, LearnerConfig("ridge"))
    best = LearnerConfig("ridge", {"penalties": [min(errors, key=errors.__getitem__)]})
    assert chosen.to_artifacts() == learner_named("ridge").fit(train, val, best).to_artifacts()


def test_a_feature_that_never_moves_gets_no_weight() -> None:
    train, val = examples()
    still = np.column_stack([train.features, np.full(len(train.target), 3.0)])
    moved = np.column_stack([val.features, np.linspace(0, 9, len(val.target))])
    config = LearnerConfig("ridge", {"penalties": [0.1]})
    model = learner_named("ridge").fit(
        Example(still, train.target), Example(moved, val.target), config
    )
    plain = learner_named("ridge").fit(train, val, config)
    np.testing.assert_allclose(model.predict(moved), plain.predict(val.features))


def test_a_redundant_feature_without_a_penalty_is_refused() -> None:
    train, val = examples()
    doubled = [
        Example(np.column_stack([part.features[:, :1], part.features[:, :1]]), part.target)
        for part in (train, val)
    ]
    with pytest.raises(TrainingError, match=r"no solution with penalty 0.*above 0"):
        learner_named("ridge").fit(*doubled, LearnerConfig("ridge", {"penalties": [0]}))


def test_weights_are_read_without_pickle_and_carry_no_clock() -> None:
    model = learner_named("ridge").fit(*examples(), LearnerConfig("ridge"))
    artifacts = model.to_artifacts()
    assert set(artifacts) == {"weights.npz", "scaler.npz"}
    for data in artifacts.values():
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    forged = io.BytesIO()
    np.savez(forged, center=np.array([object()], dtype=object), scale=np.ones(1))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        learner_named("ridge").load({**artifacts, "scaler.npz": forged.getvalue()})


def test_parameters_that_xgboost_refuses_are_named() -> None:
    config = LearnerConfig("xgboost", {"max_depth": -3})
    with pytest.raises(TrainingError, match=r"refused the parameters \{'max_depth': -3\}"):
        learner_named("xgboost").fit(*examples(), config)


def test_every_parameter_that_is_let_through_is_known_to_xgboost() -> None:
    import xgboost

    only = {
        "huber_slope": {"objective": "reg:pseudohubererror"},
        "quantile_alpha": {"objective": "reg:quantileerror", "quantile_alpha": 0.5},
        "tweedie_variance_power": {"objective": "reg:tweedie"},
        "monotone_constraints": {"monotone_constraints": "(1,0,0,0)"},
        "interaction_constraints": {"interaction_constraints": "[[0,1]]"},
        "eval_metric": {"eval_metric": "mae"},
        "disable_default_eval_metric": {"disable_default_eval_metric": 1},
    } | {
        name: {"booster": "dart", "one_drop": 1}
        for name in ("sample_type", "normalize_type", "rate_drop", "one_drop", "skip_drop")
    }
    train, _ = examples(rows=40)
    matrix = xgboost.DMatrix(train.features, np.abs(train.target), nthread=1)
    for name, field in XgboostParameters.model_fields.items():
        if name not in ("rounds", "patience"):
            params = {"verbosity": 1, "nthread": 1, "tree_method": "hist"}
            params |= {field.alias or name: field.default} | only.get(name, {})
            # What it does not know it warns of, which is an error here.
            xgboost.train(params, matrix, num_boost_round=1)
    with pytest.warns(UserWarning, match="max_dept"):
        xgboost.train({"verbosity": 1, "max_dept": 3}, matrix, num_boost_round=1)


def test_an_unknown_learner_is_named_with_those_there_are() -> None:
    with pytest.raises(TrainingError, match=r"no learner 'oracle'; there are xgboost, ridge"):
        learner_named("oracle")


class ColumnModel:
    """A learner of somebody's own: it predicts a column."""

    def __init__(self, column: int = 0) -> None:
        self.column = column

    def predict(self, features: np.ndarray) -> np.ndarray:
        return features[:, self.column]

    def to_artifacts(self) -> dict[str, bytes]:
        return {"column.json": json.dumps(self.column).encode()}

    def fit(self, train: Example, val: Example, config: LearnerConfig) -> FittedModel:
        return ColumnModel(int(config.params["column"]))

    def load(self, artifacts: Mapping[str, bytes]) -> FittedModel:
        return ColumnModel(json.loads(artifacts["column.json"]))


@pytest.fixture
def own_module(monkeypatch: pytest.MonkeyPatch) -> str:
    module = ModuleType("own_learners")
    module.ColumnModel = ColumnModel  # type: ignore[attr-defined]
    module.Nothing = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


def test_a_learner_of_ones_own_is_named_by_module_and_class(own_module: str) -> None:
    config = LearnerConfig(f"{own_module}:ColumnModel", {"column": 2})
    train, val = examples()
    model = learner_named(config.name).fit(train, val, config)
    artifacts = model.to_artifacts()
    loaded = load_model(recipe_of(config, artifacts), artifacts)
    np.testing.assert_array_equal(loaded.predict(val.features), val.features[:, 2])
    assert short_name(config.name) == "columnmodel"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("own_learners:Missing", "AttributeError"),
        ("no_such_module:Learner", "ModuleNotFoundError"),
        ("own_learners:Nothing", "has no fit and no load"),
    ],
)
def test_a_learner_that_cannot_be_used_is_refused(own_module: str, name: str, problem: str) -> None:
    with pytest.raises(TrainingError, match=rf"{name}.*{problem}"):
        learner_named(name)


@pytest.mark.parametrize("document", [b"not json", b"[]", b'{"learner": "ridge"}'])
def test_a_recipe_that_is_none_is_refused(document: bytes) -> None:
    with pytest.raises(TrainingError, match=r"config\.json cannot be read"):
        read_recipe(document)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_a_row_has_the_same_signal_whatever_rows_stand_beside_it(config: LearnerConfig) -> None:
    learner = learner_named(config.name)
    train, val = examples(seed=3)
    model = learner.load(learner.fit(train, val, config).to_artifacts())
    together = model.predict(train.features)
    alone = np.concatenate([model.predict(row[None, :]) for row in train.features])
    assert alone.tobytes() == together.tobytes()
    some = np.asfortranarray(train.features)[17:101]
    assert model.predict(some).tobytes() == together[17:101].tobytes()


def test_trees_predict_what_they_predict_of_a_matrix_of_their_own() -> None:
    import xgboost

    learner = learner_named("xgboost")
    train, val = examples(seed=4)
    model: Any = learner.load(learner.fit(train, val, CONFIGS[0]).to_artifacts())
    features = train.features.copy()
    features[::7, 1] = np.nan
    rounds = (0, int(model.booster.attr("best_iteration")) + 1)
    matrix = xgboost.DMatrix(features, nthread=1)
    expected = model.booster.predict(matrix, iteration_range=rounds)
    assert model.predict(features).tobytes() == expected.astype(np.float64).tobytes()
