"""Where a stored prediction came from: model, promotion, features as then known, training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import numpy as np

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import ArtifactError
from quant_mlops.instants import MICROSECOND
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.registry import ModelRegistry
from quant_mlops.registry.kept_models import recipe_of
from quant_mlops.registry.records import Deployment, ModelInfo
from quant_mlops.serving.predictions import feature_digests
from quant_mlops.serving.stored_predictions import StoredPrediction, find_prediction
from quant_mlops.training.snapshot_files import Snapshot, find_snapshot

Verdict = Literal["matches", "matches without later rows", "differs"]
# What was being written when the prediction was made may have been committed just after it.
UNDER_WAY = timedelta(minutes=1)


@dataclass(frozen=True)
class TracedValue:
    """A feature as known at the decision, and who wrote it when; None where nothing was known."""

    feature_name: str
    feature_version: int
    value: float | None
    event_time: datetime | None
    ingest_time: datetime | None
    producer: str | None
    producer_version: str | None
    run_id: str | None
    recorded_at: datetime | None


@dataclass(frozen=True)
class TracedTraining:
    """The training run behind a model."""

    run_id: UUID
    params: dict[str, Any]
    dataset_start: date | None
    dataset_end: date | None
    started_at: datetime
    finished_at: datetime | None
    seed: int | None
    code_version: str | None
    code_dirty: bool | None
    library_versions: dict[str, str] | None


@dataclass(frozen=True)
class Trace:
    """Everything behind one prediction.

    Attributes
    ----------
    asked : datetime or date
        The time that was asked about.
    exact : bool
        Whether the prediction was decided at just that time, or for just that session.
    prediction : StoredPrediction
    model : ModelInfo
    deployment : Deployment or None
        What was live at the decision time, by today's record.
    features : tuple of TracedValue
        Asked again as of the decision time; without `later` where that is what was used.
    digest : str
        Of `features`.
    verdict : str
        Whether it is the digest that was stored with the prediction.
    later : tuple of TracedValue
        Values that count as known at the decision by their ingest time, and were not there yet
        when it was predicted.
    snapshot : Snapshot or None
    training : TracedTraining or None
    notes : tuple of str
        What does not fit together, a sentence each.
    """

    asked: datetime | date
    exact: bool
    prediction: StoredPrediction
    model: ModelInfo
    deployment: Deployment | None
    features: tuple[TracedValue, ...]
    digest: str
    verdict: Verdict
    later: tuple[TracedValue, ...]
    snapshot: Snapshot | None
    training: TracedTraining | None
    notes: tuple[str, ...]


def trace(
    registry: ModelRegistry,
    calendar: TradingCalendar,
    *,
    strategy_id: str,
    entity_key: str,
    time: datetime | date,
) -> Trace:
    """Say where a stored prediction came from, and prove what it was made of.

    The features are asked again as of the decision time and their digest is held against the one
    that was stored. If it differs, they are asked once more among the rows that had been written
    when the prediction was: a backfill claims to have been known before it was there.

    Parameters
    ----------
    registry : ModelRegistry
        Of the database that holds predictions and features.
    calendar : TradingCalendar
    strategy_id, entity_key : str
    time : datetime or date
        As in `find_prediction`.

    Raises
    ------
    PredictionError
        There is no such prediction.
    """
    database = registry.database
    prediction = find_prediction(
        database, calendar, strategy_id=strategy_id, entity_key=entity_key, time=time
    )
    model = registry.get_model_by_id(prediction.model_id)
    snapshot = find_snapshot(database, model.snapshot_id) if model.snapshot_id else None
    versions, notes = _pinned_versions(registry, model, snapshot)
    deployment = registry.live_model(strategy_id, at=prediction.event_time)
    features, later, verdict = _values_used(database, prediction, versions)
    runs = database.fetch_rows(TracedTraining, query("select_model_training_run"), [model.model_id])
    return Trace(
        asked=time,
        exact=not isinstance(time, datetime) or time == prediction.event_time,
        prediction=prediction,
        model=model,
        deployment=deployment,
        features=features,
        digest=_digest(features),
        verdict=verdict,
        later=later,
        snapshot=snapshot,
        training=runs[0] if runs else None,
        notes=(*notes, *_about_deployment(deployment, prediction, model)),
    )


def _pinned_versions(
    registry: ModelRegistry, model: ModelInfo, snapshot: Snapshot | None
) -> tuple[dict[str, int], list[str]]:
    """Return the features in the order of the digest, and what stands in the way of that."""
    if snapshot is None:
        return {}, [f"{model.label} has no training snapshot, which would say what it reads"]
    notes = []
    try:
        names = recipe_of(registry, model.model_id).features
    except ArtifactError as error:
        names = tuple(snapshot.feature_names)
        notes.append(f"the order of the features is that of the snapshot, since {error}")
    return {name: snapshot.features[name]["version"] for name in names}, notes


def _about_deployment(
    deployment: Deployment | None, prediction: StoredPrediction, model: ModelInfo
) -> list[str]:
    if deployment is not None and deployment.model_id == model.model_id:
        return []
    live = "no model" if deployment is None else f"{deployment.name} v{deployment.version}"
    return [
        f"by today's record {live} was live at {prediction.event_time.isoformat()}, and "
        f"{model.label} predicted: the record was changed after the prediction"
    ]


def _values_used(
    database: Database, prediction: StoredPrediction, versions: dict[str, int]
) -> tuple[tuple[TracedValue, ...], tuple[TracedValue, ...], Verdict]:
    """Return the values with the stored digest, what of today's came later, and the verdict."""
    today = _values(database, prediction, versions, None)
    if _digest(today) == prediction.feature_digest:
        return today, (), "matches"
    for recorded_by, values in _earlier_states(database, prediction, versions):
        if _digest(values) == prediction.feature_digest:
            later = (v for v in today if v.recorded_at and v.recorded_at > recorded_by)
            return values, tuple(later), "matches without later rows"
    return today, (), "differs"


def _earlier_states(
    database: Database, prediction: StoredPrediction, versions: dict[str, int]
) -> Iterator[tuple[datetime, tuple[TracedValue, ...]]]:
    """Yield the values as of the writing of the prediction, and then of ever earlier moments."""
    recorded_by = prediction.recorded_at
    while recorded_by >= prediction.recorded_at - UNDER_WAY:
        values = _values(database, prediction, versions, recorded_by)
        yield recorded_by, values
        written = [value.recorded_at for value in values if value.recorded_at]
        if not written:
            return
        recorded_by = max(written) - MICROSECOND


def _values(
    database: Database,
    prediction: StoredPrediction,
    versions: dict[str, int],
    recorded_by: datetime | None,
) -> tuple[TracedValue, ...]:
    rows = database.fetch_rows(
        TracedValue,
        query("select_traced_values"),
        {
            "names": list(versions),
            "versions": list(versions.values()),
            "entity": prediction.entity_key,
            "as_of": prediction.event_time,
            "recorded_by": recorded_by,
        },
    )
    return tuple(rows)


def _digest(features: tuple[TracedValue, ...]) -> str:
    values = [np.nan if feature.value is None else feature.value for feature in features]
    names = tuple(feature.feature_name for feature in features)
    return feature_digests(np.array([values], dtype=np.float64), names)[0]
