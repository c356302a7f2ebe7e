"""Models as they are kept: the recipe and the files of one, each verified as it is loaded."""

from __future__ import annotations

from uuid import UUID

from quant_mlops.registry.registry import ModelRegistry
from quant_mlops.training.fitting import load_model
from quant_mlops.training.learners import FittedModel
from quant_mlops.training.recipe import CONFIG, Recipe, read_recipe


def recipe_of(registry: ModelRegistry, model_id: UUID) -> Recipe:
    """Return what a model was made by.

    Raises
    ------
    ArtifactError
        It has no such file, or the file is not what was registered.
    TrainingError
        The file cannot be read.
    """
    return read_recipe(registry.load_artifact(model_id, CONFIG))


def fitted_model(registry: ModelRegistry, model_id: UUID, recipe: Recipe) -> FittedModel:
    """Return a model ready to predict, from the files that its recipe names."""
    return load_model(recipe, kept_files(registry, model_id, recipe))


def kept_files(registry: ModelRegistry, model_id: UUID, recipe: Recipe) -> dict[str, bytes]:
    """Return the files of a model that its recipe names, by name."""
    return {name: registry.load_artifact(model_id, name) for name in recipe.artifacts}
