"""How a command names a model: by name and version, or by its id; neither needs a strategy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import click

from quant_mlops.cli.output import say
from quant_mlops.cli.workspace import open_workspace
from quant_mlops.database import Database
from quant_mlops.errors import ModelNotFoundError, StrategyError
from quant_mlops.features.definition import FeatureDefinition
from quant_mlops.features.store import FeatureStore
from quant_mlops.registry import ModelRegistry
from quant_mlops.registry.records import ModelInfo
from quant_mlops.settings import Settings
from quant_mlops.strategy_files import read_strategies


@dataclass(frozen=True)
class NamedModel:
    """A model with what the commands about it use; its strategy need not have a file."""

    settings: Settings
    database: Database
    registry: ModelRegistry
    model: ModelInfo

    @property
    def store(self) -> FeatureStore:
        """The feature store, to read from."""
        return FeatureStore(self.database)

    def definitions(self) -> tuple[FeatureDefinition, ...]:
        """Return the code of its strategy's features; nothing, and a note, if there is none."""
        strategy = read_strategies(self.settings).strategies.get(self.model.strategy_type or "")
        if strategy is None:
            say(
                f"note: no strategy file is of {self.model.strategy_type or 'no strategy'}; the "
                f"code of features is left out"
            )
            return ()
        try:
            return tuple(strategy.definitions)
        except StrategyError as error:
            say(f"note: {error}; the code of features is left out")
            return ()


class ModelVersion(click.IntRange):
    """A version as the number or, as tables show it, with a v before it."""

    name = "version"

    def __init__(self) -> None:
        super().__init__(min=1)

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """Return the number; click calls it."""
        number: Any = value.removeprefix("v") if isinstance(value, str) else value
        return int(super().convert(number, param, ctx))


@contextmanager
def open_model(name: str, version: int | None = None) -> Iterator[NamedModel]:
    """Open the server and find a model by its name and version, or by its id alone.

    Raises
    ------
    ModelNotFoundError
        There is no such model.
    """
    with open_workspace() as (settings, access):
        registry = ModelRegistry(access.database, artifacts=settings.artifacts_folder)
        model = found_model(registry, name, version)
        yield NamedModel(settings, access.database, registry, model)


def found_model(registry: ModelRegistry, name: str, version: int | None) -> ModelInfo:
    """Return a version of a model, the newest by default, or the one whose id the name is.

    Raises
    ------
    ModelNotFoundError
        There is no such model.
    """
    model = registry.get_model(name, version)
    if model is None and version is None:
        try:
            return registry.get_model_by_id(UUID(name))
        except ValueError:
            pass
    if model is None:
        raise ModelNotFoundError(
            f"there is no model {name if version is None else f'{name} v{version}'}; "
            f"`quant-mlops models list` shows those there are"
        )
    return model
