"""Reproducing a model: its training set from the database, its weights in a clean process."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg.types.json import Jsonb

from quant_mlops.database.queries import query
from quant_mlops.errors import (
    QuantMlopsError,
    RegistryError,
    SnapshotTamperedError,
    StorageError,
)
from quant_mlops.features.store import FeatureStore
from quant_mlops.registry.kept_models import kept_files, recipe_of
from quant_mlops.registry.metrics import first_metric_difference
from quant_mlops.registry.records import ModelInfo
from quant_mlops.registry.registry import ModelRegistry
from quant_mlops.storage import place
from quant_mlops.training.code_version import code_version, library_versions
from quant_mlops.training.first_difference import first_difference
from quant_mlops.training.fitting import load_model
from quant_mlops.training.lost_training_sets import what_was_dropped
from quant_mlops.training.matrices import training_rows
from quant_mlops.training.recipe import Recipe
from quant_mlops.training.refit import RefittedModel, refit_in_clean_process
from quant_mlops.training.snapshot_diff import diff_files
from quant_mlops.training.snapshot_files import Snapshot, find_snapshot, local_data
from quant_mlops.training.snapshot_parquet import WrittenTable
from quant_mlops.training.snapshot_verification import rebuilt

PARTS = ("data", "weights", "predictions", "metrics")


@dataclass(frozen=True)
class PartVerdict:
    """Whether one part came out the same; None where it could not be tried."""

    part: str
    identical: bool | None
    detail: str


@dataclass(frozen=True)
class Reproduction:
    """A verdict on each of data, weights, predictions and metrics, as it is stored."""

    model: ModelInfo
    parts: tuple[PartVerdict, ...]
    code_version: str
    code_dirty: bool
    library_versions: dict[str, str]
    recorded_at: datetime

    @property
    def identical(self) -> bool:
        """Whether every part came out the same."""
        return all(part.identical is True for part in self.parts)


def reproduce(registry: ModelRegistry, store: FeatureStore, model: ModelInfo) -> Reproduction:
    """Make a model again from the database and say what came out the same; store the verdict.

    The training set is collected as it was known at its knowledge time, and the learner fits it
    in a new process. Predictions of the registered and of the new weights are compared on every
    row, and the metrics with those that were registered.

    Parameters
    ----------
    registry : ModelRegistry
    store : FeatureStore
    model : ModelInfo

    Raises
    ------
    RegistryError
        The model has no training set, or retention has dropped rows that it was made of.
    TrainingError
        Its recipe cannot be read.
    ChecksumMismatchError, ArtifactError
        Its own files are not what was registered.
    """
    if model.snapshot_id is None:
        raise RegistryError(
            f"{model.label} was registered without a training snapshot and cannot be reproduced; "
            f"register it with snapshot_id"
        )
    snapshot = find_snapshot(registry.database, model.snapshot_id)
    dropped = what_was_dropped(registry.database, snapshot)
    if dropped is not None:
        raise RegistryError(
            f"{model.label} cannot be made again from the database: {dropped}; its training set is "
            f"the file at {place(snapshot.data_uri)}, which `quant-mlops snapshot verify "
            f"{snapshot.fingerprint[:16]}` checks"
        )
    recipe = recipe_of(registry, model.model_id)
    artifacts = kept_files(registry, model.model_id, recipe)
    try:
        with rebuilt(store, snapshot) as found:
            parts = [
                _data(snapshot, found),
                *_fitted_again(registry, model, recipe, artifacts, found),
            ]
    except QuantMlopsError as error:
        # Prices or features may be gone altogether; each reader says so in its own way.
        parts = [PartVerdict("data", False, str(error))]
    parts += [
        PartVerdict(name, None, "not tried, as what comes before it failed")
        for name in PARTS[len(parts) :]
    ]
    return _store(registry, model, tuple(parts))


def last_reproduction(registry: ModelRegistry, model: ModelInfo) -> Reproduction | None:
    """Return the newest stored verdict on a model; None if it was never reproduced."""
    row = registry.database.fetch_one(query("select_last_reproduction"), [model.model_id])
    if row is None:
        return None
    parts, code, dirty, libraries, recorded_at = row
    return Reproduction(
        model, tuple(PartVerdict(**part) for part in parts), code, dirty, libraries, recorded_at
    )


def _data(snapshot: Snapshot, found: WrittenTable) -> PartVerdict:
    if found.fingerprint == snapshot.fingerprint:
        return PartVerdict("data", True, f"fingerprint {found.fingerprint}")
    text = f"fingerprint {found.fingerprint}, registered {snapshot.fingerprint}"
    try:
        with local_data(snapshot) as path:
            difference = diff_files(path, found.path, cells=1)
    except (OSError, ValueError, SnapshotTamperedError, StorageError):
        return PartVerdict("data", False, f"{text}; the snapshot's file cannot be read")
    first = difference.cells[0] if difference.cells else None
    if first is not None:
        text += (
            f"; first {first.column} of {first.entity_key} on {first.session}: {first.before!r}, "
            f"now {first.after!r}"
        )
    return PartVerdict("data", False, f"{text}; {difference.sentence()}")


def _fitted_again(
    registry: ModelRegistry,
    model: ModelInfo,
    recipe: Recipe,
    artifacts: dict[str, bytes],
    found: WrittenTable,
) -> list[PartVerdict]:
    try:
        again = refit_in_clean_process(found.path, recipe)
    except QuantMlopsError as error:
        return [PartVerdict("weights", False, str(error))]
    table = pq.read_table(found.path)
    return [
        _weights(artifacts, again),
        _predictions(table, recipe, artifacts, again),
        _metrics(registry.get_metrics(model.model_id), again),
    ]


def _weights(artifacts: dict[str, bytes], again: RefittedModel) -> PartVerdict:
    for name, data in artifacts.items():
        if name not in again.artifacts:
            return PartVerdict("weights", False, f"{name} was not made again")
        difference = first_difference(name, data, again.artifacts[name])
        if difference is not None:
            return PartVerdict("weights", False, f"{name}, {difference}")
    return PartVerdict("weights", True, f"the same bytes of {', '.join(artifacts)}")


def _predictions(
    table: pa.Table, recipe: Recipe, artifacts: dict[str, bytes], again: RefittedModel
) -> PartVerdict:
    features = training_rows(table, recipe.features).features
    registered = load_model(recipe, artifacts).predict(features)
    differs = np.flatnonzero(~((registered == again.signals) | np.isnan(registered)))
    if len(differs) == 0:
        return PartVerdict("predictions", True, f"the same on {len(registered):,} rows")
    row = int(differs[0])
    where = f"{table['entity_key'][row]} on {table['session'][row]}"
    largest = float(np.abs(registered - again.signals).max())
    return PartVerdict(
        "predictions",
        False,
        f"{len(differs):,} of {len(registered):,} differ by up to {largest:.3g}; first {where}: "
        f"{float(registered[row])!r}, now {float(again.signals[row])!r}",
    )


def _metrics(registered: dict[str, float], again: RefittedModel) -> PartVerdict:
    difference = first_metric_difference(registered, again.metrics)
    if difference is not None:
        key, before, value = difference
        return PartVerdict("metrics", False, f"{key}: registered {before!r}, now {value!r}")
    compared = sum(map(len, again.metrics.values()))
    return PartVerdict("metrics", True, f"the same values of {compared}")


def _store(
    registry: ModelRegistry, model: ModelInfo, parts: tuple[PartVerdict, ...]
) -> Reproduction:
    code, libraries = code_version(), library_versions()
    parameters: dict[str, Any] = {
        "model_id": model.model_id,
        "identical": all(part.identical is True for part in parts),
        "parts": Jsonb([asdict(part) for part in parts]),
        "code_version": code.label,
        "code_dirty": code.dirty,
        "library_versions": Jsonb(libraries),
    }
    row = registry.database.fetch_one(query("insert_model_reproduction"), parameters)
    assert row is not None
    return Reproduction(model, parts, code.label, code.dirty, libraries, row[0])
