"""The same examples give the same bytes, and the bytes give the same predictions."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from quant_mlops.errors import TrainingError
from quant_mlops.training.fitting import load_model
from quant_mlops.training.learners import (
    LEARNERS,
    Example,
    LearnerConfig,
    config_bytes,
    learner_named,
)

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


def test_every_learner_is_tested_here() -> None:
    assert {config.name for config in CONFIGS} == set(LEARNERS)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_fitting_twice_gives_the_same_bytes(config: LearnerConfig) -> None:
    learner = learner_named(config.name)
    first = learner.fit(*examples(), config).to_bytes()
    assert learner.fit(*examples(), config).to_bytes() == first
    assert learner.fit(*examples(seed=1), config).to_bytes() != first


FIT_ELSEWHERE = """
import hashlib, json, sys
import numpy as np
from quant_mlops.training.learners import Example, LearnerConfig, learner_named
config = LearnerConfig(**json.loads(sys.argv[1]))
random = np.random.default_rng(0)
features = random.normal(size=(400, 4)) * [1.0, 10.0, 0.01, 1.0]
target = features @ [0.3, -0.02, 5.0, 0.0] + random.normal(size=400)
parts = Example(features[:200], target[:200]), Example(features[200:], target[200:])
data = learner_named(config.name).fit(*parts, config).to_bytes()
print(hashlib.sha256(data).hexdigest())
"""


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_another_process_gives_the_same_bytes(
    config: LearnerConfig, start_python: Callable[..., Any]
) -> None:
    here = hashlib.sha256(learner_named(config.name).fit(*examples(), config).to_bytes())
    document = {"name": config.name, "params": config.params, "seed": config.seed}
    there, error = start_python(FIT_ELSEWHERE, json.dumps(document)).communicate(timeout=60)
    assert (there.strip(), error) == (here.hexdigest(), "")


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_what_was_written_predicts_what_was_fitted(config: LearnerConfig) -> None:
    learner = learner_named(config.name)
    train, val = examples()
    model = learner.fit(train, val, config)
    names = ["a", "b", "c", "d"]
    loaded, found = load_model(config_bytes(config, names), model.to_bytes())
    assert found == names
    np.testing.assert_array_equal(loaded.predict(val.features), model.predict(val.features))
    assert loaded.to_bytes() == model.to_bytes()
    one_by_one = [float(loaded.predict(row[None])[0]) for row in val.features[:20]]
    np.testing.assert_allclose(one_by_one, model.predict(val.features)[:20], rtol=1e-12)


def test_the_seed_of_the_trees_counts() -> None:
    learner = learner_named("xgboost")
    params = {"subsample": 0.5, "rounds": 5}
    seeds = {
        learner.fit(*examples(), LearnerConfig("xgboost", params, seed)).to_bytes()
        for seed in (1, 2)
    }
    assert len(seeds) == 2


def test_trees_predict_with_the_rounds_that_were_best_on_validation() -> None:
    train, val = examples()
    config = LearnerConfig("xgboost", {"eta": 0.9, "rounds": 200, "patience": 5})
    model = learner_named("xgboost").fit(train, val, config)
    document = json.loads(model.to_bytes())
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
    assert chosen.to_bytes() == learner_named("ridge").fit(train, val, best).to_bytes()


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
    with zipfile.ZipFile(io.BytesIO(model.to_bytes())) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    forged = io.BytesIO()
    np.savez(
        forged,
        center=np.array([object()], dtype=object),
        scale=np.ones(1),
        weights=np.ones(1),
        penalty=np.array(1.0),
    )
    with pytest.raises(ValueError, match="allow_pickle=False"):
        learner_named("ridge").load(forged.getvalue())


def test_parameters_that_xgboost_refuses_are_named() -> None:
    config = LearnerConfig("xgboost", {"max_depth": -3})
    with pytest.raises(TrainingError, match=r"refused the parameters \{'max_depth': -3\}"):
        learner_named("xgboost").fit(*examples(), config)


def test_an_unknown_learner_is_named_with_those_there_are() -> None:
    with pytest.raises(TrainingError, match=r"no learner 'oracle'; there are xgboost, ridge"):
        learner_named("oracle")
