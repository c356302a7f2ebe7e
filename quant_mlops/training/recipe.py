"""A model's recipe: all that decides it beside its training set, kept as its `config.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from quant_mlops.errors import TrainingError
from quant_mlops.training.evaluation import EvaluationSettings
from quant_mlops.training.learners import LearnerConfig
from quant_mlops.training.splits import SplitSizes
from quant_mlops.training.walk_forward import WalkForwardSizes

CONFIG = "config.json"


@dataclass(frozen=True)
class Recipe:
    """How a model was made of its training set, and from which files it is loaded.

    Attributes
    ----------
    learner : LearnerConfig
    features : tuple of str
        Inputs in their order.
    sizes : SplitSizes
    evaluation : EvaluationSettings
    folds : WalkForwardSizes or None
        Judged by walking forward as well; weights do not depend on it.
    artifacts : tuple of str
        Files that it predicts from, beside this one; empty before it is fitted.
    learner_digest : str or None
        SHA-256 of the module that a user's learner comes from; None for one of ours.
    """

    learner: LearnerConfig
    features: tuple[str, ...]
    sizes: SplitSizes
    evaluation: EvaluationSettings
    folds: WalkForwardSizes | None = None
    artifacts: tuple[str, ...] = ()
    learner_digest: str | None = None

    def to_bytes(self) -> bytes:
        """Return it as canonical JSON."""
        document = {
            "learner": self.learner.name,
            "learner_digest": self.learner_digest,
            "params": self.learner.params,
            "seed": self.learner.seed,
            "features": list(self.features),
            "splits": asdict(self.sizes),
            "evaluation": asdict(self.evaluation),
            "walk_forward": None if self.folds is None else asdict(self.folds),
            "artifacts": list(self.artifacts),
        }
        return (json.dumps(document, sort_keys=True, indent=2) + "\n").encode()


def read_recipe(document: bytes) -> Recipe:
    """Read what `to_bytes` wrote.

    Raises
    ------
    TrainingError
        It is no such document.
    """
    try:
        values: dict[str, Any] = json.loads(document)
        folds = values["walk_forward"]
        return Recipe(
            learner=LearnerConfig(values["learner"], values["params"], values["seed"]),
            features=tuple(values["features"]),
            sizes=SplitSizes(**values["splits"]),
            evaluation=EvaluationSettings(**values["evaluation"]),
            folds=None if folds is None else WalkForwardSizes(**folds),
            learner_digest=values["learner_digest"],
            artifacts=tuple(values["artifacts"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"the model's {CONFIG} cannot be read: {type(error).__name__} {error}; register the "
            f"model with the document that `Recipe.to_bytes` writes"
        ) from None
