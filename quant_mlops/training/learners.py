"""Learners behind one small protocol, and the formats in which their weights are kept."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from quant_mlops.errors import TrainingError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LearnerConfig:
    """Which learner, with which parameters; the seed is part of a model's identity."""

    name: str
    params: dict[str, Any] = field(default_factory=dict)
    seed: int = 7


@dataclass(frozen=True)
class Example:
    """Features of shape (R, F) and targets of shape (R,)."""

    features: Floats
    target: Floats


class FittedModel(Protocol):
    """Weights that predict and can be written as data."""

    def predict(self, features: Floats) -> Floats:
        """Return one signal for each row of features, shape (R,)."""

    def to_artifacts(self) -> dict[str, bytes]:
        """Return all that it predicts from, by file name, such as weights and scaler.

        The formats run no code when they are loaded: JSON, NPZ without objects, ONNX.
        """


class Learner(Protocol):
    """Makes a model of examples; the same examples give the same bytes."""

    def fit(self, train: Example, val: Example, config: LearnerConfig) -> FittedModel:
        """Fit on `train`, stopping or tuning on `val` only."""

    def load(self, artifacts: Mapping[str, bytes]) -> FittedModel:
        """Read what `to_artifacts` wrote, without knowing how it was fitted."""


@dataclass(frozen=True)
class BoostedTrees:
    """Gradient-boosted trees of XGBoost."""

    booster: Any

    def predict(self, features: Floats) -> Floats:
        best = self.booster.attr("best_iteration")
        rounds = (0, int(best) + 1) if best is not None else (0, 0)
        # The same bits as from a DMatrix, without building one, and safe in several threads.
        signals = self.booster.inplace_predict(features, iteration_range=rounds)
        return np.asarray(signals, dtype=np.float64)

    def to_artifacts(self) -> dict[str, bytes]:
        return {"weights.json": bytes(self.booster.save_raw("json"))}


class XgboostLearner:
    """XGBoost with histogram trees, a fixed seed and a fixed number of threads.

    Parameters are those of `xgboost.train`, with `rounds` (at most) and `patience` (rounds
    without a better error on the validation split until it stops).
    """

    def fit(self, train: Example, val: Example, config: LearnerConfig) -> FittedModel:
        import xgboost

        params = dict(config.params)
        rounds, patience = int(params.pop("rounds", 300)), int(params.pop("patience", 30))
        fixed = {"tree_method": "hist", "seed": config.seed, "nthread": 2, "verbosity": 0}
        try:
            booster = xgboost.train(
                {**params, **fixed},
                xgboost.DMatrix(train.features, train.target, nthread=2),
                num_boost_round=rounds,
                evals=[(xgboost.DMatrix(val.features, val.target, nthread=2), "val")],
                early_stopping_rounds=patience,
                verbose_eval=False,
            )
        except xgboost.core.XGBoostError as error:
            raise TrainingError(
                f"xgboost refused the parameters {params}: {str(error).splitlines()[0]}; correct "
                f"the strategy's learner"
            ) from error
        return BoostedTrees(booster)

    def load(self, artifacts: Mapping[str, bytes]) -> FittedModel:
        import xgboost

        booster = xgboost.Booster(model_file=bytearray(artifacts["weights.json"]))
        # For some rows at a time, threads wait for each other longer than they work.
        booster.set_param({"nthread": 1})
        # Its first prediction configures it, which several threads must not do at once.
        booster.inplace_predict(np.zeros((1, booster.num_features())))
        return BoostedTrees(booster)


@dataclass(frozen=True)
class LinearModel:
    """Weights on standardised features."""

    center: Floats
    scale: Floats
    weights: Floats
    penalty: float

    def predict(self, features: Floats) -> Floats:
        standard = (features - self.center) / self.scale
        # A product of matrices rounds a row by how many stand beside it; a sum by columns does not,
        # so one name alone has the signal that it has among all.
        signals = np.zeros(len(standard))
        for column, weight in enumerate(self.weights):
            signals += standard[:, column] * weight
        return signals

    def to_artifacts(self) -> dict[str, bytes]:
        return {
            "weights.npz": _npz(weights=self.weights, penalty=np.array(self.penalty)),
            "scaler.npz": _npz(center=self.center, scale=self.scale),
        }


class RidgeLearner:
    """Ridge regression in closed form; the penalty is chosen on the validation split.

    Hoerl and Kennard (1970), Technometrics 12:55-67: w = (X'X / n + penalty I)^-1 X'y / n on
    standardised features, for each of `penalties`.
    """

    def fit(self, train: Example, val: Example, config: LearnerConfig) -> FittedModel:
        penalties = config.params.get("penalties", (0.01, 0.1, 1.0, 10.0))
        center, scale = train.features.mean(axis=0), train.features.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        standard = (train.features - center) / scale
        count = len(standard)
        covariance = standard.T @ standard / count
        moment = standard.T @ train.target / count
        candidates = []
        for penalty in penalties:
            try:
                weights = np.linalg.solve(covariance + penalty * np.eye(len(moment)), moment)
            except np.linalg.LinAlgError:
                raise TrainingError(
                    f"ridge has no solution with penalty {penalty}, since one feature is made of "
                    f"others; give penalties above 0"
                ) from None
            model = LinearModel(center, scale, weights, float(penalty))
            error = float(np.mean((model.predict(val.features) - val.target) ** 2))
            candidates.append((error, float(penalty), model))
        return min(candidates, key=lambda candidate: candidate[:2])[2]

    def load(self, artifacts: Mapping[str, bytes]) -> FittedModel:
        weights, scaler = (_arrays(artifacts[name]) for name in ("weights.npz", "scaler.npz"))
        return LinearModel(
            scaler["center"], scaler["scale"], weights["weights"], float(weights["penalty"])
        )


def _npz(**arrays: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _arrays(data: bytes) -> dict[str, npt.NDArray[Any]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)


LEARNERS: Mapping[str, Callable[[], Learner]] = {
    "xgboost": XgboostLearner,
    "ridge": RidgeLearner,
}


def learner_named(name: str) -> Learner:
    """Return a learner by name, or one of the user's by `module:class`.

    Raises
    ------
    TrainingError
        There is none of that name, or its module cannot be imported.
    """
    if name in LEARNERS:
        return LEARNERS[name]()
    module, _, attribute = name.partition(":")
    if not attribute:
        raise TrainingError(
            f"there is no learner {name!r}; there are {', '.join(LEARNERS)}, and one of your own "
            f"is named module:class"
        )
    try:
        made: Learner = getattr(importlib.import_module(module), attribute)()
    except Exception as error:
        # A module of the user's runs as it is imported, and may fail in any way.
        raise TrainingError(
            f"the learner {name!r} cannot be made: {type(error).__name__}: {error}; put its module "
            f"on the Python path and give the class a constructor without arguments"
        ) from error
    missing = [part for part in ("fit", "load") if not callable(getattr(made, part, None))]
    if missing:
        raise TrainingError(
            f"the learner {name!r} has no {' and no '.join(missing)}; see "
            f"quant_mlops.training.learners.Learner"
        )
    return made


def source_digest(name: str) -> str | None:
    """Return the SHA-256 of the module that a user's learner comes from; None for one of ours.

    Ours change with the code version, which a training run keeps; a user's module does not.

    Raises
    ------
    TrainingError
        The learner cannot be made.
    """
    if name in LEARNERS:
        return None
    try:
        source = inspect.getsource(inspect.getmodule(type(learner_named(name))) or object)
    except (OSError, TypeError):
        # A class that was typed into a notebook has no source that could be kept.
        return ""
    return hashlib.sha256(source.encode()).hexdigest()


def short_name(name: str) -> str:
    """Return what the models of a learner are called: its name, or the class in lower case."""
    return name.rpartition(":")[2].lower()
