"""A model's recipe: all that decides it beside its training set, kept as its `config.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from quant_mlops.errors import TrainingError
from quant_mlops.training.evaluation import EvaluationSettings
from quant_mlops.training.learners import LearnerConfig
from quant_mlops.training.splits import SplitSizes

CONFIG = "config.json"


@dataclass(frozen=True)
class Recipe:
    """How a model was made of its training set, and from which files it is loaded.

    Attributes
    ----------
    learner : LearnerConfig
    features : tuple of str
        Inputs in their order.
    artifacts : tuple of str
        Files that it predicts from, beside this one.
    sizes : SplitSizes or None
        None if it was not fitted here.
    evaluation : EvaluationSettings or None
    """

    learner: LearnerConfig
    features: tuple[str, ...]
    artifacts: tuple[str, ...]
    sizes: SplitSizes | None = None
    evaluation: EvaluationSettings | None = None

    def to_bytes(self) -> bytes:
        """Return it as canonical JSON."""
        document = {
            "learner": self.learner.name,
            "params": self.learner.params,
            "seed": self.learner.seed,
            "features": list(self.features),
            "artifacts": list(self.artifacts),
            "splits": None if self.sizes is None else asdict(self.sizes),
            "evaluation": None if self.evaluation is None else asdict(self.evaluation),
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
        splits, evaluation = values["splits"], values["evaluation"]
        return Recipe(
            learner=LearnerConfig(values["learner"], values["params"], values["seed"]),
            features=tuple(values["features"]),
            artifacts=tuple(values["artifacts"]),
            sizes=None if splits is None else SplitSizes(**splits),
            evaluation=None if evaluation is None else EvaluationSettings(**evaluation),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"the model's {CONFIG} cannot be read: {type(error).__name__} {error}; register the "
            f"model with the document that `Recipe.to_bytes` writes"
        ) from None
